"""Traces on disk are read as they were written, or refused in one line."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relufit.claims import trace_files
from relufit.claims.trace_files import Record
from relufit.errors import DataError
from relufit.files import atomic

TABLE = pd.DataFrame(
    {
        "iteration": np.arange(400),
        "relative_error": np.geomspace(1, 1e-9, 400),
        "loss": [np.nan, *np.linspace(1, 0, 399)],
        "setting": pd.Categorical(["one", "other"] * 200),
    }
)
ABOUT = {"origin": {"code": "0" * 64}, "trials": [{"seed": 3}] * 5}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    trace_files.write(tmp_path / "trace.parquet", TABLE, ABOUT)
    return tmp_path / "trace.parquet"


def assert_refused(path: Path, says: str = "trace") -> None:
    with pytest.raises(DataError, match=says) as caught:
        trace_files.read(path)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.where == str(path)
    assert "again" in caught.value.remedy


def test_what_was_written_is_read(trace: Path) -> None:
    table, about = trace_files.read(trace)
    pd.testing.assert_frame_equal(table, TABLE)
    assert about == ABOUT


def test_other_tools_read_it(trace: Path) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(trace), TABLE)
    metadata = pq.read_metadata(trace).metadata
    assert json.loads(metadata[b"relufit"]) == ABOUT
    assert len(metadata[b"relufit.sha256"]) == 64


def test_the_same_is_written_in_the_same_bytes(trace: Path, tmp_path: Path) -> None:
    trace_files.write(tmp_path / "again.parquet", TABLE.copy(), dict(reversed(ABOUT.items())))
    assert (tmp_path / "again.parquet").read_bytes() == trace.read_bytes()


def test_no_bit_can_be_another(trace: Path) -> None:
    content, draw = trace.read_bytes(), random.Random(5)
    end = range(8 * (len(content) - 200), 8 * len(content), 3)  # the digest, and what is around it
    for bit in {*draw.sample(range(8 * len(content)), 400), *end}:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        trace.write_bytes(changed)
        assert_refused(trace)


def test_no_cut_is_read(trace: Path) -> None:
    content, draw = trace.read_bytes(), random.Random(6)
    for _ in range(200):
        start, stop = sorted(draw.sample(range(len(content) + 1), 2))
        trace.write_bytes(content[:start] + content[stop:])
        assert_refused(trace)


def test_nothing_interprets_what_is_damaged(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("pyarrow was given damaged bytes")

    content = bytearray(trace.read_bytes())
    content[20] ^= 1
    trace.write_bytes(content)
    monkeypatch.setattr(pq, "read_table", refuse)
    assert_refused(trace, "its digest is wrong")


def test_a_trace_without_a_digest_is_refused(tmp_path: Path) -> None:
    content = pa.Table.from_pandas(TABLE, preserve_index=False).replace_schema_metadata({"relufit": json.dumps(ABOUT)})
    pq.write_table(content, tmp_path / "old.parquet", compression="zstd")
    assert_refused(tmp_path / "old.parquet", "of a version without digests")


SEALED: dict[str, Callable[[bytes], bytes]] = {
    "no Parquet file": lambda mark: b"anything" + mark,
    "a footer without an end": lambda mark: b"PAR1" + mark + b"\xff" * 40 + b"\xff\xff\xff\x7fPAR1",
    "a footer of noise": lambda mark: b"PAR1" + mark + random.Random(7).randbytes(400) + b"\x90\x01\0\0PAR1",
}


@pytest.mark.parametrize("kind", SEALED)
def test_what_somebody_else_has_sealed_is_refused(tmp_path: Path, kind: str) -> None:
    blank = SEALED[kind](trace_files._MARK + trace_files._BLANK)
    at = trace_files._seal_at(blank)
    digest = hashlib.sha256(blank).hexdigest().encode()
    (tmp_path / "sealed.parquet").write_bytes(blank[:at] + digest + blank[at + 64 :])
    assert_refused(tmp_path / "sealed.parquet", "no trace of ours")


def test_a_sealed_table_without_a_description_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet"
    for about in ([], 4, None):
        trace_files.write(path, TABLE, about)  # type: ignore[arg-type]
        assert_refused(path, "no trace of ours")
    monkeypatch.setattr(trace_files, "_KEY", b"other")
    trace_files.write(path, TABLE, ABOUT)
    monkeypatch.undo()
    assert_refused(path, "no trace of ours")


@pytest.mark.parametrize("kind", ["a folder", "empty", "missing"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "trace.parquet"
    {"a folder": path.mkdir, "empty": path.touch, "missing": lambda: None}[kind]()
    with pytest.raises(DataError) as caught:
        trace_files.read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_results_and_their_timings_are_read_together(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    trace_files.write_pair(path, Record(TABLE, ABOUT), Record(TABLE[["iteration"]], {"machine": "this"}))
    results, timings = trace_files.read_pair(path)
    pd.testing.assert_frame_equal(results.table, TABLE)
    assert timings.about["machine"] == "this"
    alone = tmp_path / "alone.parquet"
    trace_files.write(alone, TABLE, ABOUT)
    assert alone.read_bytes() == path.read_bytes(), "results depend on the timings"


@pytest.mark.parametrize("after", [0, 1])
def test_a_kill_between_the_two_files_leaves_no_timings_of_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    path, left = tmp_path / "trace.parquet", [after]
    first = Record(TABLE, ABOUT), Record(TABLE[["iteration"]], {"machine": "this"})
    other = Record(TABLE[::-1], ABOUT), Record(TABLE[["iteration"]], {"machine": "that"})
    trace_files.write_pair(path, *first)
    replace = atomic.os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target).suffix == ".parquet" and Path(target).parent == tmp_path:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(atomic.os, "replace", killed)
        trace_files.write_pair(path, *other)
    if after:
        with pytest.raises(DataError, match="the timings are not those of") as caught:
            trace_files.read_pair(path)
        assert caught.value.where == str(trace_files.timing_path(path))
    else:
        assert trace_files.read_pair(path)[1].about["machine"] == "this"
    trace_files.write_pair(path, *other)
    assert trace_files.read_pair(path)[1].about["machine"] == "that"
