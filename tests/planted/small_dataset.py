"""A small planted data set on disk and in memory, and where its shards lie."""

from __future__ import annotations

from pathlib import Path

from relufit import planted
from relufit.planted import PlantedData, PlantedModel, dataset

MODEL = PlantedModel(100, 7, 3, noise_std=0.1)


def written(path: Path, model: PlantedModel = MODEL, shards: int = 4) -> Path:
    dataset.write(model, path, shards=shards)
    return path


def whole(model: PlantedModel) -> PlantedData:
    return planted.generate(model.n, model.d, model.seed, noise_std=model.noise_std, inputs=model.inputs)


def shard_file(path: Path, index: int, name: str = "x") -> Path:
    return path / "x" / "c" / str(index) / "0" if name == "x" else path / "y" / "c" / str(index)
