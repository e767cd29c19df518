"""Planted data on disk or on S3: a Zarr v3 group with one shard a rank, on disk a plain file that a rank can map.

The arrays ``x`` (n, d) float32, ``y`` (n,) float64 and ``w_star`` (d,) float64 are ordinary sharded Zarr arrays
without compression, see `relufit.planted.layout`. Shards are streamed to disk, never held whole. The group's
attributes have the recipe, what made it, and checksums of everything else; what is read is held against them first.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from relufit.errors import ConfigError, DataError
from relufit.files.mapped import Guard
from relufit.files.seals import SealingFile, checksum, damaged_block, is_sealed, sealed
from relufit.numerics import kernels
from relufit.planted import PlantedData, PlantedModel
from relufit.planted.layout import KINDS, Layout, check_plain, read_layout
from relufit.planted.rows import ArrayRows, RecipeRows, RowSource, Shard, digest_of, origin, shard_rows
from relufit.planted.stores import ROOT, Opener, find_store

__all__ = ["ArrayRows", "Dataset", "RecipeRows", "RowSource", "Shard", "open_rows", "origin", "shard_rows", "write"]

FORMAT = 2
_CHUNK_BYTES = 4 * 2**20
_W_STAR = "w_star/c/0"
#: The small files, which have a checksum each.
_FILES = (*(f"{name}/{ROOT}" for name in KINDS), _W_STAR)


def _chunk_rows(shard: int, row_bytes: int) -> int:
    limit = max(1, _CHUNK_BYTES // row_bytes)
    return max(c for c in range(1, min(limit, shard) + 1) if shard % c == 0)


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
    x = Layout("x", (model.n, model.d), size, _chunk_rows(size, 4 * model.d))
    y = Layout("y", (model.n,), size, _chunk_rows(size, 8))
    w_star = model.weights()
    needed = sum(layout.file_bytes(r) for layout in (x, y) for r in range(shards))
    with find_store(path).writing(needed) as (folder, opened):
        _create(folder, w_star, x, y)
        blocks = [_write_shard(model, w_star, opened, (x, y), r, part, progress) for r, part in enumerate(parts)]
        _seal(folder, model, blocks)


def _create(folder: Path, w_star: np.ndarray, *layouts: Layout) -> None:
    """Write everything but the shards and the group's attributes."""
    import zarr

    group = zarr.open_group(folder, mode="w", zarr_format=3)
    group.create_array("w_star", data=w_star, chunks=w_star.shape, compressors=None)
    for layout in layouts:
        group.create_array(
            layout.name,
            shape=layout.shape,
            dtype=KINDS[layout.name][0],
            chunks=(layout.chunk, *layout.shape[1:]),
            shards=(layout.shard, *layout.shape[1:]),
            compressors=None,
            filters=None,
            fill_value=0,
        )


def _write_shard(
    model: PlantedModel,
    w_star: np.ndarray,
    opened: Opener,
    layouts: tuple[Layout, Layout],
    index: int,
    part: tuple[int, int],
    progress: Callable[[int], None] | None,
) -> tuple[list[str], list[str]]:
    """Write the rows of a shard, and return the checksums of the blocks of its two files."""
    step = max(1, _CHUNK_BYTES // (4 * model.d))
    with opened(layouts[0].part(index)) as x_file, opened(layouts[1].part(index)) as y_file:
        files = SealingFile(x_file, layouts[0].block_bytes), SealingFile(y_file, layouts[1].block_bytes)
        for start in range(*part, step):
            x, y = model.rows(start, min(start + step, part[1]), w_star)
            if not (kernels.all_finite(x) and kernels.all_finite(y.reshape(1, -1))):
                raise DataError("rows with NaN or infinity", where="noise_std", remedy="choose a smaller one")
            files[0].write(x.astype("<f4", copy=False))
            files[1].write(y.astype("<f8", copy=False))
            if progress:
                progress(start + len(x))
        for file, layout in zip(files, layouts, strict=True):
            file.write(layout.finish(index))
    return files[0].checksums(), files[1].checksums()


def _seal(folder: Path, model: PlantedModel, blocks: list[tuple[list[str], list[str]]]) -> None:
    """Write the group's attributes, which have the checksums of all files."""
    content = json.loads((folder / ROOT).read_text())
    about = {
        "format": FORMAT,
        "shards": len(blocks),
        **asdict(model),
        "origin": origin(),
        "checksums": {
            **{name: checksum((folder / name).read_bytes()) for name in _FILES},
            "x": [x for x, _ in blocks],
            "y": [y for _, y in blocks],
        },
    }
    content["attributes"] = {"relufit": about}
    (folder / ROOT).write_bytes(sealed(content, about))


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
        self._layouts = dict[str, Layout]()
        self.model, about, self.w_star = self._open()
        self.shards, self._checksums = about["shards"], about["checksums"]
        #: What made the data set, see `origin`.
        self.origin: dict[str, str] = about["origin"]
        self.n, self.d = self.model.n, self.model.d
        if expected is not None and expected != self.model:
            stored, asked = asdict(self.model), asdict(expected)
            wrong = ", ".join(f"{k} is {stored[k]!r}, not {asked[k]!r}" for k in asked if stored[k] != asked[k])
            raise DataError(f"made with other parameters: {wrong}", where=str(path), remedy=self._remedy)

    @property
    def digest(self) -> str:
        """A digest of the recipe and of the checksums of the rows."""
        rows = {name: self._checksums[name] for name in ("x", "y", _W_STAR)}
        return digest_of("disk", FORMAT, asdict(self.model), rows)

    @property
    def _remedy(self) -> str:
        return f"delete the folder {self._store.location()} and make the data set again"

    def _error(self, what: str, name: str = "") -> DataError:
        return DataError(what, where=self._store.location(name), remedy=self._remedy)

    def _open(self) -> tuple[PlantedModel, dict[str, Any], np.ndarray]:
        """Read all but the shards: the metadata, as far as other tools may have written them, and their checksums."""
        if not self._store.has_root():
            where = self._store.location()
            raise DataError("there is no data set", where=where, remedy="make it with `relufit dataset`")
        root = self._store.read(ROOT)
        about = self._json(root, ROOT).get("attributes", {}).get("relufit")
        if not isinstance(about, dict):
            raise self._error("not a planted data set: its attributes have nothing of relufit's")
        small = {name: self._store.read(name) for name in _FILES}
        self._read_layouts(small)
        if about.get("format") != FORMAT:
            raise self._error(f"written in format {about.get('format')}, not {FORMAT}", ROOT)
        if not is_sealed(root):
            raise self._error("changed since the data set was written: its checksum is wrong", ROOT)
        try:
            model = PlantedModel(**{key: about[key] for key in PlantedModel.__dataclass_fields__})
            self._check_small(model, about["checksums"], small)
            about = {"shards": int(about["shards"]), "origin": about["origin"], "checksums": about["checksums"]}
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise self._error(f"not a planted data set ({error!r})", ROOT) from error
        return model, about, np.frombuffer(small[_W_STAR], "<f8").astype(np.float64)

    def _check_small(self, model: PlantedModel, checksums: dict[str, str], small: dict[str, bytes]) -> None:
        for layout in self._layouts.values():
            shape = (model.n, model.d)[: len(layout.shape)]
            if layout.shape != shape:
                what = f"not laid out as this data set: {layout.name} has the shape {layout.shape} where {shape} is due"
                raise self._error(what, f"{layout.name}/{ROOT}")
        for name, content in small.items():
            if checksum(content) != checksums[name]:
                raise self._error("changed since the data set was written: its checksum is wrong", name)

    def _json(self, content: bytes, name: str) -> dict[str, Any]:
        try:
            value = json.loads(content)
            if not isinstance(value, dict) or not isinstance(value.get("attributes", {}), dict):
                raise ValueError("no object")
        except (ValueError, RecursionError) as error:
            raise self._error(f"no metadata of a planted data set ({error})", name) from error
        return value

    def _read_layouts(self, small: dict[str, bytes]) -> None:
        for array in KINDS:
            name = f"{array}/{ROOT}"
            stored = self._json(small[name], name)
            try:
                if array == "w_star":
                    check_plain(array, stored)
                else:
                    self._layouts[array] = read_layout(array, stored)
            except ValueError as error:
                raise self._error(f"not laid out as a planted data set: {error}", name) from error

    def shard(self, rank: int, workers: int) -> Shard:
        """Return the rows of one rank of `workers`, and open no file that has none of them.

        Where `workers` is the number of shards the rows on a disk are mapped, not read; otherwise the parts are put
        together in memory. From S3 the shards are read into memory. All blocks that have rows are held against their
        checksums.

        Raises
        ------
        ConfigError
            If there are more workers than rows.
        DataError
            If a shard is missing, truncated or damaged, or the data set at that place is another than was opened,
            perhaps on another host.
        """
        try:
            return self._shard(rank, workers)
        except DataError:
            self._check_same()
            raise

    def _shard(self, rank: int, workers: int) -> Shard:
        start, stop = shard_rows(self.model.n, workers)[rank]
        size = self._layouts["x"].shard
        xs, ys = [], []
        for index in range(start // size, -(-stop // size)):
            part = range(max(start - index * size, 0), min(stop - index * size, size))
            xs.append(self._rows("x", index, part).view("<f4").reshape(len(part), self.d))
            ys.append(self._rows("y", index, part).view("<f8"))
        if len(xs) == 1:
            return Shard(xs[0], ys[0])
        guard = Guard(*xs, *ys)
        shard = Shard(np.concatenate(xs), np.concatenate(ys))
        guard.check()
        return shard

    def _check_same(self) -> None:
        """Tell a data set of the same name on this host, or in place of the one that was opened, from damage."""
        where = self._store.location()
        try:
            same = Dataset(where).digest == self.digest
        except DataError:  # which says less than the error that led here
            return
        if not same:
            raise DataError(
                f"the data set on {socket.gethostname()} is another than the one that was opened",
                where=where,
                remedy="let this path be the same data set on every host, and leave it so while a run goes on",
            )

    def check(self) -> None:
        """Hold all shards against their checksums.

        Raises
        ------
        DataError
            If one is missing, truncated or damaged.
        """
        for index in range(self.shards):
            self.shard(index, self.shards)

    def _rows(self, name: str, index: int, rows: range) -> np.ndarray:
        """Return the bytes of some rows of a shard, once the blocks that they are in were found sound."""
        store, layout = self._store, self._layouts[name]
        part, size, block = layout.part(index), layout.file_bytes(index), layout.block_bytes
        if (actual_size := store.size(part)) != size:
            raise self._error(f"the shard has {actual_size} bytes in place of {size}", part)
        start, stop = rows.start * layout.row_bytes, rows.stop * layout.row_bytes
        first, last = start // block, -(-(size if rows.stop == layout.rows(index) else stop) // block)
        content = store.array(part, first * block, min(last * block, size))
        guard = Guard(content)
        damaged = damaged_block(content, block, self._checksums[name][index][first:last])
        guard.check()
        if damaged is not None:
            offset = (first + damaged) * block
            raise self._error(f"the shard is damaged: wrong checksum of the bytes from {offset} on", part)
        return content[start - first * block : stop - first * block]


def open_rows(dataset: str | os.PathLike[str] | PlantedModel | PlantedData) -> RowSource:
    """Return the rows that a path, a recipe or arrays stand for."""
    if isinstance(dataset, PlantedModel):
        return RecipeRows(dataset)
    if isinstance(dataset, PlantedData):
        return ArrayRows(dataset)
    return Dataset(dataset)
