"""Defects that a reproduction may have, each planted in the running code, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from relufit import dataset, streams, training
from relufit.compression.cast import Float64
from relufit.compression.qsgd import QSGD
from relufit.training import loop, rank, sampling
from relufit.training.master import Master
from relufit.training.rank import Rank

Patch = pytest.MonkeyPatch
DEFECTS: dict[str, Callable[[Patch], None]] = {}


def _defect(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    DEFECTS[plant.__name__] = plant
    return plant


def _units(quantizer: QSGD, v: np.ndarray) -> np.ndarray:
    """Return for each coordinate the distance of two levels."""
    size = quantizer.bucket_size or v.size
    parts = [np.linalg.norm(v[k : k + size]) for k in range(0, v.size, size)]
    unit: np.ndarray = np.repeat(parts, size)[: v.size] / quantizer.levels
    return np.where(unit > 0, unit, 1.0)


def _encoding(patch: Patch, change: Callable[[QSGD, np.ndarray], np.ndarray]) -> None:
    encode = QSGD.encode
    patch.setattr(QSGD, "encode", lambda self, v, key: encode(self, change(self, np.asarray(v, np.float64)), key))


def _decoding(patch: Patch, change: Callable[[QSGD, np.ndarray], np.ndarray]) -> None:
    decode = QSGD.decode

    def wrong(self: QSGD, payload: Any, size: int, out: np.ndarray | None = None) -> np.ndarray:
        found = decode(self, payload, size, out=out)
        found[:] = change(self, found)
        return found

    def added(self: QSGD, payload: Any, total: np.ndarray, room: np.ndarray) -> None:
        total += wrong(self, payload, total.size, out=room)

    patch.setattr(QSGD, "decode", wrong)
    patch.setattr(QSGD, "add", added)


def _steps(patch: Patch, change: Callable[[Rank, np.ndarray], np.ndarray]) -> None:
    """Change what a rank encodes."""
    kernel = rank.kernels.gradient_sum
    current: list[Rank] = []
    step = Rank.step

    def tracked(self: Rank, iteration: int, w: np.ndarray) -> Any:
        current[:] = [self]
        return step(self, iteration, w)

    def wrong(
        x: np.ndarray, y: np.ndarray, batch: np.ndarray, w: np.ndarray, share: float, out: np.ndarray
    ) -> tuple[float, float]:
        squares, energy = kernel(x, y, batch, w, share, out)
        if current:
            out[:] = change(current[0], out)
            energy = rank.kernels.energy(out)
        return float(squares), float(energy)

    patch.setattr(Rank, "step", tracked)
    patch.setattr(rank.kernels, "gradient_sum", wrong)


@_defect
def rounding_is_biased_to_zero(patch: Patch) -> None:
    _encoding(patch, lambda q, v: v - np.sign(v) * np.minimum(abs(v), 0.1 * _units(q, v)))


@_defect
def rounding_goes_to_the_nearest_level(patch: Patch) -> None:
    _encoding(patch, lambda q, v: np.round(v / _units(q, v)) * _units(q, v))


@_defect
def the_norm_is_the_largest_magnitude(patch: Patch) -> None:
    encode = QSGD.encode

    def wrong(self: QSGD, v: np.ndarray, key: int) -> Any:
        other = QSGD(self.levels, self.coding, self.bucket_size, "max") if self.norm == "l2" else self
        return encode(other, v, key)

    patch.setattr(QSGD, "encode", wrong)


@_defect
def ranks_share_the_stream_of_their_rounding(patch: Patch) -> None:
    key = streams.key

    def shared(seed: int, *, rank: int = 0, iteration: int = 0, purpose: str = "dither") -> int:
        return key(seed, rank=0 if purpose == "dither" else rank, iteration=iteration, purpose=purpose)

    patch.setattr(streams, "key", shared)


@_defect
def the_rounding_is_the_same_in_every_iteration(patch: Patch) -> None:
    key = streams.key

    def frozen(seed: int, *, rank: int = 0, iteration: int = 0, purpose: str = "dither") -> int:
        return key(seed, rank=rank, iteration=0 if purpose == "dither" else iteration, purpose=purpose)

    patch.setattr(streams, "key", frozen)


@_defect
def ranks_share_the_stream_of_their_rows(patch: Patch) -> None:
    key = streams.key

    def shared(seed: int, *, rank: int = 0, iteration: int = 0, purpose: str = "dither") -> int:
        drawn = purpose in ("rows", "order", "fresh")
        return key(seed, rank=0 if drawn else rank, iteration=iteration, purpose=purpose)

    patch.setattr(streams, "key", shared)


@_defect
def the_gradient_is_not_divided_by_the_batch(patch: Patch) -> None:
    _steps(patch, lambda its, g: g * its._plan.spec.batch_size)


@_defect
def the_gradient_is_divided_by_the_batch_of_a_rank(patch: Patch) -> None:
    _steps(patch, lambda its, g: g * its._plan.spec.workers)


@_defect
def the_step_is_half_as_large_again(patch: Patch) -> None:
    make_plan = training.make_plan

    def wrong(*arguments: Any) -> Any:
        plan = make_plan(*arguments)
        return replace(plan, step=1.5 * plan.step)

    for module in (training, training.spec, __import__("relufit.experiments.procedures", fromlist=["_"])):
        patch.setattr(module, "make_plan", wrong)


@_defect
def the_initial_weights_lack_the_factor_2(patch: Patch) -> None:
    moments = Rank.moments
    exact = Float64()
    patch.setattr(Rank, "moments", lambda self: exact.encode(exact.decode(moments(self), self._plan.d) / 2, 0))


@_defect
def ranks_read_the_rows_of_the_first(patch: Patch) -> None:
    shard = dataset.RecipeRows.shard
    patch.setattr(dataset.RecipeRows, "shard", lambda self, rank, workers: shard(self, 0, workers))


@_defect
def the_levels_are_off_by_one(patch: Patch) -> None:
    _decoding(patch, lambda q, v: v * q.levels / (q.levels + 1))


@_defect
def decoding_drops_the_last_block(patch: Patch) -> None:
    def cut(q: QSGD, v: np.ndarray) -> np.ndarray:
        kept = v.copy()
        kept[v.size - 1 - (v.size - 1) % 16 :] = 0
        return kept

    _decoding(patch, cut)


@_defect
def the_error_of_rounding_is_remembered(patch: Patch) -> None:
    memories: dict[int, np.ndarray] = {}
    step = Rank.step

    def remembering(self: Rank, iteration: int, w: np.ndarray) -> Any:
        memory = memories.setdefault(id(self), np.zeros(self._plan.d))
        compressor, kept = self._compressor, self

        class Remembers:
            def pieces(self, v: np.ndarray, key: int, place: Any, squares: float) -> Any:
                wanted = v + memory
                payload = compressor.encode(wanted, key)
                memory[:] = wanted - compressor.decode(bytes(payload), v.size)
                return payload

        kept._compressor = Remembers()  # type: ignore[assignment]
        try:
            return step(self, iteration, w)
        finally:
            kept._compressor = compressor

    patch.setattr(Rank, "step", remembering)


@_defect
def rows_are_reshuffled_where_they_should_be_replaced(patch: Patch) -> None:
    patch.setitem(sampling.SAMPLINGS, "with_replacement", sampling.Reshuffled)


@_defect
def the_bytes_are_counted_without_the_header(patch: Patch) -> None:
    length = loop.length_of
    patch.setattr(loop, "length_of", lambda payload: length(payload) - 12)


@_defect
def ranks_compute_with_the_weights_before_the_last(patch: Patch) -> None:
    step = Rank.step
    held: dict[int, np.ndarray] = {}

    def stale(self: Rank, iteration: int, w: np.ndarray) -> Any:
        before = held.get(id(self), w) if iteration else w
        held[id(self)] = w.copy()
        return step(self, iteration, before)

    patch.setattr(Rank, "step", stale)


@_defect
def the_master_forgets_the_last_rank(patch: Patch) -> None:
    add = Master.add
    counts: dict[int, int] = {}

    def deaf(self: Master, payload: Any) -> None:
        counts[id(self)] = counts.get(id(self), 0) + 1
        workers = self._plan.spec.workers
        if workers == 1 or counts[id(self)] % workers:
            add(self, payload)

    patch.setattr(Master, "add", deaf)


@_defect
def the_derivative_of_relu_is_one_everywhere(patch: Patch) -> None:
    def wrong(
        x: np.ndarray, y: np.ndarray, batch: np.ndarray, w: np.ndarray, share: float, out: np.ndarray
    ) -> tuple[float, float]:
        rows = x[batch].astype(np.float64)
        residual = np.maximum(rows @ w, 0.0) - y[batch]
        out[:] = share * (residual @ rows)
        return float(residual @ residual), float(rank.kernels.energy(out))

    patch.setattr(rank.kernels, "gradient_sum", wrong)
