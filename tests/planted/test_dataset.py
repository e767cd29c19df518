"""Data sets on disk, read back by zarr, compared with the same data in memory, and written as a whole or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
import zarr
from hypothesis import given
from hypothesis import strategies as st
from small_dataset import MODEL, shard_file, whole, written

from relufit import planted
from relufit.errors import ConfigError, DataError
from relufit.planted import PlantedData, PlantedModel, dataset, layout
from relufit.planted import rows as rows_module
from relufit.planted.dataset import Dataset, open_rows, shard_rows


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(st.integers(1, 10_000), st.integers(1, 50))
def test_parts_cover_all_rows_in_order_and_none_is_empty(n: int, shards: int) -> None:
    size = -(-n // shards)
    if size * (shards - 1) >= n:
        with pytest.raises(ConfigError, match="workers"):
            shard_rows(n, shards)
        return
    parts = shard_rows(n, shards)
    assert [row for start, stop in parts for row in range(start, stop)] == list(range(n))
    assert [stop - start for start, stop in parts[:-1]] == [size] * (shards - 1)
    assert 1 <= parts[-1][1] - parts[-1][0] <= size


@pytest.mark.parametrize(("n", "shards"), [(5, 0), (5, -1), (5, 6), (5, 4)])
def test_rows_that_cannot_be_dealt_are_refused(n: int, shards: int) -> None:
    with pytest.raises(ConfigError, match="workers"):
        shard_rows(n, shards)


@pytest.mark.parametrize("chunk_bytes", [1, 100, 2**22])
@pytest.mark.parametrize("shards", [1, 2, 3, 7, 20])
def test_zarr_reads_the_bits_of_the_data_set_in_memory_whatever_its_shards_and_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int, chunk_bytes: int
) -> None:
    monkeypatch.setattr(dataset, "_CHUNK_BYTES", chunk_bytes)
    group = zarr.open_group(written(tmp_path / "data", shards=shards), mode="r")
    for name, expected in whole(MODEL)._asdict().items():
        stored = group[name][:]
        assert stored.dtype == expected.dtype
        assert stored.tobytes() == expected.tobytes()


def test_zarr_reads_zeros_where_the_last_shard_has_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_CHUNK_BYTES", 1)
    model = PlantedModel(10, 7, 3)
    path = written(tmp_path / "data", model, shards=3)
    index = np.frombuffer(shard_file(path, 2).read_bytes()[-4 - 4 * 16 : -4], "<u8")
    assert index.tolist() == [0, 28, 28, 28, *[2**64 - 1] * 4], "what Zarr's specification of shards has for no chunk"
    x = zarr.open_group(path, mode="r+")["x"]
    x.resize((12, 7))
    assert x[:10].tobytes() == whole(model).x.tobytes()
    assert not x[10:].any()


@pytest.mark.parametrize("inputs", planted.INPUTS)
def test_every_distribution_is_stored_as_it_is_in_memory(tmp_path: Path, inputs: str) -> None:
    model = PlantedModel(50, 4, 9, inputs=inputs)
    group = zarr.open_group(written(tmp_path / "data", model), mode="r")
    assert group["x"][:].tobytes() == whole(model).x.tobytes()
    assert group["y"][:].tobytes() == whole(model).y.tobytes()


def test_the_attributes_tell_how_the_data_set_was_made(tmp_path: Path) -> None:
    group = zarr.open_group(written(tmp_path / "data"), mode="r")
    made: Any = dict(group.attrs)["relufit"]
    assert [len(made["checksums"].pop(name)) for name in ("x", "y")] == [4, 4]
    assert set(made.pop("checksums")) == {"w_star/c/0", *(f"{name}/zarr.json" for name in ("w_star", "x", "y"))}
    assert len(made.pop("seal")) == 32
    assert made == {
        "format": 2,
        "shards": 4,
        "n": 100,
        "d": 7,
        "seed": 3,
        "noise_std": 0.1,
        "inputs": "gaussian",
        "origin": dataset.origin(),
    }


def test_the_checksums_are_those_that_another_program_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_BLOCK_BYTES", 256)
    path = written(tmp_path / "data")
    content = (path / "zarr.json").read_text()
    made = json.loads(content)["attributes"]["relufit"]
    for name in ("x", "y"):
        for index, blocks in enumerate(made["checksums"][name]):
            whole = shard_file(path, index, name).read_bytes()
            parts = [whole[start : start + 256] for start in range(0, len(whole), 256)]
            assert blocks == [xxhash.xxh3_128(part).hexdigest() for part in parts]
    assert len(made["checksums"]["x"][0]) == 3
    for name in ("x/zarr.json", "w_star/c/0"):
        assert made["checksums"][name] == xxhash.xxh3_128((path / name).read_bytes()).hexdigest()
    assert made["seal"] == xxhash.xxh3_128(content.replace(made["seal"], 32 * "0").encode()).hexdigest()


def test_progress_is_told_of_every_row_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_CHUNK_BYTES", 10 * 4 * 7)
    counts: list[int] = []
    dataset.write(MODEL, tmp_path / "data", shards=3, progress=counts.append)
    assert counts == sorted(counts)
    assert counts[-1] == 100
    assert len(counts) == 12


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 20])
@pytest.mark.parametrize("shards", [1, 3, 4])
def test_the_ranks_have_the_rows_of_the_whole_in_order(tmp_path: Path, shards: int, workers: int) -> None:
    opened, expected = Dataset(written(tmp_path / "data", shards=shards)), whole(MODEL)
    for rank, (start, stop) in enumerate(shard_rows(100, workers)):
        shard = opened.shard(rank, workers)
        assert (shard.x.dtype, shard.y.dtype) == (np.float32, np.float64)
        assert shard.x.tobytes() == expected.x[start:stop].tobytes()
        assert shard.y.tobytes() == expected.y[start:stop].tobytes()
    assert opened.w_star.tobytes() == expected.w_star.tobytes()


def test_all_kinds_of_rows_give_a_rank_the_same_bits(tmp_path: Path) -> None:
    path = written(tmp_path / "data")
    kinds = [open_rows(path), open_rows(str(path)), open_rows(MODEL), open_rows(whole(MODEL))]
    for rows in kinds[1:]:
        assert (rows.n, rows.d) == (100, 7)
        assert rows.w_star.tobytes() == kinds[0].w_star.tobytes()
        for rank in range(3):
            for mine, other in zip(rows.shard(rank, 3), kinds[0].shard(rank, 3), strict=True):
                assert mine.tobytes() == other.tobytes()
    assert [rows.model for rows in kinds] == [MODEL, MODEL, MODEL, None]


def test_more_workers_than_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers"):
        written(tmp_path / "data", PlantedModel(3, 2, 0), shards=4)
    assert names(tmp_path) == []
    with pytest.raises(ConfigError, match="workers"):
        Dataset(written(tmp_path / "data")).shard(0, 101)


@pytest.mark.parametrize("rank", range(4))
def test_a_rank_opens_no_shard_but_its_own(tmp_path: Path, rank: int) -> None:
    path, (start, stop) = written(tmp_path / "data"), shard_rows(100, 4)[rank]
    for other in set(range(4)) - {rank}:
        shard_file(path, other).unlink()
        shard_file(path, other, "y").unlink()
    opened = Dataset(path, MODEL)
    assert opened.shard(rank, 4).x.tobytes() == whole(MODEL).x[start:stop].tobytes()
    # Half a shard is one shard too.
    assert opened.shard(2 * rank, 8).y.tobytes() == whole(MODEL).y[slice(*shard_rows(100, 8)[2 * rank])].tobytes()
    with pytest.raises(DataError, match="missing"):
        opened.shard((rank + 1) % 4, 4)


def test_writing_to_the_rows_of_a_rank_does_not_change_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "data")
    Dataset(path).shard(0, 4).x[:] = 0
    assert Dataset(path).shard(0, 4).x.all()


def test_rows_that_are_not_finite_are_refused_while_they_are_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="noise_std: rows with NaN or infinity"):
        written(tmp_path / "data", replace(MODEL, noise_std=1.7e308))
    assert names(tmp_path) == []


def test_digests_tell_rows_apart_and_the_same_rows_have_the_same(tmp_path: Path) -> None:
    models = [MODEL, replace(MODEL, noise_std=0.2), replace(MODEL, inputs="uniform"), replace(MODEL, seed=4)]
    digests = [open_rows(written(tmp_path / str(k), model)).digest for k, model in enumerate(models)]
    digests += [open_rows(model).digest for model in models]
    digests += [open_rows(whole(model)).digest for model in models]
    assert len(set(digests)) == 12
    assert all(len(digest) == 64 for digest in digests)
    assert open_rows(written(tmp_path / "again")).digest == digests[0]
    assert open_rows(MODEL).digest == digests[4]
    assert open_rows(whole(MODEL)).digest == digests[8]


@pytest.mark.parametrize("part", range(3))
def test_one_bit_of_arrays_gives_another_digest(part: int) -> None:
    arrays = whole(MODEL)
    before = open_rows(arrays).digest
    arrays[part].reshape(-1).view(np.uint8)[-8] ^= 1
    assert open_rows(arrays).digest != before


def test_the_digest_of_a_recipe_is_that_of_the_code_and_of_numpy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {open_rows(MODEL).digest}
    monkeypatch.setattr(rows_module, "code_digest", lambda stage: "other")
    before.add(open_rows(MODEL).digest)
    monkeypatch.setattr(np, "__version__", "1.0")
    before.add(open_rows(MODEL).digest)
    assert len(before) == 3


def test_another_zarr_group_is_no_planted_data_set(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "other", mode="w").create_array("x", data=np.zeros(3))
    with pytest.raises(DataError, match="not a planted data set"):
        Dataset(tmp_path / "other")


def test_an_interrupted_write_leaves_the_old_data_set_and_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path / "data")

    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.write(PlantedModel(10, 2, 0), path, shards=2, progress=interrupt)
    assert names(tmp_path) == ["data"]
    assert Dataset(path, MODEL).shard(3, 4).x.shape == (25, 7)


def test_a_data_set_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "data")
    written(path, PlantedModel(10, 2, 0), shards=2)
    assert names(tmp_path) == ["data"]
    assert names(path / "y" / "c") == ["0", "1"]
    assert Dataset(path, PlantedModel(10, 2, 0)).shard(1, 2).x.shape == (5, 2)


def test_a_data_set_larger_than_the_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="GB") as caught:
        dataset.write(PlantedModel(10**9, 10**6, 0), tmp_path / "deep" / "data", shards=2)
    assert caught.value.where == str(tmp_path / "deep" / "data")
    assert names(tmp_path) == []


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file: is a file, not a folder"):
        written(tmp_path / "file" / "data")


FULL_DISK = """
import os, sys
from relufit.planted import dataset
from relufit.errors import DataError
from relufit.planted import PlantedModel
disk = sys.argv[1]

def fill(rows):
    with open(f"{disk}/filler", "ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass

for rows, progress in [(10_000, None), (2000, fill)]:
    try:
        dataset.write(PlantedModel(rows, 1000, 0), f"{disk}/data", shards=2, progress=progress)
    except DataError as error:
        print(error)
    print(sorted(os.listdir(disk)))
"""


def test_a_disk_that_is_full_or_fills_up_gives_a_data_error_and_leaves_nothing(
    tmp_path: Path, run_python: Callable[..., str]
) -> None:
    mount = 'mount -t tmpfs -o size=16m tmpfs "$0"'
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*namespace, mount, tmp_path], check=False).returncode:
        pytest.skip("a small disk needs user namespaces, which this machine does not allow")
    lines = run_python(FULL_DISK, tmp_path, prefix=[*namespace, mount + ' && exec "$@"', str(tmp_path)]).splitlines()
    assert "GB left" in lines[0]
    assert lines[1] == "[]"
    assert "No space left on device" in lines[2]
    assert lines[3] == "['filler']"


LARGE = """
import resource, sys
from relufit.planted import dataset
from relufit.planted import PlantedModel
dataset.write(PlantedModel(250_000, 1000, 0, inputs="uniform"), sys.argv[1], shards=2)
try:
    # The peak of this program alone: the other one begins with that of the process that started it.
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024)
except FileNotFoundError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def test_a_gigabyte_is_written_in_far_less_memory(tmp_path: Path, run_python: Callable[..., str]) -> None:
    path = tmp_path / "large"
    try:
        peak = int(run_python(LARGE, path))
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        last = Dataset(path).shard(249_999, 250_000)
    finally:
        shutil.rmtree(path, ignore_errors=True)
    assert size > 1e9
    assert 50e6 < peak < 600e6
    assert last.x.tobytes() == PlantedModel(250_000, 1000, 0, inputs="uniform").rows(249_999, 250_000)[0].tobytes()


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    x, y, w_star = whole(MODEL)
    for wrong in [
        (x[:9], y, w_star),
        (x, y, w_star[:3]),
        (x[0], y[:7], w_star),
        (x, y[:, None], w_star),
        (x[:0], y[:0], w_star),
    ]:
        with pytest.raises(DataError, match="shapes"):
            open_rows(PlantedData(*wrong))


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_arrays_with_numbers_that_are_not_finite_are_refused(part: int, bad: float) -> None:
    arrays = [array.copy() for array in whole(MODEL)]
    arrays[part][-1] = bad
    with pytest.raises(DataError, match="NaN or infinity"):
        open_rows(PlantedData(*arrays))


def test_planted_weights_of_zero_are_refused() -> None:
    x, y, w_star = whole(MODEL)
    with pytest.raises(DataError, match="zero"):
        open_rows(PlantedData(x, y, 0 * w_star))
