"""Shards that are cut while ranks have them mapped: one error that names the file, and a run that can go on."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from relufit.compression.base import Pieces
from relufit.compression.cast import Float64
from relufit.errors import DataError
from relufit.planted import PlantedModel, dataset
from relufit.training import Progress, TrainingSpec, train

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a cut file still ends the process")

MODEL = PlantedModel(2000, 30, 3)
#: The files of a data set of two shards, and what is left of them.
CUTS = [("x/c/1/0", 0), ("x/c/1/0", 70_000), ("x/c/0/0", 120_019), ("y/c/0", 0), ("y/c/1", 8000)]


class _Cutting(Float64):
    """Cuts a file at the n-th vector."""

    left, path, size = -1, Path(), 0

    def pieces(self, vector: np.ndarray, *rest: Any) -> Pieces:
        type(self).left -= 1
        if not type(self).left:
            os.truncate(self.path, self.size)
        return super().pieces(vector, *rest)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A data set of two shards."""
    dataset.write(MODEL, tmp_path / "data", shards=2)
    return tmp_path / "data"


def spec(rows: Path, **values: Any) -> TrainingSpec:
    return TrainingSpec(rows, **{"compressor": _Cutting(), "workers": 2, "batch_size": 400, "iterations": 30, **values})


@pytest.mark.parametrize(("name", "size"), CUTS)
def test_a_shard_that_is_cut_ends_the_run_with_its_name_and_the_run_can_go_on(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    whole, path = train(spec(rows)), tmp_path / "run.checkpoint"
    shutil.copytree(rows, tmp_path / "sound")
    monkeypatch.setattr(_Cutting, "path", rows / name)
    monkeypatch.setattr(_Cutting, "size", size)
    monkeypatch.setattr(_Cutting, "left", 20)
    with pytest.raises(DataError, match=f"the shard was cut to {size} bytes while it was in use") as caught:
        train(spec(rows), checkpoint=path)
    assert caught.value.where == str(rows / name)
    with pytest.raises(DataError, match=f"the shard has {size} bytes in place of"):
        train(spec(rows), checkpoint=path)
    shutil.copyfile(tmp_path / "sound" / name, rows / name)
    assert train(spec(rows), checkpoint=path).weights.tobytes() == whole.weights.tobytes()


@pytest.mark.parametrize("exchange", ["master", "all_gather"])
def test_a_shard_that_is_cut_under_real_ranks_ends_the_run_with_its_name(
    rows: Path, client: Client, exchange: str
) -> None:
    cut = list[int]()

    def progress(news: Progress) -> None:
        if not cut:
            cut.append(news.iteration)
            os.truncate(rows / "x/c/1/0", 70_000)

    asked = spec(rows, compressor="fp64", iterations=10**8, record_every=10**6, exchange=exchange)
    with pytest.raises(DataError, match="the shard was cut to 70000 bytes while it was in use") as caught:
        train(asked, client, progress=progress)
    assert cut
    assert caught.value.where == str(rows / "x/c/1/0")


def test_rows_of_several_shards_are_in_memory_and_a_cut_does_not_matter(
    rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = spec(rows, workers=1)
    whole = train(asked)
    monkeypatch.setattr(_Cutting, "path", rows / "x/c/1/0")
    monkeypatch.setattr(_Cutting, "left", 20)
    assert train(asked).weights.tobytes() == whole.weights.tobytes()
    assert (rows / "x/c/1/0").stat().st_size == 0
