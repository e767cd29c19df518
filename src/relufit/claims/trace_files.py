"""Traces on disk: results in one Parquet file, timings in another beside it.

The results of a setting are the same on every run and machine; the timings, and the machine they were taken on,
are not. Each file carries its description as JSON in its metadata under the key ``relufit``, and under
``relufit.sha256`` the SHA-256 of all its bytes, with zeros for the digest itself: whatever is not as it was written is
refused before anything interprets it. Timings say under ``results`` which results they are of.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from relufit.errors import DataError
from relufit.files.atomic import replacing

_KEY, _SEAL = b"relufit", b"relufit.sha256"
_DIGITS = 64
_BLANK = b"0" * _DIGITS
# In the file's footer: the key; then what Thrift's compact protocol puts before a string that follows one, and its
# length.
_MARK = _SEAL + b"\x18" + bytes([_DIGITS])
_AGAIN = "delete it and make it again"


class Record(NamedTuple):
    """A table and its description."""

    table: pd.DataFrame
    about: dict[str, Any]


def timing_path(path: str | os.PathLike[str]) -> Path:
    """Return where the timings of the results at `path` lie."""
    path = Path(path)
    return path.with_name(f"{path.name.removesuffix('.parquet')}.timing.parquet")


def write(path: str | os.PathLike[str], table: pd.DataFrame, about: dict[str, Any]) -> None:
    """Write a table and its description, all of it or nothing; it is on the disk when this returns."""
    content, _ = _sealed(table, about)
    with replacing(path) as fresh:
        _write(fresh, content)
    _sync_folder(path)


def write_pair(path: str | os.PathLike[str], results: Record, timings: Record) -> None:
    """Write results to `path` and their timings beside them, so that no reader takes those of another run for them."""
    content, digest = _sealed(*results)
    beside, _ = _sealed(timings.table, {**timings.about, "results": digest})
    with replacing(timing_path(path)) as fresh_timings, replacing(path) as fresh:
        _write(fresh_timings, beside)
        _write(fresh, content)
    _sync_folder(path)


def read(path: str | os.PathLike[str]) -> Record:
    """Return the table and the description at `path`.

    Raises
    ------
    DataError
        If there is no such file, it is none of ours, or not as it was written.
    """
    return _read(path)[0]


def read_pair(path: str | os.PathLike[str]) -> tuple[Record, Record]:
    """Return the results at `path` and the timings beside them.

    Raises
    ------
    DataError
        If one is missing, none of ours, or not as it was written, or the timings are those of other results.
    """
    results, digest = _read(path)
    timings, _ = _read(timing_path(path))
    if timings.about.get("results") != digest:
        raise DataError(
            f"the timings are not those of {Path(path).name}",
            where=str(timing_path(path)),
            remedy="delete both and make them again",
        )
    return results, timings


def describe(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the description of the table at `path`; None if there is no sound one of ours."""
    try:
        return read(path).about
    except DataError:
        return None


def _sealed(table: pd.DataFrame, about: dict[str, Any]) -> tuple[bytes, str]:
    """Return the content of a file, and its digest, which is in it."""
    content = pa.Table.from_pandas(table, preserve_index=False)
    content = content.replace_schema_metadata({_KEY: json.dumps(about, sort_keys=True)})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, content.schema, compression="zstd") as writer:
        writer.write_table(content)
        writer.add_key_value_metadata({_SEAL: _BLANK})
    blank = sink.getvalue().to_pybytes()
    at, digest = _seal_at(blank), hashlib.sha256(blank).hexdigest()
    return blank[:at] + digest.encode() + blank[at + _DIGITS :], digest


def _seal_at(content: bytes) -> int:
    """Return where the digest is.

    Raises
    ------
    ValueError
        If there is none.
    """
    at = content.rfind(_MARK)
    if at < 0:
        raise ValueError("without a digest")
    return at + len(_MARK)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: str | os.PathLike[str]) -> None:
    """Have the names of files that were replaced on the disk too."""
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: str | os.PathLike[str]) -> tuple[Record, str]:
    """Return a table and its description, and the digest of the file."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError("there is no trace", where=str(path), remedy="make it with `relufit trials`") from error
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror})") from error
    digest = _check_seal(path, content)
    try:
        table = pq.read_table(pa.BufferReader(content))
        about = json.loads(table.schema.metadata[_KEY])
        if not isinstance(about, dict):
            raise TypeError("its description is no mapping")
        return Record(table.to_pandas(), about), digest
    except Exception as error:  # whatever a library makes of a file that was sealed by somebody else
        said = " ".join(str(error).split())
        raise _refusal(path, f"no trace of ours ({type(error).__name__}: {said:.80})") from error


def _check_seal(path: str | os.PathLike[str], content: bytes) -> str:
    """Return the digest of a file that is as it was written."""
    try:
        at = _seal_at(content)
    except ValueError as error:
        raise _refusal(
            path, "no trace of ours: cut, damaged, of another program, or of a version without digests"
        ) from error
    written = content[at : at + _DIGITS]
    digest = hashlib.sha256(content[:at] + _BLANK + content[at + _DIGITS :]).hexdigest()
    if written != digest.encode():
        raise _refusal(path, "the trace is damaged: its digest is wrong")
    return digest


def _refusal(path: str | os.PathLike[str], what: str) -> DataError:
    return DataError(what, where=str(path), remedy=_AGAIN)
