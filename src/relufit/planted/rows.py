"""Where the rows of a run come from: a data set, a recipe, or arrays in memory; and which of them a rank has."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cached_property
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np

from relufit.errors import ConfigError, DataError
from relufit.files.seals import checksum
from relufit.numerics import kernels
from relufit.planted import PlantedData, PlantedModel
from relufit.sources import code_digest

#: Rows of at most so many bytes together are kept for the next run on them in the same process: short runs often follow
#: each other, and a cluster may give a process another rank in each.
_KEPT_BYTES = 1 << 27


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

    @property
    def digest(self) -> str:
        """A digest of everything that the rows depend on, in hexadecimal: equal digests mean equal rows."""

    def shard(self, rank: int, workers: int) -> Shard:
        """Return the rows of one rank of `workers`."""


class RecipeRows:
    """Rows that each rank makes for itself, as `relufit.planted.PlantedModel` says.

    A rank is sent the recipe alone: the planted weights are as long as a gradient, and made sooner than they come.
    """

    def __init__(self, model: PlantedModel) -> None:
        self.model, self.n, self.d = model, model.n, model.d

    def __reduce__(self) -> tuple[object, ...]:
        """Return how to make it again from the recipe."""
        return type(self), (self.model,)

    @cached_property
    def w_star(self) -> np.ndarray:
        """The planted weights, (d,) float64, made when they are first asked for."""
        return self.model.weights()

    @property
    def digest(self) -> str:
        """A digest of the recipe, and of the code and of numpy, which make rows of it."""
        return digest_of("recipe", asdict(self.model), origin())

    def shard(self, rank: int, workers: int) -> Shard:
        """Return the rows of one rank of `workers`."""
        start, stop = shard_rows(self.n, workers)[rank]
        kept = _KEPT.take(asked := (self.model, start, stop))
        return _KEPT.put(asked, kept or Shard(*self.model.rows(start, stop, self.w_star)))


class _LastShards:
    """The shards that were put there last, `_KEPT_BYTES` at most."""

    def __init__(self) -> None:
        self._shards, self._lock = dict[tuple[PlantedModel, int, int], Shard](), Lock()

    def take(self, asked: tuple[PlantedModel, int, int]) -> Shard | None:
        """Return a shard if it is there, and forget it."""
        with self._lock:
            return self._shards.pop(asked, None)

    def put(self, asked: tuple[PlantedModel, int, int], shard: Shard) -> Shard:
        """Keep a shard and return it."""
        with self._lock:
            self._shards[asked] = shard
            while sum(kept.x.nbytes for kept in self._shards.values()) > _KEPT_BYTES:
                del self._shards[next(iter(self._shards))]
        return shard


_KEPT = _LastShards()


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

    @cached_property
    def digest(self) -> str:
        """A digest of the bytes of the arrays."""
        arrays = (self.x, self.y, self.w_star)
        return digest_of("arrays", [[array.shape, checksum(array.data)] for array in arrays])

    def shard(self, rank: int, workers: int) -> Shard:
        """Return the rows of one rank of `workers`."""
        start, stop = shard_rows(self.n, workers)[rank]
        return Shard(self.x[start:stop], self.y[start:stop])


def origin() -> dict[str, str]:
    """Return what makes rows of a recipe: a digest of the code, and the version of numpy, which draws the numbers."""
    return {"code": code_digest("dataset"), "numpy": np.__version__}


def digest_of(kind: str, *parts: object) -> str:
    """Return a digest of what rows depend on, which JSON can hold."""
    return hashlib.sha256(json.dumps([kind, *parts], sort_keys=True).encode()).hexdigest()
