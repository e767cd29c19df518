"""Traces on disk: results in one Parquet file, timings in another beside it.

The results of a setting are the same on every run and machine; the timings, and the machine they were taken on,
are not. Each file carries its description as JSON in its metadata under the key ``relufit``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from relufit.errors import DataError
from relufit.files import replacing

_KEY = b"relufit"


class Record(NamedTuple):
    """A table and its description."""

    table: pd.DataFrame
    about: dict[str, Any]


def timing_path(path: str | os.PathLike[str]) -> Path:
    """Return where the timings of the results at `path` lie."""
    path = Path(path)
    return path.with_name(f"{path.name.removesuffix('.parquet')}.timing.parquet")


def write(path: str | os.PathLike[str], table: pd.DataFrame, about: dict[str, Any]) -> None:
    """Write a table and its description, all of it or nothing."""
    content = pa.Table.from_pandas(table, preserve_index=False)
    content = content.replace_schema_metadata({_KEY: json.dumps(about, sort_keys=True)})
    with replacing(path) as fresh:
        pq.write_table(content, fresh, compression="zstd")


def read(path: str | os.PathLike[str]) -> Record:
    """Return the table and the description at `path`.

    Raises
    ------
    DataError
        If there is no such file, or it is none of ours.
    """
    try:
        content = pq.read_table(path)
        about = json.loads(content.schema.metadata[_KEY])
    except FileNotFoundError as error:
        raise DataError("there is no trace", where=str(path), remedy="make it with `relufit trials`") from error
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(f"no trace of ours ({error})", where=str(path), remedy="delete it and make it again") from error
    return Record(content.to_pandas(), about)
