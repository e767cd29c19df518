"""Which rows a rank takes in an iteration: a function of (seed, rank, iteration) and its own rows.

``with_replacement`` draws every sample from all of the rank's rows; ``reshuffled`` goes through them in a new
random order each epoch; ``fresh`` draws new samples from the model, none twice.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from relufit import streams
from relufit.errors import ConfigError
from relufit.planted import PlantedModel
from relufit.planted.dataset import Shard

_ITERATIONS_A_DRAW = 256
#: Row numbers that are drawn, and held, at a time, if a batch has not more.
_PIECE_VALUES = 2**17


class Sampler(Protocol):
    """What a rank asks for its samples."""

    def draw(self, iteration: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and the row numbers (b,) int64 of the batch of that iteration."""


class WithReplacement:
    """Each sample uniformly from the shard.

    A stream gives the numbers of `_ITERATIONS_A_DRAW` iterations, one iteration after the other. They are drawn in
    pieces, of a number of iterations or of one large batch, which are the same bits whatever the pieces are.
    """

    def __init__(
        self, seed: int, rank: int, batch: int, shard: Shard, model: PlantedModel | None, w_star: np.ndarray
    ) -> None:
        self._seed, self._rank, self._batch, self._shard = seed, rank, batch, shard
        self._piece = min(max(1, _PIECE_VALUES // batch), _ITERATIONS_A_DRAW)
        self._stream = np.random.default_rng(0)
        # The rows of a piece, its first iteration, and the first iteration that the stream has not reached.
        self._rows, self._start, self._next = np.empty((0, batch), np.int64), 0, 0

    def draw(self, iteration: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and the row numbers of the batch."""
        if not self._start <= iteration < self._start + len(self._rows):
            self._draw_piece(iteration)
        return *self._shard, self._rows[iteration - self._start]

    def _draw_piece(self, iteration: int) -> None:
        """Draw the piece that has an iteration, after those before it that were not."""
        part = iteration // _ITERATIONS_A_DRAW
        first, end = part * _ITERATIONS_A_DRAW, (part + 1) * _ITERATIONS_A_DRAW
        if not first < self._next <= iteration:
            key = streams.key(self._seed, rank=self._rank, iteration=part, purpose="rows")
            self._stream, self._next = streams.generator(key), first
        while self._next <= iteration:
            self._rows = np.empty((0, self._batch), np.int64)  # never two pieces at a time
            self._start, size = self._next, min(self._piece, end - self._next)
            self._rows = self._stream.integers(0, len(self._shard.y), (size, self._batch))
            self._next += size

    @staticmethod
    def check(batch_size: int, rows: list[int], model: PlantedModel | None) -> None:
        """Accept everything: any number of samples can be drawn."""


class Reshuffled:
    """The shard in a new order each epoch; a batch may end one epoch and begin the next."""

    def __init__(
        self, seed: int, rank: int, batch: int, shard: Shard, model: PlantedModel | None, w_star: np.ndarray
    ) -> None:
        self._seed, self._rank, self._batch, self._shard = seed, rank, batch, shard
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def draw(self, iteration: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and the row numbers of the batch."""
        rows, start = len(self._shard.y), iteration * self._batch
        epoch, offset = divmod(start, rows)
        taken = self._permutation(epoch)[offset : offset + self._batch]
        if len(taken) < self._batch:
            taken = np.concatenate([taken, self._permutation(epoch + 1)[: self._batch - len(taken)]])
        return *self._shard, taken

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            stream = streams.key(self._seed, rank=self._rank, iteration=epoch, purpose="order")
            self._epoch, self._order = epoch, streams.generator(stream).permutation(len(self._shard.y))
        return self._order

    @staticmethod
    def check(batch_size: int, rows: list[int], model: PlantedModel | None) -> None:
        """Refuse a batch of more samples than a rank has."""
        if -(-batch_size // len(rows)) > min(rows):
            raise ConfigError(
                f"{batch_size} samples without replacement from {sum(rows)} rows on {len(rows)} ranks",
                where="batch_size",
                remedy="use at most the rows there are, or sample with replacement",
            )


class Fresh:
    """New samples of the planted model in every iteration; the shard serves the initial weights alone."""

    def __init__(
        self, seed: int, rank: int, batch: int, shard: Shard, model: PlantedModel | None, w_star: np.ndarray
    ) -> None:
        assert model is not None  # `check` has seen to it
        self._seed, self._rank, self._model, self._w_star = seed, rank, model, w_star
        self._all, self._generators = np.arange(batch), streams.Generators()

    def draw(self, iteration: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and the row numbers of the batch."""
        stream = streams.key(self._seed, rank=self._rank, iteration=iteration, purpose="fresh")
        return *self._model.fresh(len(self._all), self._generators.at(stream), self._w_star), self._all

    @staticmethod
    def check(batch_size: int, rows: list[int], model: PlantedModel | None) -> None:
        """Refuse arrays: nobody knows which model they came from."""
        if model is None:
            raise ConfigError("fresh samples of arrays", where="sampling", remedy="give a recipe or a data set on disk")


class SamplerKind(Protocol):
    """A way of sampling: a class whose instances are samplers."""

    def __call__(
        self, seed: int, rank: int, batch: int, shard: Shard, model: PlantedModel | None, w_star: np.ndarray
    ) -> Sampler:
        """Return the sampler of a rank."""

    def check(self, batch_size: int, rows: list[int], model: PlantedModel | None) -> None:
        """Raise a ConfigError if the batch cannot be drawn from ranks with these numbers of rows."""


#: The ways of sampling by name.
SAMPLINGS: dict[str, SamplerKind] = {"with_replacement": WithReplacement, "reshuffled": Reshuffled, "fresh": Fresh}
