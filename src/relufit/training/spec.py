"""What a run is: its specification, and the plan that follows from it and its data."""

from __future__ import annotations

import math
import os
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any

from relufit import parameters, streams, theory
from relufit.compression import Compressor, make_compressor
from relufit.compression.base import Learner
from relufit.compression.lengths import payload_bits
from relufit.errors import ConfigError
from relufit.exchange import DEFAULT, find_exchange
from relufit.files import paths
from relufit.planted import PlantedData, PlantedModel
from relufit.planted.dataset import RowSource, shard_rows
from relufit.planted.starts import STARTS
from relufit.training.gradients import GRADIENTS
from relufit.training.sampling import SAMPLINGS

#: Options that a description has only where they differ from the default, so that other runs keep their description.
_WHERE_GIVEN = ("halve_every", "gradient", "average_from", "delay")
#: The longest delay for which a plan looks for the optimal step: the products that it follows from are its square.
_MOST_DELAY = 16
#: Options that are whole numbers, with the least of each.
_WHOLE = {
    "workers": 1, "batch_size": 1, "iterations": 0, "record_every": 1, "local_steps": 1, "halve_every": 0, "delay": 0,
}  # fmt: skip


def _whole(name: str, value: Any, least: int) -> int:  # noqa: ANN401 - this is the check of its type
    number = parameters.whole(value)
    if number is None or number < least:
        raise ConfigError(f"{value!r} is no whole number from {least} up", where=name, remedy=f"give {least} or more")
    return number


def _positive(name: str, value: Any, remedy: str) -> int | float:  # noqa: ANN401
    number = parameters.real(value)
    if number is None or number <= 0:
        raise ConfigError(f"{value!r}", where=name, remedy=remedy)
    return number


def _choice(name: str, value: Any, choices: Any) -> None:  # noqa: ANN401
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"unknown {name} {value!r}", where=name, remedy=f"choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class TrainingSpec:
    """One training run, everything but where it runs.

    Parameters
    ----------
    dataset : path, PlantedModel or PlantedData
        A folder written by `relufit.planted.dataset.write`, or its address in a bucket; a recipe; or arrays. A path is
        that of the present working folder, whatever becomes of that.
    compressor : Compressor, str or dict
        What the partial gradients go through; a name, or a dict of ``name`` and parameters, is made into one.
    workers : int
        K, the number of ranks, each with its own shard of the rows.
    batch_size : int
        m, the samples of an iteration over all ranks; the first m mod K ranks take one more than the others.
    step_size : "optimal" or float
        ``"optimal"`` is `relufit.theory.local_optimal_step` with the variances of the compressor in the exchange,
        `relufit.theory.delayed_optimal_step` with a delay, or `relufit.theory.feedback_optimal_step` with error
        feedback, each for the gradient that is chosen; a number is
        taken as it is.
    iterations : int
        The budget.
    tolerance : float, optional
        Stop as soon as the relative error is at most this.
    exchange : str
        How gradients and weights travel, a key of `relufit.exchange.EXCHANGES`: ``"master"``, which gathers the
        gradients and sends the weights in fp64; ``"relay"``, a master that sends each rank the encoded gradients of the
        others, so that each rank updates weights of its own; ``"requantize"``, a master that sends their sum, encoded
        again; ``"all_gather"``, where each rank sends its gradient to every other; or ``"all_reduce"``, where each rank
        adds a part of the coordinates and sends the sum, encoded again, to every other.
    sampling : str
        ``"with_replacement"``, ``"reshuffled"`` or ``"fresh"``.
    seed : int
        Seed of sampling and rounding; the data have their own.
    record_every : int
        Iterations between two rows of the trace; the first and the last are always there.
    initial_weights : str
        Where the run starts, a key of `relufit.planted.starts.STARTS`; ``"moments"`` is (2/n) sum y_i x_i. Random
        starts are functions of `seed`. Ranks send their parts of the moments only where the start depends on them.
    local_steps : int
        H, the steps that each rank takes along its own gradients between two exchanges.
    halve_every : int
        Iterations after which the step is halved, again and again; 0 for a step that stays.
    error_feedback : bool
        Whether what an encoding leaves out is added to what is encoded next, by each rank and where sums are encoded.
    copy_share : float
        With error feedback copies of the residuals go to the master now and then, so that a rank that is lost does not
        send the run back to its beginning: the part of the payload bytes that they may add; 0 for no copies.
    gradient : str
        What steps are along, a key of `relufit.training.gradients.GRADIENTS`: ``"sgd"``; ``"glm_tron"``, the same
        without the indicator ``1{<w, x> > 0}``, which leaves zero without an initialisation; or ``"kaczmarz"``, each
        row's gradient divided by ``||x||^2``, whose steps are about d times as long.
    average_from : int, optional
        The iteration from which on the weights are averaged (Polyak and Ruppert); no average if not given. The mean
        changes nothing else of the run, and the tolerance is that of the weights.
    delay : int
        How many iterations before the weights were that a gradient is taken at: ``w_t+1 = w_t - step g(w_s)`` with s =
        t - delay, 0 at first, and the samples of iteration t. The losses of a trace are those at w_s. Ranks with
        weights of their own, in every exchange but ``"master"``, then compute the next gradient while this one is
        exchanged.

    Raises
    ------
    ConfigError
        If a value is impossible.
    """

    dataset: str | os.PathLike[str] | PlantedModel | PlantedData = field(repr=False)
    compressor: Compressor | str | dict[str, Any] = "fp64"
    workers: int = 1
    batch_size: int = 1
    step_size: str | float = "optimal"
    iterations: int = 1000
    tolerance: float | None = None
    exchange: str = DEFAULT
    sampling: str = "with_replacement"
    seed: int = 0
    record_every: int = 1
    initial_weights: str = "moments"
    local_steps: int = 1
    halve_every: int = 0
    error_feedback: bool = False
    copy_share: float = 0.01
    gradient: str = "sgd"
    average_from: int | None = None
    delay: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values, make the compressor, and make a path absolute, which is opened later."""
        if not isinstance(self.dataset, (PlantedModel, PlantedData)):
            object.__setattr__(self, "dataset", paths.location(self.dataset))
        if isinstance(self.compressor, str):
            object.__setattr__(self, "compressor", make_compressor(self.compressor))
        elif isinstance(self.compressor, dict):
            described = dict(self.compressor)
            object.__setattr__(self, "compressor", make_compressor(described.pop("name", ""), **described))
        if not isinstance(self.compressor, Compressor):
            raise ConfigError(f"{self.compressor!r}", where="compressor", remedy="give a name, or a dict with one")
        for name, least in _WHOLE.items():
            object.__setattr__(self, name, _whole(name, getattr(self, name), least))
        if not isinstance(self.error_feedback, bool):
            raise ConfigError(f"{self.error_feedback!r}", where="error_feedback", remedy="give true or false")
        share = parameters.real(self.copy_share)
        if share is None or not 0 <= share <= 1:
            raise ConfigError(f"{self.copy_share!r}", where="copy_share", remedy="give a number from 0 to 1")
        object.__setattr__(self, "copy_share", float(share))
        find_exchange(self.exchange)
        _choice("sampling", self.sampling, SAMPLINGS)
        _choice("initial_weights", self.initial_weights, STARTS)
        _choice("gradient", self.gradient, GRADIENTS)
        if self.average_from is not None:
            object.__setattr__(self, "average_from", _whole("average_from", self.average_from, 0))
        streams.key(self.seed)
        object.__setattr__(self, "seed", int(self.seed))
        self._check_together()
        if self.tolerance is not None:
            tolerance = _positive("tolerance", self.tolerance, "give a number above 0, or none")
            object.__setattr__(self, "tolerance", tolerance)
        if not (isinstance(self.step_size, str) and self.step_size == "optimal"):
            step_size = _positive("step_size", self.step_size, "give a number above 0 or 'optimal'")
            object.__setattr__(self, "step_size", step_size)

    def _check_together(self) -> None:
        """Refuse values that are impossible together."""
        if self.batch_size < self.workers:
            raise ConfigError(
                f"{self.batch_size} samples for {self.workers} ranks",
                where="batch_size",
                remedy="give each rank one",
            )
        if self.halve_every and (self.error_feedback or self.local_steps > 1):
            with_what = "error feedback, whose residuals are of one step" if self.error_feedback else "local steps"
            raise ConfigError(f"a step that is halved with {with_what}", where="halve_every", remedy="give 0")
        if self.average_from is not None and self.average_from > self.iterations:
            raise ConfigError(
                f"no iteration to average from {self.average_from} on in a budget of {self.iterations}",
                where="average_from",
                remedy="begin earlier, or give more iterations",
            )
        if self.delay and self.compressor.learner([(0, 1)]):  # type: ignore[union-attr]  # made before
            raise ConfigError(
                "a delay, with a compressor that is learnt from steps which delayed gradients do not know",
                where="delay",
                remedy="give 0, or another compressor",
            )
        if self.delay > self.iterations:
            raise ConfigError(
                f"a delay of {self.delay} in a budget of {self.iterations} iterations",
                where="delay",
                remedy="give a shorter one, or more iterations",
            )

    def without_data(self) -> TrainingSpec:
        """Return the specification for a process that has its rows from elsewhere: arrays would travel with it."""
        bare = copy(self)
        object.__setattr__(bare, "dataset", "")
        return bare

    def describe(self) -> dict[str, Any]:
        """Return the specification as JSON-ready values, but for where the data lie.

        `halve_every`, `gradient`, `average_from` and `delay` are there only where they are not the default.
        """
        values = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("dataset", "compressor")
            and not (f.name in _WHERE_GIVEN and getattr(self, f.name) == f.default)
        }
        return {"compressor": self.compressor.description, **values}  # type: ignore[union-attr]  # made in __post_init__


@dataclass(frozen=True)
class Plan:
    """A specification together with what the data decide: sizes, batches, step.

    Parameters
    ----------
    spec : TrainingSpec
    n, d : int
        Rows and dimension.
    omega : float
        Relative variance of the encoded gradients.
    step : float
        The step size in use.
    sum_omega : float
        Relative variance of the encoded sum of gradients.
    copies_every : int
        Iterations between two copies of the residuals; 0 for none.
    """

    spec: TrainingSpec
    n: int
    d: int
    omega: float
    step: float
    sum_omega: float = 0.0
    copies_every: int = 0

    @property
    def averages(self) -> bool:
        """Whether the weights are averaged."""
        return self.spec.average_from is not None

    @property
    def vectors(self) -> int:
        """How many vectors of d numbers the state has: the weights, their mean, those of a delay."""
        return 1 + self.averages + self.spec.delay

    def learner(self) -> Learner | None:
        """Return what is learnt of the compressor, at its beginning; None where nothing is."""
        parts = find_exchange(self.spec.exchange).parts(self.d, self.spec.workers)
        return self.compressor.learner(parts or [(0, self.d)])

    @property
    def learnt(self) -> int:
        """How many numbers the state has of what is learnt."""
        learner = self.learner()
        return learner.state.size if learner else 0

    @property
    def compressor(self) -> Compressor:
        """The compressor of the partial gradients."""
        return self.spec.compressor  # type: ignore[return-value]  # made in __post_init__

    def batch(self, rank: int) -> int:
        """Return the number of samples that a rank draws for a step."""
        return self.spec.batch_size // self.spec.workers + (rank < self.spec.batch_size % self.spec.workers)

    def copies_at(self, iteration: int) -> bool:
        """Tell whether the residuals before an iteration are copied to the master."""
        return self.copies_every > 0 and iteration > 0 and iteration % self.copies_every == 0


def make_plan(spec: TrainingSpec, rows: RowSource) -> Plan:
    """Return the plan of `spec` on `rows`.

    Raises
    ------
    ConfigError
        If there are too few rows, or the step is left to theory, which has none.
    """
    parts = shard_rows(rows.n, spec.workers)
    SAMPLINGS[spec.sampling].check(spec.batch_size, [stop - start for start, stop in parts], rows.model)
    compressor: Compressor = spec.compressor  # type: ignore[assignment]  # made in __post_init__
    exchange = find_exchange(spec.exchange)
    omega, sum_omega = exchange.variances(compressor.variance, rows.d, spec.workers)
    step = _optimal_step(spec, rows.d) if isinstance(spec.step_size, str) else float(spec.step_size)
    return Plan(spec, rows.n, rows.d, omega or 0.0, step, sum_omega, _copies_every(spec, rows.d))


def _optimal_step(spec: TrainingSpec, d: int) -> float:
    """Return the step that theory has for a specification.

    Raises
    ------
    ConfigError
        If it has none.
    """
    exchange, compressor, m, workers = find_exchange(spec.exchange), spec.compressor, spec.batch_size, spec.workers
    gradient = GRADIENTS[spec.gradient]
    moments = {"workers": workers, "kurtosis": gradient.kurtosis}
    if spec.delay and (spec.error_feedback or spec.local_steps > 1):
        other = "error feedback" if spec.error_feedback else "local steps"
        raise ConfigError(
            f"no optimal step is known for a delay with {other}", where="step_size", remedy="give a number"
        )
    if spec.delay > _MOST_DELAY:
        raise ConfigError(
            f"optimal steps are looked for up to a delay of {_MOST_DELAY}", where="step_size", remedy="give a number"
        )
    if not spec.error_feedback:
        omega, sum_omega = exchange.variances(compressor.variance, d, workers)  # type: ignore[union-attr]
        if omega is None:
            raise ConfigError(
                "the compressor is biased: without error feedback no optimal step is known",
                where="step_size",
                remedy="give a number, or set error_feedback to true",
            )
        if spec.delay:
            step = theory.delayed_optimal_step(d, m, spec.delay, omega=omega, sum_omega=sum_omega, **moments)  # type: ignore[arg-type]
            return gradient.scale(d) * step
        step = theory.local_optimal_step(d, m, spec.local_steps, omega=omega, sum_omega=sum_omega, **moments)  # type: ignore[arg-type]
        return gradient.scale(d) * step
    if spec.local_steps > 1:
        raise ConfigError(
            "no optimal step is known for local steps with error feedback", where="step_size", remedy="give a number"
        )
    gradients, total = exchange.encodings(compressor.encoding, d, workers)  # type: ignore[union-attr]
    if gradients is None:
        raise ConfigError(
            "the compressor does not state how much of a vector it keeps, which an optimal step follows from",
            where="step_size",
            remedy="give a number",
        )
    step = theory.feedback_optimal_step(d, m, delta=gradients, sum_delta=total, **moments)  # type: ignore[arg-type]
    return gradient.scale(d) * step


def _copies_every(spec: TrainingSpec, d: int) -> int:
    """Return the iterations between two copies of the residuals, so many that they add no more than their share."""
    if not (spec.error_feedback and spec.copy_share):
        return 0
    exchange, compressor = find_exchange(spec.exchange), spec.compressor
    sent = exchange.sent(spec.workers)
    payload = exchange.vector_length(lambda size: payload_bits(compressor, size) / 8, d, spec.workers)  # type: ignore[arg-type]
    traffic = (sent.up + sent.down) * payload + sent.weights * 8 * d
    summed = not exchange.has_master and exchange.parts(d, spec.workers) is not None
    return max(1, math.ceil(8 * d * (spec.workers + summed) / (spec.copy_share * traffic))) if traffic else 1
