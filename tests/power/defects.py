"""Defects of the algorithm, each planted in the running code, one at a time, and what notices it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pytest

from relufit import streams, training
from relufit.compression.base import Compressor
from relufit.compression.cast import Float64
from relufit.compression.coding import positions
from relufit.compression.qsgd import QSGD
from relufit.compression.sign import Sign
from relufit.planted import dataset
from relufit.training import rank, sampling
from relufit.training.master import Master
from relufit.training.rank import Rank
from relufit.training.reduction import Reduction
from relufit.training.residuals import Residual

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


class Defect(NamedTuple):
    """How a defect is planted, and the experiment or the oracle of `oracles` that notices it.

    Of an experiment only the settings whose names begin so are run with the defect, which takes less time; the others
    keep the traces of the right code, and do not notice it.
    """

    plant: Plant
    noticed_by: str
    beginnings: tuple[str, ...] = ("",)


DEFECTS: dict[str, Defect] = {}


def noticed_by(judge: str, *beginnings: str) -> Callable[[Plant], Plant]:
    """Register a defect with what notices it, and how the names of the settings begin that are run with it."""

    def register(plant: Plant) -> Plant:
        DEFECTS[plant.__name__] = Defect(plant, judge, beginnings or ("",))
        return plant

    return register


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
        vector = decode(self, payload, size, out=out)
        vector[:] = change(self, vector)
        return vector

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


@noticed_by("quantizer_variance")
def rounding_is_biased_to_zero(patch: Patch) -> None:
    _encoding(patch, lambda q, v: v - np.sign(v) * np.minimum(abs(v), 0.1 * _units(q, v)))


@noticed_by("quantizer_variance")
def rounding_goes_to_the_nearest_level(patch: Patch) -> None:
    _encoding(patch, lambda q, v: np.round(v / _units(q, v)) * _units(q, v))


@noticed_by("quantizer_variance")
def the_norm_is_the_largest_magnitude(patch: Patch) -> None:
    encode = QSGD.encode

    def wrong(self: QSGD, v: np.ndarray, key: int) -> Any:
        other = QSGD(self.levels, self.coding, self.bucket_size, "max") if self.norm == "l2" else self
        return encode(other, v, key)

    patch.setattr(QSGD, "encode", wrong)


def _rounding_keys(patch: Patch, change: Callable[[int, int], tuple[int, int]]) -> None:
    """Change the rank and the iteration of the key that a rank rounds with; what else is drawn stays the same."""

    key = rank.dither_key

    def changed(compressor: Compressor, seed: int, rank: int, iteration: int, *purpose: str) -> int:
        return key(compressor, seed, *change(rank, iteration), *purpose)

    patch.setattr(rank, "dither_key", changed)


@noticed_by("one_step_contraction", "qsgd-d20-")
def ranks_share_the_stream_of_their_rounding(patch: Patch) -> None:
    _rounding_keys(patch, lambda rank, iteration: (0, iteration))


@noticed_by("trajectory", "qsgd-")
def the_rounding_is_the_same_in_every_iteration(patch: Patch) -> None:
    _rounding_keys(patch, lambda rank, iteration: (rank, 0))


@noticed_by("one_step_contraction", "qsgd-d20-")
def ranks_share_the_stream_of_their_rows(patch: Patch) -> None:
    key = streams.key

    def shared(seed: int, *, rank: int = 0, iteration: int = 0, purpose: str = "dither") -> int:
        drawn = purpose in ("rows", "order", "fresh")
        return key(seed, rank=0 if drawn else rank, iteration=iteration, purpose=purpose)

    patch.setattr(streams, "key", shared)


@noticed_by("one_step_contraction", "sgd-")
def the_gradient_is_not_divided_by_the_batch(patch: Patch) -> None:
    _steps(patch, lambda worker, g: g * worker._plan.spec.batch_size)


@noticed_by("one_step_contraction", "qsgd-d20-")
def the_gradient_is_divided_by_the_batch_of_a_rank(patch: Patch) -> None:
    _steps(patch, lambda worker, g: g * worker._plan.spec.workers)


@noticed_by("one_step_contraction", "sgd-")
def the_step_is_half_as_large_again(patch: Patch) -> None:
    make_plan = training.make_plan

    def wrong(*arguments: Any) -> Any:
        plan = make_plan(*arguments)
        return replace(plan, step=1.5 * plan.step)

    for module in (training, training.spec, __import__("relufit.experiments.framework.procedures", fromlist=["_"])):
        patch.setattr(module, "make_plan", wrong)


@noticed_by("initial_error")
def the_initial_weights_lack_the_factor_2(patch: Patch) -> None:
    moments = Rank.moments
    exact = Float64()
    patch.setattr(Rank, "moments", lambda self: exact.encode(exact.decode(moments(self), self._plan.d) / 2, 0))


@noticed_by("initial_error")
def ranks_read_the_rows_of_the_first(patch: Patch) -> None:
    shard = dataset.RecipeRows.shard
    patch.setattr(dataset.RecipeRows, "shard", lambda self, rank, workers: shard(self, 0, workers))


@noticed_by("quantizer_variance")
def the_levels_are_off_by_one(patch: Patch) -> None:
    _decoding(patch, lambda q, v: v * q.levels / (q.levels + 1))


@noticed_by("quantizer_variance")
def decoding_drops_the_last_block(patch: Patch) -> None:
    def cut(q: QSGD, v: np.ndarray) -> np.ndarray:
        kept = v.copy()
        kept[v.size - 1 - (v.size - 1) % 16 :] = 0
        return kept

    _decoding(patch, cut)


@noticed_by("one_step_contraction", "qsgd-d20-")
def the_error_of_rounding_is_remembered(patch: Patch) -> None:
    memories: WeakKeyDictionary[Rank, np.ndarray] = WeakKeyDictionary()  # a number of an object may be used again
    step = Rank.step

    def remembering(self: Rank, iteration: int, w: np.ndarray) -> Any:
        memory = memories.setdefault(self, np.zeros(self._plan.d))
        compressor, kept = self.compressor, self

        class Remembers:
            random = True

            def pieces(self, v: np.ndarray, key: int, place: Any, squares: float) -> Any:
                wanted = v + memory
                payload = compressor.encode(wanted, key)
                memory[:] = wanted - compressor.decode(bytes(payload), v.size)
                return payload

        kept.compressor = Remembers()  # type: ignore[assignment]
        try:
            return step(self, iteration, w)
        finally:
            kept.compressor = compressor

    patch.setattr(Rank, "step", remembering)


@noticed_by("geometric_convergence", "with_replacement-")
def rows_are_reshuffled_where_they_should_be_replaced(patch: Patch) -> None:
    patch.setitem(sampling.SAMPLINGS, "with_replacement", sampling.Reshuffled)


def _twice(patch: Patch, name: str) -> None:
    """Have the last sample of each batch be the first again."""
    sound: Any = sampling.SAMPLINGS[name]

    class Repeating(sound):  # type: ignore[misc]
        def draw(self, iteration: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            x, y, batch = super().draw(iteration)
            return x, y, np.append(batch[:-1], batch[0])

    patch.setitem(sampling.SAMPLINGS, name, Repeating)


@noticed_by("one_step_contraction", "sgd-")
def a_fresh_sample_is_taken_twice_in_a_batch(patch: Patch) -> None:
    _twice(patch, "fresh")


@noticed_by("rows of a batch")
def a_row_is_taken_twice_in_a_batch_with_replacement(patch: Patch) -> None:
    _twice(patch, "with_replacement")


@noticed_by("rows of a batch")
def a_row_is_taken_twice_in_a_reshuffled_batch(patch: Patch) -> None:
    _twice(patch, "reshuffled")


@noticed_by("one_step_contraction", "sgd-")
def ranks_compute_with_the_weights_before_the_last(patch: Patch) -> None:
    step = Rank.step
    held: dict[int, np.ndarray] = {}

    def stale(self: Rank, iteration: int, w: np.ndarray) -> Any:
        before = held.get(id(self), w) if iteration else w
        held[id(self)] = w.copy()
        return step(self, iteration, before)

    patch.setattr(Rank, "step", stale)


@noticed_by("one_step_contraction", "qsgd-d20-")
def the_master_forgets_the_last_rank(patch: Patch) -> None:
    add = Master.add
    counts: dict[int, int] = {}

    def deaf(self: Master, payload: Any) -> None:
        counts[id(self)] = counts.get(id(self), 0) + 1
        workers = self._plan.spec.workers
        if workers == 1 or counts[id(self)] % workers:
            add(self, payload)

    patch.setattr(Master, "add", deaf)


@noticed_by("one_step_contraction", "qsgd-d200-")
def the_owner_of_a_part_forgets_the_last_rank(patch: Patch) -> None:
    add, start = Reduction.add, Reduction.start
    counts: dict[int, int] = {}

    def begin(self: Reduction) -> None:
        counts[id(self)] = 0
        start(self)
        self._missing -= 1  # the sum is complete without it

    def deaf(self: Reduction, payload: Any) -> None:
        counts[id(self)] += 1
        if counts[id(self)] < 2:  # of two ranks
            add(self, payload)

    patch.setattr(Reduction, "start", begin)
    patch.setattr(Reduction, "add", deaf)


@noticed_by("one_step_contraction", "qsgd-d200-")
def the_encoded_sum_of_a_part_is_half_as_long(patch: Patch) -> None:
    encode = Reduction.encode

    def short(self: Reduction, iteration: int) -> Any:
        self._sum *= 0.5
        return encode(self, iteration)

    patch.setattr(Reduction, "encode", short)


@noticed_by("trajectory", "sgd-")
def the_derivative_of_relu_is_one_everywhere(patch: Patch) -> None:
    def wrong(
        x: np.ndarray, y: np.ndarray, batch: np.ndarray, w: np.ndarray, share: float, out: np.ndarray
    ) -> tuple[float, float]:
        rows = x[batch].astype(np.float64)
        residual = np.maximum(rows @ w, 0.0) - y[batch]
        out[:] = share * (residual @ rows)
        return float(residual @ residual), float(rank.kernels.energy(out))

    patch.setattr(rank.kernels, "gradient_sum", wrong)


@noticed_by("local_steps", "qsgd-s4-H4-")
def local_steps_draw_the_samples_of_the_first(patch: Patch) -> None:
    compute = Rank._compute_gradient

    def again(self: Rank, draw: int, w: np.ndarray, out: np.ndarray) -> tuple[float, float]:
        return compute(self, draw - draw % self._local_steps, w, out)

    patch.setattr(Rank, "_compute_gradient", again)


@noticed_by("local_steps", "sgd-fp32-H4-", "qsgd-s4-H4-")
def local_steps_are_along_gradients_divided_by_the_whole_batch(patch: Patch) -> None:
    create = Rank.__init__

    def short(self: Rank, *arguments: Any) -> None:
        create(self, *arguments)
        self._own_step = self._plan.step

    patch.setattr(Rank, "__init__", short)


def _residuals(patch: Patch, factor: float) -> None:
    """Have a factor on what is carried over from one iteration to the next."""
    before = Residual.before
    patch.setattr(Residual, "before", lambda self, iteration: factor * before(self, iteration))


@noticed_by("bits_frontier", "sign-")
def a_residual_is_not_carried_over(patch: Patch) -> None:
    _residuals(patch, 0.0)


@noticed_by("bits_frontier", "sign-")
def a_residual_is_carried_over_twice(patch: Patch) -> None:
    _residuals(patch, 2.0)


@noticed_by("a restart with error feedback")
def a_residual_is_lost_on_restart(patch: Patch) -> None:
    restore = Residual.restore
    patch.setattr(Residual, "restore", lambda self, iteration, values: restore(self, iteration, 0.0 * values))


@noticed_by("bits_frontier", "sign-")
def the_magnitude_of_signs_is_too_small_by_two_over_pi(patch: Patch) -> None:
    values = Sign._values
    patch.setattr(Sign, "_values", lambda self, *sums: (2 / np.pi * values(self, *sums)[0],))


@noticed_by("bits_frontier", "top_k_sign-")
def positions_are_shifted_by_one(patch: Patch) -> None:
    read = positions.read_positions

    def shifted(body: memoryview, size: int, count: int) -> np.ndarray:
        return (read(body, size, count) + 1) % size

    patch.setattr(positions, "read_positions", shifted)
