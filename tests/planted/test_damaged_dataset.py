"""Data sets that are damaged, foreign or of another kind: each is refused with what is the matter."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from small_dataset import MODEL, shard_file, whole, written

from relufit.errors import DataError
from relufit.files import seals
from relufit.planted import PlantedModel, layout
from relufit.planted.dataset import Dataset, open_rows, shard_rows
from relufit.training import TrainingSpec, train


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n": 99}, "n is 100, not 99"),
        ({"d": 8}, "d is 7, not 8"),
        ({"seed": 4}, "seed is 3, not 4"),
        ({"noise_std": 0.0}, "noise_std is 0.1, not 0.0"),
        ({"inputs": "uniform"}, "inputs is 'gaussian', not 'uniform'"),
    ],
)
def test_another_data_set_than_expected_is_refused_with_the_difference(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    path = written(tmp_path / "data")
    asked = PlantedModel(**{"n": 100, "d": 7, "seed": 3, "noise_std": 0.1, "inputs": "gaussian", **change})  # type: ignore[arg-type]
    assert Dataset(path, MODEL).model == MODEL
    with pytest.raises(DataError, match=told) as caught:
        Dataset(path, asked)
    assert str(path) in str(caught.value)
    assert "again" in caught.value.remedy


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def extend(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def empty(file: Path) -> None:
    os.truncate(file, 0)


def put(number: float) -> Callable[[Path], None]:
    """Put a number in place of the last one of a shard's last row, which is in memory as it is in the file."""

    def damage(file: Path) -> None:
        kind, values = ("<f4", 25 * 7) if "x" in file.parts else ("<f8", 25)
        stored = np.memmap(file, kind, "r+", shape=(values,))
        stored[-1] = number
        stored.flush()

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (Path.unlink, "missing"),
        (truncate, "bytes in place of"),
        (extend, "bytes in place of"),
        (empty, "bytes in place of"),
        (put(np.nan), "damaged: wrong checksum of the bytes from 0 on"),
        (put(np.inf), "damaged"),
        (put(0.0), "damaged"),
    ],
)
@pytest.mark.parametrize("name", ["x", "y"])
def test_a_damaged_shard_is_refused_by_its_rank_and_by_no_other(
    tmp_path: Path, name: str, damage: Callable[[Path], None], told: str
) -> None:
    path = written(tmp_path / "data")
    file = shard_file(path, 1, name)
    damage(file)
    opened = Dataset(path)
    with pytest.raises(DataError, match=told) as caught:
        opened.shard(1, 4)
    assert caught.value.where == str(file)
    assert "again" in caught.value.remedy
    for rank in (0, 2, 3):
        assert len(opened.shard(rank, 4).y) == 25


def test_a_folder_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set"):
        Dataset(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="no data set"):
        open_rows(tmp_path / "file")


def edit_metadata(path: Path, edit: Callable[[dict[str, Any]], object], *, again: bool = False) -> None:
    """Change what relufit has written of the data set; `again` with the checksum of that, as only relufit does it."""
    content = json.loads((path / "zarr.json").read_text())
    about = content["attributes"]["relufit"]
    edit(about)
    text = seals.sealed(content, about) if again else json.dumps(content).encode()
    (path / "zarr.json").write_bytes(text)


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda path: (path / "zarr.json").write_text('{"zarr_format": 3'), "zarr.json"),
        (lambda path: (path / "zarr.json").write_text("{}"), ""),
        (lambda path: (path / "zarr.json").write_bytes(b"\xff"), "zarr.json"),
        (lambda path: (path / "zarr.json").write_text("[" * 10**5), "zarr.json"),
        (lambda path: (path / "x" / "zarr.json").unlink(), "x/zarr.json"),
        (lambda path: (path / "y" / "zarr.json").write_text("[]"), "y/zarr.json"),
        (lambda path: (path / "y" / "zarr.json").write_text("{}"), "y/zarr.json"),
        (lambda path: shutil.rmtree(path / "w_star"), "w_star/zarr.json"),
        (lambda path: (path / "w_star" / "c" / "0").unlink(), "w_star/c/0"),
        (lambda path: truncate(path / "w_star" / "c" / "0"), "w_star/c/0"),
        (lambda path: (path / "w_star" / "c" / "0").write_bytes(np.full(7, np.nan).tobytes()), "w_star/c/0"),
        (lambda path: (path / "w_star" / "c" / "0").write_bytes(np.full(7, 0.5).tobytes()), "w_star/c/0"),
        (lambda path: edit_metadata(path, lambda made: made.update(format=1), again=True), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.pop("format"), again=True), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.pop("shards"), again=True), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.pop("seed"), again=True), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.pop("origin"), again=True), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.pop("checksums"), again=True), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made["checksums"].pop("w_star/c/0"), again=True), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.update(n=0), again=True), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.update(n=99), again=True), "x/zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.update(colour="red")), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.pop("seal")), "zarr.json"),
        (lambda path: edit_metadata(path, lambda made: made.clear()), "zarr.json"),
    ],
)
def test_damaged_metadata_are_a_data_error_that_names_the_file(
    tmp_path: Path, damage: Callable[[Path], object], where: str
) -> None:
    path = written(tmp_path / "data")
    assert Dataset(path).n == 100
    damage(path)
    with pytest.raises(DataError) as caught:
        Dataset(path)
    assert caught.value.where == str(path / where)
    assert "again" in caught.value.remedy


def test_a_data_set_of_the_format_before_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path / "data")
    content = json.loads((path / "zarr.json").read_text())
    old = {"format": 1, "shards": 4, **asdict(MODEL)}
    (path / "zarr.json").write_text(json.dumps({**content, "attributes": {"relufit": old}}, indent=2))
    remedy = "delete the folder .* and make the data set again"
    with pytest.raises(DataError, match=f"written in format 1, not 2; {remedy}"):
        Dataset(path)


def copied(path: Path, target: Path, name: str, change: Callable[[Any], dict[str, Any]], values: np.ndarray) -> Path:
    """Copy a data set, attributes and all, by Zarr alone, one of its arrays in another way."""
    source, other = zarr.open_group(path, mode="r"), zarr.open_group(target, mode="w", attributes={})
    other.attrs.put(dict(source.attrs))
    for array in ("x", "y", "w_star"):
        shutil.copytree(path / array, target / array)
    shutil.rmtree(target / name)
    array = source[name]
    usual = {
        "shape": values.shape,
        "dtype": values.dtype,
        "chunks": array.chunks,  # type: ignore[union-attr]
        "shards": array.shards,  # type: ignore[union-attr]
        "compressors": None,
        "filters": None,
        "fill_value": 0,
    }
    other.create_array(name, **{**usual, **change(array)})[:] = values
    return target


SHARDED = zarr.codecs.ShardingCodec

#: What another tool may have made of an array, and what is said of it.
FOREIGN: dict[str, tuple[str, type, Callable[[Any], dict[str, Any]], str]] = {
    "x float64": ("x", np.float64, lambda a: {}, "x is float64 where float32 is due"),
    "y float32": ("y", np.float32, lambda a: {}, "y is float32 where float64 is due"),
    "x integers": ("x", np.int32, lambda a: {}, "x is int32 where float32 is due"),
    "w_star float32": ("w_star", np.float32, lambda a: {}, "w_star is float32 where float64 is due"),
    "x big-endian": (
        "x",
        np.float32,
        lambda a: {"shards": None, "serializer": zarr.codecs.BytesCodec(endian="big")},
        "x has the codecs bytes big where sharding_indexed is due",
    ),
    "chunks big-endian": (
        "x",
        np.float32,
        lambda a: {"serializer": zarr.codecs.BytesCodec(endian="big")},
        "the chunks of x have the codecs bytes big where bytes little is due",
    ),
    "w_star big-endian": (
        "w_star",
        np.float64,
        lambda a: {"serializer": zarr.codecs.BytesCodec(endian="big")},
        "the codecs of w_star is bytes big where bytes little is due",
    ),
    "compressed": (
        "x",
        np.float32,
        lambda a: {"compressors": zarr.codecs.GzipCodec()},
        "the chunks of x have the codecs bytes little, gzip where bytes little is due",
    ),
    "transposed": (
        "x",
        np.float32,
        lambda a: {"filters": zarr.codecs.TransposeCodec(order=(1, 0))},
        "the chunks of x have the codecs transpose, bytes little where bytes little is due",
    ),
    "columns in chunks of their own": (
        "x",
        np.float32,
        lambda a: {"chunks": (25, 1)},
        "the codecs of x is",
    ),
    "other names of chunks": (
        "y",
        np.float64,
        lambda a: {"chunk_key_encoding": {"name": "v2", "separator": "."}},
        "the chunk_key_encoding of y is",
    ),
    "another fill value": ("y", np.float64, lambda a: {"fill_value": 1}, "the fill_value of y is 1.0 where 0.0 is due"),
    "no shards": ("y", np.float64, lambda a: {"shards": None}, "y has the codecs bytes little where sharding_indexed"),
    "smaller chunks": ("y", np.float64, lambda a: {"chunks": (5,)}, "changed since the data set was written"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_another_tool_wrote_in_another_way_is_told_in_one_line(tmp_path: Path, kind: str) -> None:
    name, dtype, change, message = FOREIGN[kind]
    path = written(tmp_path / "data")
    values = getattr(whole(MODEL), name).astype(dtype)
    other = copied(path, tmp_path / "other", name, change, values)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        Dataset(other)
    assert caught.value.where == str(other / name / "zarr.json")
    assert "\n" not in str(caught.value)
    assert "make the data set again" in caught.value.remedy


@pytest.mark.parametrize("name", ["x", "y"])
def test_other_shapes_are_told_of(tmp_path: Path, name: str) -> None:
    path, values = written(tmp_path / "data"), getattr(whole(MODEL), name)
    fewer = copied(path, tmp_path / "fewer", name, lambda _: {}, values[:99])
    with pytest.raises(DataError, match=rf"{name} has the shape \(99.* where \(100.* is due"):
        Dataset(fewer)
    cube = values.reshape(1, 1, -1)
    flat = copied(path, tmp_path / "flat", name, lambda _: {"chunks": (5,) * 3, "shards": (5,) * 3}, cube)
    with pytest.raises(DataError, match=rf"{name} has the shape \[1, 1, [17]00\] where \(n, ?d?\) is due"):
        Dataset(flat)


def test_the_same_made_by_zarr_alone_is_no_data_set_of_ours(tmp_path: Path) -> None:
    path = written(tmp_path / "data")
    other = copied(path, tmp_path / "other", "y", lambda _: {}, whole(MODEL).y)
    group = zarr.open_group(other, mode="r+")
    group.attrs.clear()
    with pytest.raises(DataError, match="not a planted data set: its attributes have nothing of relufit's"):
        Dataset(other)


def flips() -> list[tuple[str, int]]:
    """Each file of a small data set, and where it is damaged: all regions of it."""
    sizes = {
        "zarr.json": 950,
        "x/zarr.json": 900,
        "y/zarr.json": 900,
        "w_star/zarr.json": 500,
        "w_star/c/0": 56,
        "x/c/0/0": 1420,
        "x/c/1/0": 1420,
        "y/c/0": 420,
        "y/c/1": 420,
    }
    return [(name, at) for name, size in sizes.items() for at in [*range(0, size, max(1, size // 25)), -1, -2, -5, -9]]


@pytest.mark.parametrize(("name", "at"), flips())
def test_a_flipped_bit_anywhere_is_an_error_that_names_the_file_and_none_trains(
    shared: Path, tmp_path: Path, name: str, at: int
) -> None:
    path = tmp_path / "data"
    shutil.copytree(shared, path)
    content = bytearray((path / name).read_bytes())
    content[at] ^= 1 << (at % 8)
    (path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        train(TrainingSpec(path, workers=2, batch_size=4, iterations=3))
    # Without the names in it the root is no file of a data set.
    assert caught.value.where in ({str(path / name), str(path)} if name == "zarr.json" else {str(path / name)})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that nobody changes."""
    return written(tmp_path_factory.mktemp("shared") / "data", shards=2)


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 20])
def test_ranks_that_have_parts_of_shards_find_the_damage_of_their_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(layout, "_BLOCK_BYTES", 64)
    path = written(tmp_path / "data", shards=2)
    file = shard_file(path, 1)
    content = bytearray(file.read_bytes())
    content[30 * 28] ^= 64  # row 80
    file.write_bytes(content)
    opened, refused = Dataset(path), []
    for rank, (start, stop) in enumerate(shard_rows(100, workers)):
        try:
            assert opened.shard(rank, workers).x.tobytes() == whole(MODEL).x[start:stop].tobytes()
        except DataError as error:
            assert error.where == str(file)
            assert "bytes from 832 on" in error.what
            refused += [start <= 80 < stop]
    assert sum(refused) == 1, "its rank"
    assert len(refused) <= 2, "and one whose rows are in the same block"


@pytest.mark.parametrize("name", ["x/c/0/0", "y/c/1", "x/zarr.json", "w_star/c/0", "zarr.json"])
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_told_of_and_never_waited_for(tmp_path: Path, name: str, kind: str) -> None:
    path = written(tmp_path / "data", shards=2)
    (path / name).unlink()
    (path / name).mkdir() if kind == "folder" else os.mkfifo(path / name)
    with pytest.raises(DataError, match=r"cannot be read|there is no data set"):
        Dataset(path).check()


def test_a_rank_refuses_a_data_set_that_has_replaced_the_one_that_was_opened(tmp_path: Path) -> None:
    path = written(tmp_path / "data")
    opened = pickle.loads(pickle.dumps(Dataset(path)))
    written(path, replace(MODEL, inputs="uniform"))
    with pytest.raises(DataError, match="another than the one that was opened"):
        opened.shard(2, 4)
