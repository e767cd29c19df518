"""Planted data on disk or on S3: a Zarr v3 group with one shard a rank, on disk a plain file that a rank can map.

The arrays ``x`` (n, d) float32, ``y`` (n,) float64 and ``w_star`` (d,) float64 are ordinary sharded Zarr arrays
without compression. The chunks of a shard lie in the order of their rows, the shard's index after them, so that
the start of the file is the shard's rows as they are in memory. Shards are streamed to disk, never held whole.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import google_crc32c
import numpy as np

from relufit import kernels
from relufit.errors import ConfigError, DataError
from relufit.planted import PlantedData, PlantedModel
from relufit.stores import Opener, find_store

FORMAT = 1
_CHUNK_BYTES = 4 * 2**20
_MISSING = struct.pack("<QQ", 2**64 - 1, 2**64 - 1)
_INDEX_ENTRY, _CHECKSUM = 16, 4


class Shard(NamedTuple):
    """The rows of one rank: x (rows, d) float32 and y (rows,) float64, mapped from the file where possible."""

    x: np.ndarray
    y: np.ndarray


def shard_rows(n: int, shards: int) -> list[tuple[int, int]]:
    """Return the first and the last-but-one row of each of `shards` contiguous parts of `n` rows.

    All parts have ceil(n / shards) rows but the last, which has what is left.

    Raises
    ------
    ConfigError
        If a part would be empty.
    """
    if shards < 1:
        raise ConfigError(f"{shards} is no number of ranks", where="workers", remedy="give at least 1")
    size = -(-n // shards)
    if size * (shards - 1) >= n:
        raise ConfigError(
            f"{n} rows cannot be dealt to {shards} ranks in parts of {size}",
            where="workers",
            remedy=f"use at most {-(-n // size)} workers or more rows",
        )
    return [(r * size, min((r + 1) * size, n)) for r in range(shards)]


def _chunk_rows(shard: int, row_bytes: int) -> int:
    limit = max(1, _CHUNK_BYTES // row_bytes)
    return max(c for c in range(1, min(limit, shard) + 1) if shard % c == 0)


@dataclass(frozen=True)
class _Layout:
    """Where the rows of an array lie in its shard files."""

    n: int
    shard: int
    chunk: int
    row_bytes: int

    def rows(self, index: int) -> int:
        return min(self.shard, self.n - index * self.shard)

    def chunks(self, index: int) -> int:
        return -(-self.rows(index) // self.chunk)

    def file_bytes(self, index: int) -> int:
        body = self.chunks(index) * self.chunk * self.row_bytes
        return body + self.shard // self.chunk * _INDEX_ENTRY + _CHECKSUM

    def finish(self, file: BinaryIO, index: int) -> None:
        """Pad the last chunk and append the shard's index."""
        size = self.chunk * self.row_bytes
        file.write(bytes(self.chunks(index) * size - self.rows(index) * self.row_bytes))
        present = self.chunks(index)
        table = b"".join(struct.pack("<QQ", k * size, size) for k in range(present))
        table += _MISSING * (self.shard // self.chunk - present)
        file.write(table + struct.pack("<I", google_crc32c.value(table)))


def write(
    model: PlantedModel,
    path: str | os.PathLike[str],
    *,
    shards: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the data set of `model` to the folder `path`, which must not exist or be replaced.

    On S3 a shard is sent while it is made, and what makes the objects a data set comes last.

    Parameters
    ----------
    model : PlantedModel
        What to write.
    path : path
        The folder of the Zarr group, or an address such as ``s3://bucket/prefix``; it appears whole or not at all.
    shards : int
        Number of ranks that will each read a shard. The values do not depend on it.
    progress : callable, optional
        Told the number of rows written so far.

    Raises
    ------
    ConfigError
        If there are fewer rows than shards.
    DataError
        If the disk has not enough space, or the folder or the bucket cannot be written.
    """
    parts = shard_rows(model.n, shards)
    size = parts[0][1]
    layouts = {
        "x": _Layout(model.n, size, _chunk_rows(size, 4 * model.d), 4 * model.d),
        "y": _Layout(model.n, size, _chunk_rows(size, 8), 8),
    }
    w_star = model.weights()
    needed = sum(a.file_bytes(r) for a in layouts.values() for r in range(shards))
    with find_store(path).writing(needed) as (folder, opened):
        _create(folder, model, w_star, layouts, shards)
        for index, part in enumerate(parts):
            _write_shard(model, w_star, opened, layouts, index, part, progress)


def _create(folder: Path, model: PlantedModel, w_star: np.ndarray, layouts: dict[str, _Layout], shards: int) -> None:
    """Write everything but the shards."""
    import zarr

    group = zarr.open_group(folder, mode="w", zarr_format=3)
    group.attrs["relufit"] = {"format": FORMAT, "shards": shards, **asdict(model)}
    group.create_array("w_star", data=w_star, chunks=w_star.shape, compressors=None)
    for name, shape, kind in (("x", (model.n, model.d), "float32"), ("y", (model.n,), "float64")):
        group.create_array(
            name,
            shape=shape,
            dtype=kind,
            chunks=(layouts[name].chunk, *shape[1:]),
            shards=(layouts[name].shard, *shape[1:]),
            compressors=None,
            filters=None,
            fill_value=0,
        )


def _write_shard(
    model: PlantedModel,
    w_star: np.ndarray,
    opened: Opener,
    layouts: dict[str, _Layout],
    index: int,
    part: tuple[int, int],
    progress: Callable[[int], None] | None,
) -> None:
    step = max(1, _CHUNK_BYTES // (4 * model.d))
    with opened(_shard_name("x", index)) as x_file, opened(_shard_name("y", index)) as y_file:
        for start in range(*part, step):
            x, y = model.rows(start, min(start + step, part[1]), w_star)
            x_file.write(x.astype("<f4", copy=False).data)
            y_file.write(y.astype("<f8", copy=False).data)
            if progress:
                progress(start + len(x))
        layouts["x"].finish(x_file, index)
        layouts["y"].finish(y_file, index)


def _shard_name(name: str, index: int) -> str:
    return f"{name}/c/{index}/0" if name == "x" else f"{name}/c/{index}"


class Dataset:
    """A planted data set on disk or on S3, opened for reading.

    Parameters
    ----------
    path : path
        The folder of the Zarr group, or an address such as ``s3://bucket/prefix``.
    expected : PlantedModel, optional
        The model that the data set must have been made from.

    Raises
    ------
    DataError
        If it is not there, is no planted data set, or is another than expected.
    """

    def __init__(self, path: str | os.PathLike[str], expected: PlantedModel | None = None) -> None:
        self._store = find_store(path)
        self.shards, self.model, self._layouts, self.w_star = self._open()
        self.n, self.d = self.model.n, self.model.d
        if expected is not None and expected != self.model:
            stored, asked = asdict(self.model), asdict(expected)
            wrong = ", ".join(f"{k} is {stored[k]!r}, not {asked[k]!r}" for k in asked if stored[k] != asked[k])
            raise DataError(f"made with other parameters: {wrong}", where=str(path), remedy=self._remedy)

    @property
    def _remedy(self) -> str:
        return f"delete the folder {self._store.location()} and make the data set again"

    def _open(self) -> tuple[int, PlantedModel, dict[str, _Layout], np.ndarray]:
        where = self._store.location()
        if not self._store.has_root():
            raise DataError("there is no data set", where=where, remedy="make it with `relufit dataset`")
        import zarr

        try:
            group = zarr.open_group(self._store.zarr(), mode="r", zarr_format=3)
            attributes: dict[str, Any] = dict(group.attrs["relufit"])  # type: ignore[arg-type]
            arrays = {name: group[name] for name in ("x", "y")}
            layouts = {
                name: _Layout(
                    a.shape[0], a.shards[0], a.chunks[0], a.dtype.itemsize * (a.shape[1] if a.ndim > 1 else 1)
                )
                for name, a in arrays.items()
            }
            w_star = np.asarray(group["w_star"][:], np.float64)
            if not abs(np.linalg.norm(w_star) - 1) < 1e-6:
                raise ValueError("its planted weights are damaged")
            written, shards = attributes.pop("format", None), int(attributes.pop("shards"))
            model = PlantedModel(**attributes) if written == FORMAT else None
        except (KeyError, TypeError, ValueError, AttributeError, OSError, ConfigError) as error:
            raise DataError(f"not a planted data set ({error})", where=where, remedy=self._remedy) from error
        if model is None:
            raise DataError("written in another format", where=where, remedy=self._remedy)
        return shards, model, layouts, w_star

    def shard(self, rank: int, workers: int) -> Shard:
        """Return the rows of one rank of `workers`, and open no file that has none of them.

        Where `workers` is the number of shards the rows on a disk are mapped, not read; otherwise the parts are put
        together in memory. From S3 the shards are read into memory.

        Raises
        ------
        ConfigError
            If there are more workers than rows.
        DataError
            If a shard is missing, truncated, or holds NaN or infinity.
        """
        start, stop = shard_rows(self.model.n, workers)[rank]
        size = self._layouts["x"].shard
        xs, ys = [], []
        for index in range(start // size, -(-stop // size)):
            part = range(max(start - index * size, 0), min(stop - index * size, size))
            x, y = self._rows("x", index, part, "<f4", (self.model.d,)), self._rows("y", index, part, "<f8", ())
            self._check_finite(x, y, index)
            xs.append(x)
            ys.append(y)
        return Shard(xs[0], ys[0]) if len(xs) == 1 else Shard(np.concatenate(xs), np.concatenate(ys))

    def _rows(self, name: str, index: int, rows: range, kind: str, width: tuple[int, ...]) -> np.ndarray:
        """Return some rows of a shard."""
        store, part, array = self._store, _shard_name(name, index), self._layouts[name]
        size = store.size(part)
        if size != array.file_bytes(index):
            raise DataError(
                f"the shard has {size} bytes in place of {array.file_bytes(index)}",
                where=store.location(part),
                remedy=self._remedy,
            )
        return store.array(part, kind, (len(rows), *width), rows.start * array.row_bytes)

    def _check_finite(self, x: np.ndarray, y: np.ndarray, index: int) -> None:
        for name, values in (("x", x), ("y", y.reshape(1, -1))):
            if not kernels.all_finite(values):
                where = self._store.location(_shard_name(name, index))
                raise DataError("the shard holds NaN or infinity", where=where, remedy=self._remedy)


class RowSource(Protocol):
    """Where the rows of a run come from: a data set on disk, a recipe, or arrays in memory."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def d(self) -> int:
        """Dimension."""

    @property
    def w_star(self) -> np.ndarray:
        """The planted weights, (d,) float64."""

    @property
    def model(self) -> PlantedModel | None:
        """The recipe of the rows, where there is one."""

    def shard(self, rank: int, workers: int) -> Shard:
        """Return the rows of one rank of `workers`."""


@dataclass(frozen=True)
class RecipeRows:
    """Rows that each rank makes for itself, as `relufit.planted.PlantedModel` says."""

    model: PlantedModel

    def __post_init__(self) -> None:
        """Make the planted weights once."""
        object.__setattr__(self, "n", self.model.n)
        object.__setattr__(self, "d", self.model.d)
        object.__setattr__(self, "w_star", self.model.weights())

    n: int = field(init=False)
    d: int = field(init=False)
    w_star: np.ndarray = field(init=False)

    def shard(self, rank: int, workers: int) -> Shard:
        """Return the rows of one rank of `workers`."""
        return Shard(*self.model.rows(*shard_rows(self.n, workers)[rank], self.w_star))


class ArrayRows:
    """Rows that are in memory already.

    Raises
    ------
    DataError
        If the shapes do not fit, or there is NaN or infinity.
    """

    model = None

    def __init__(self, data: PlantedData) -> None:
        self.x, self.y = np.ascontiguousarray(data.x, np.float32), np.ascontiguousarray(data.y, np.float64)
        self.w_star = np.ascontiguousarray(data.w_star, np.float64)
        if (
            self.x.ndim != 2
            or not self.x.size
            or self.y.shape != (len(self.x),)
            or self.w_star.shape != self.x.shape[1:]
        ):
            shapes = f"{self.x.shape}, {self.y.shape}, {self.w_star.shape}"
            raise DataError(f"shapes {shapes}", where="dataset", remedy="give x (n, d), y (n,) and w_star (d,)")
        if not self.w_star.any():
            raise DataError("planted weights of zero", where="dataset", remedy="relative errors need others")
        if not (kernels.all_finite(self.x) and np.isfinite(self.y).all() and np.isfinite(self.w_star).all()):
            raise DataError("NaN or infinity in the data", where="dataset", remedy="give finite numbers")
        self.n, self.d = self.x.shape

    def shard(self, rank: int, workers: int) -> Shard:
        """Return the rows of one rank of `workers`."""
        start, stop = shard_rows(self.n, workers)[rank]
        return Shard(self.x[start:stop], self.y[start:stop])


def open_rows(dataset: str | os.PathLike[str] | PlantedModel | PlantedData) -> RowSource:
    """Return the rows that a path, a recipe or arrays stand for."""
    if isinstance(dataset, PlantedModel):
        return RecipeRows(dataset)
    if isinstance(dataset, PlantedData):
        return ArrayRows(dataset)
    return Dataset(dataset)
