"""Data sets on S3, kept by a moto server over HTTP, against the same on disk; and what S3 may refuse."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import requests
import zarr
from distributed import Client

import relufit
from relufit.cli import main
from relufit.errors import ConfigError, DataError
from relufit.planted import PlantedModel, dataset, layout, stores
from relufit.planted.dataset import Dataset, shard_rows

MODEL = PlantedModel(100, 7, 3, noise_std=0.1)
PLACE = "s3://rows/some/where.zarr"


@pytest.fixture
def bucket(aws_environment: str) -> Any:
    """A bucket named ``rows``."""
    made = boto3.resource("s3").create_bucket(Bucket="rows")
    made.put_object(Key="some/other", Body=b"not ours")
    made.put_object(Key="some/where.zarr/notes.txt", Body=b"not ours either")
    return made


def keys(bucket: Any) -> set[str]:
    return {one.key for one in bucket.objects.all() if "other" not in one.key and "notes" not in one.key}


def bodies(bucket: Any) -> dict[str, bytes]:
    return {key.removeprefix("some/where.zarr/"): bucket.Object(key).get()["Body"].read() for key in keys(bucket)}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_objects_are_the_files_of_the_disk_byte_for_byte(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_CHUNK_BYTES", 100)
    dataset.write(MODEL, PLACE, shards=3)
    dataset.write(MODEL, tmp_path / "data", shards=3)
    assert bodies(bucket) == files(tmp_path / "data")


def test_zarr_opens_it_by_its_address(bucket: Any) -> None:
    dataset.write(MODEL, PLACE, shards=4)
    group = zarr.open_group(PLACE, mode="r")
    x, y = MODEL.rows(0, 100, MODEL.weights())
    assert group["x"][:].tobytes() == x.tobytes()
    assert group["y"][:].tobytes() == y.tobytes()


@pytest.mark.parametrize("workers", [1, 4, 3, 20])
def test_a_rank_has_the_rows_that_it_has_from_disk(bucket: Any, tmp_path: Path, workers: int) -> None:
    dataset.write(MODEL, PLACE, shards=4)
    dataset.write(MODEL, tmp_path / "data", shards=4)
    remote, local = Dataset(PLACE, expected=MODEL), Dataset(tmp_path / "data")
    for rank in range(workers):
        for mine, other in zip(remote.shard(rank, workers), local.shard(rank, workers), strict=True):
            assert mine.tobytes() == other.tobytes()
            assert mine.flags.writeable
    assert remote.w_star.tobytes() == local.w_star.tobytes()


def test_a_rank_asks_for_its_own_rows_alone(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    asked: list[tuple[str, int, int]] = []
    usual = s3fs.S3FileSystem._cat_file

    async def listening(self: Any, path: str, start: int, end: int) -> bytes:
        asked.append((path.removeprefix("rows/some/where.zarr/"), start, end))
        return await usual(self, path, start=start, end=end)

    dataset.write(MODEL, PLACE, shards=4)
    rows = Dataset(PLACE)
    monkeypatch.setattr(s3fs.S3FileSystem, "_cat_file", listening)
    s3fs.S3FileSystem.clear_instance_cache()
    rows.shard(2, 4)
    assert asked == [("x/c/2/0", 0, 25 * 28 + 20), ("y/c/2", 0, 25 * 8 + 20)]
    asked.clear()
    rows.shard(5, 10)
    assert shard_rows(100, 10)[5] == (50, 60)
    assert asked == [("x/c/2/0", 0, 25 * 28 + 20), ("y/c/2", 0, 25 * 8 + 20)]


def test_a_rank_that_has_part_of_a_shard_asks_for_the_blocks_that_its_rows_are_in(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_BLOCK_BYTES", 64)
    dataset.write(MODEL, PLACE, shards=4)
    asked, rows = list[tuple[str, int, int]](), Dataset(PLACE)
    array = stores.Bucket.array

    def listening(self: stores.Bucket, name: str, start: int, stop: int) -> np.ndarray:
        asked.append((name, start, stop))
        return array(self, name, start, stop)

    monkeypatch.setattr(stores.Bucket, "array", listening)
    part = rows.shard(5, 10)  # rows 50 to 60
    assert asked == [("x/c/2/0", 0, 320), ("y/c/2", 0, 128)]
    assert part.x.tobytes() == MODEL.rows(50, 60)[0].tobytes()
    asked.clear()
    part = rows.shard(9, 20)  # rows 45 to 50
    assert asked == [("x/c/1/0", 512, 720), ("y/c/1", 128, 220)]
    assert part.y.tobytes() == MODEL.rows(45, 50)[1].tobytes()


def test_large_shards_are_sent_and_read_in_parts(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_PART_BYTES", 5 * 2**20)
    model = PlantedModel(3000, 1000, 0, inputs="rademacher")
    dataset.write(model, PLACE)
    assert (
        int(boto3.client("s3").head_object(Bucket="rows", Key="some/where.zarr/x/c/0/0")["ETag"].split("-")[1][:-1]) > 1
    )
    assert Dataset(PLACE).shard(0, 1).x.tobytes() == model.rows(0, 3000, model.weights())[0].tobytes()


def test_what_is_sent_to_a_rank_are_addresses_without_credentials(bucket: Any) -> None:
    dataset.write(MODEL, PLACE, shards=2)
    sent = pickle.dumps(Dataset(PLACE))
    assert b"never-to-be-sent" not in sent
    assert b"AKIA" not in sent
    assert pickle.loads(sent).shard(1, 2).x.tobytes() == Dataset(PLACE).shard(1, 2).x.tobytes()


@pytest.mark.parametrize("exchange", ["master", "all_gather"])
def test_training_from_s3_gives_the_weights_of_training_from_disk(bucket: Any, tmp_path: Path, exchange: str) -> None:
    model = PlantedModel(400, 20, 1)
    traces = []
    for place in (PLACE, tmp_path / "data"):
        dataset.write(model, place, shards=2)
        spec = relufit.TrainingSpec(
            dataset=place,
            compressor={"name": "qsgd", "levels": 4, "coding": "rans"},
            workers=2,
            batch_size=10,
            iterations=50,
            exchange=exchange,
        )
        traces.append(relufit.train(spec))
    assert traces[0].weights.tobytes() == traces[1].weights.tobytes()
    assert traces[0].table.equals(traces[1].table)


def test_what_was_there_is_replaced_and_nothing_else_is_touched(bucket: Any) -> None:
    dataset.write(MODEL, PLACE, shards=10)
    dataset.write(PlantedModel(50, 3, 0), PLACE, shards=2)
    assert sorted(key for key in bodies(bucket) if "/c/" in key) == [
        "w_star/c/0",
        "x/c/0/0",
        "x/c/1/0",
        "y/c/0",
        "y/c/1",
    ]
    assert Dataset(PLACE).model == PlantedModel(50, 3, 0)
    assert bucket.Object("some/other").get()["Body"].read() == b"not ours"
    assert bucket.Object("some/where.zarr/notes.txt").get()["Body"].read() == b"not ours either"


@pytest.mark.parametrize("cause", [KeyboardInterrupt, RuntimeError])
def test_a_write_that_is_broken_off_leaves_nothing(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, cause: type[BaseException]
) -> None:
    monkeypatch.setattr(stores, "_PART_BYTES", 5 * 2**20)

    def stop(rows: int) -> None:
        if rows > 2000:
            raise cause

    with pytest.raises(cause):
        dataset.write(PlantedModel(4000, 1000, 0, inputs="rademacher"), PLACE, shards=2, progress=stop)
    assert keys(bucket) == set()
    assert not boto3.client("s3").list_multipart_uploads(Bucket="rows").get("Uploads")
    with pytest.raises(DataError, match="there is no data set"):
        Dataset(PLACE)


@pytest.mark.parametrize("use", [Dataset, lambda place: dataset.write(MODEL, place)])
def test_a_bucket_that_is_not_there_is_told_of(aws_environment: str, use: Callable[[str], object]) -> None:
    with pytest.raises(DataError, match="there is no bucket nowhere"):
        use("s3://nowhere/data")


@pytest.mark.parametrize("use", [Dataset, lambda place: dataset.write(MODEL, place)])
def test_credentials_that_s3_refuses_are_told_of(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, use: Callable[[str], object]
) -> None:
    # From now on moto holds every request against the policies of who makes it: nobody it knows.
    requests.post(f"{boto3.client('s3').meta.endpoint_url}/moto-api/reset-auth", data="0", timeout=300)
    try:
        with pytest.raises(DataError, match=r"S3 refuses permission.*log in to AWS"):
            use(PLACE)
    finally:
        requests.post(f"{boto3.client('s3').meta.endpoint_url}/moto-api/reset-auth", data="inf", timeout=300)


def test_no_credentials_at_all_are_told_of(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    sys.modules["s3fs"].S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match="log in to AWS"):
        Dataset(PLACE)


def test_a_server_that_is_not_there_is_told_of(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    sys.modules["s3fs"].S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match="check the network"):
        Dataset(PLACE)


@pytest.mark.parametrize("damage", ["delete", "cut", "flip"])
def test_a_damaged_shard_is_told_of_by_its_address(bucket: Any, damage: str) -> None:
    dataset.write(MODEL, PLACE, shards=2)
    shard = bucket.Object("some/where.zarr/x/c/1/0")
    body = shard.get()["Body"].read()
    if damage == "delete":
        shard.delete()
    else:
        shard.put(Body=body[:-1] if damage == "cut" else body[:-30] + bytes([body[-30] ^ 1]) + body[-29:])
    assert len(Dataset(PLACE).shard(0, 2).x) == 50
    with pytest.raises(
        DataError, match={"delete": "missing", "cut": "bytes in place", "flip": "damaged"}[damage]
    ) as caught:
        Dataset(PLACE).shard(1, 2)
    assert caught.value.where == f"{PLACE}/x/c/1/0"


def test_without_s3fs_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    with pytest.raises(ConfigError, match=r"pip install 'relufit\[s3\]'"):
        Dataset(PLACE)


@pytest.mark.parametrize(
    "place", ["s3://", "s3://bucket", "s3://bucket/", "s3://Bad_Bucket/x", "gs://bucket/x", "s3:///x"]
)
def test_an_address_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        Dataset(place)


def test_the_commands_take_addresses(bucket: Any, tmp_path: Path) -> None:
    made = ["dataset", PLACE, "--rows", "200", "--dimension", "10", "--seed", "1", "--shards", "2"]
    assert main(made) == 0
    ran = ["--workers", "2", "--batch-size", "4", "--iterations", "20", "--output", str(tmp_path / "trace.parquet")]
    assert main(["train", PLACE, "--compressor", "fp64", *ran]) == 0
    assert (tmp_path / "trace.parquet").exists()


def test_real_ranks_read_their_own_shards_from_s3(bucket: Any, tmp_path: Path) -> None:
    from relufit.clusters import open_cluster

    model = PlantedModel(400, 20, 1)
    dataset.write(model, PLACE, shards=2)
    spec = relufit.TrainingSpec(dataset=PLACE, compressor="fp32", workers=2, batch_size=10, iterations=20)
    with open_cluster({"kind": "local"}, 2) as cluster:
        assert isinstance(cluster.client, Client)
        real = relufit.train(spec, cluster.client)
    assert real.weights.tobytes() == relufit.train(spec).weights.tobytes()
