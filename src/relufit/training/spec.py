"""What a run is: its specification, and the plan that follows from it and its data."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from relufit import streams, theory
from relufit.compression import COMPRESSORS, Compressor, make_compressor
from relufit.dataset import RowSource, shard_rows
from relufit.errors import ConfigError
from relufit.planted import PlantedData, PlantedModel
from relufit.training.sampling import SAMPLINGS

#: Ways in which gradients reach the weights, and in which the weights or gradients come back.
TOPOLOGIES = ("master", "all_to_all")
DOWNLINKS = ("fp64", "relay")


def _whole(name: str, value: Any, least: int) -> None:  # noqa: ANN401 - this is the check of its type
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{value!r} is no whole number from {least} up", where=name, remedy=f"give {least} or more")


def _is_positive(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _choice(name: str, value: str, choices: Any) -> None:  # noqa: ANN401
    if value not in choices:
        raise ConfigError(f"unknown {name} {value!r}", where=name, remedy=f"choose one of {', '.join(choices)}")


@dataclass(frozen=True)
class TrainingSpec:
    """One training run, everything but where it runs.

    Parameters
    ----------
    dataset : path, PlantedModel or PlantedData
        A folder written by `relufit.dataset.write`, a recipe, or arrays.
    compressor : Compressor, str or dict
        What the partial gradients go through; a name, or a dict of ``name`` and parameters, is made into one.
    workers : int
        K, the number of ranks, each with its own shard of the rows.
    batch_size : int
        m, the samples of an iteration over all ranks; the first m mod K ranks take one more than the others.
    step_size : "optimal" or float
        ``"optimal"`` is `relufit.theory.optimal_step` with the compressor's omega; a number is taken as it is.
    iterations : int
        The budget.
    tolerance : float, optional
        Stop as soon as the relative error is at most this.
    topology : str
        ``"master"``, which gathers the gradients and updates the weights, or ``"all_to_all"``, where each rank sends
        its gradient to every other and each updates weights of its own.
    downlink : str
        What comes back from a master: ``"fp64"``, the weights, or ``"relay"``, the encoded gradients of the other
        ranks, so that each rank updates weights of its own. Without a master it stays ``"fp64"``.
    sampling : str
        ``"with_replacement"``, ``"reshuffled"`` or ``"fresh"``.
    seed : int
        Seed of sampling and rounding; the data have their own.
    record_every : int
        Iterations between two rows of the trace; the first and the last are always there.

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
    topology: str = "master"
    downlink: str = "fp64"
    sampling: str = "with_replacement"
    seed: int = 0
    record_every: int = 1

    def __post_init__(self) -> None:
        """Refuse impossible values and make the compressor."""
        if isinstance(self.compressor, str):
            object.__setattr__(self, "compressor", make_compressor(self.compressor))
        elif isinstance(self.compressor, dict):
            parameters = dict(self.compressor)
            object.__setattr__(self, "compressor", make_compressor(parameters.pop("name", ""), **parameters))
        if not isinstance(self.compressor, Compressor):
            raise ConfigError(f"{self.compressor!r}", where="compressor", remedy="give a name, or a dict with one")
        _whole("workers", self.workers, 1)
        _whole("batch_size", self.batch_size, 1)
        _whole("iterations", self.iterations, 0)
        _whole("record_every", self.record_every, 1)
        _choice("topology", self.topology, TOPOLOGIES)
        _choice("downlink", self.downlink, DOWNLINKS)
        if self.topology == "all_to_all" and self.downlink != "fp64":
            raise ConfigError(
                f"{self.downlink!r} without a master", where="downlink", remedy="leave it out, or take topology master"
            )
        _choice("sampling", self.sampling, SAMPLINGS)
        streams.key(self.seed)
        if self.batch_size < self.workers:
            raise ConfigError(
                f"{self.batch_size} samples for {self.workers} ranks",
                where="batch_size",
                remedy="give each rank one",
            )
        if self.tolerance is not None and not _is_positive(self.tolerance):
            raise ConfigError(f"{self.tolerance!r}", where="tolerance", remedy="give a number above 0, or none")
        if self.step_size != "optimal" and not _is_positive(self.step_size):
            raise ConfigError(f"{self.step_size!r}", where="step_size", remedy="give a number above 0 or 'optimal'")

    @property
    def exchange(self) -> str:
        """How gradients and weights travel, in a word: ``"master"``, ``"relay"`` or ``"all_to_all"``."""
        return "relay" if self.downlink == "relay" else self.topology

    def describe(self) -> dict[str, Any]:
        """Return the specification as JSON-ready values, but for where the data lie."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("dataset", "compressor")}
        return {"compressor": describe_compressor(self.compressor), **values}


def describe_compressor(compressor: Any) -> dict[str, Any]:  # noqa: ANN401 - any registered kind
    """Return the name and the parameters of a compressor, as `make_compressor` takes them."""
    names = [name for name, kind in COMPRESSORS.items() if kind is type(compressor)]
    its = fields(compressor) if is_dataclass(compressor) else ()
    parameters = {its_field.name: getattr(compressor, its_field.name) for its_field in its if its_field.init}
    return {"name": names[0] if names else type(compressor).__name__, **parameters}


@dataclass(frozen=True)
class Plan:
    """A specification together with what the data decide: sizes, batches, step.

    Parameters
    ----------
    spec : TrainingSpec
    n, d : int
        Rows and dimension.
    omega : float
        Variance of the compressor in d dimensions.
    step : float
        The step size in use.
    """

    spec: TrainingSpec
    n: int
    d: int
    omega: float
    step: float

    @property
    def compressor(self) -> Compressor:
        """The compressor of the partial gradients."""
        return self.spec.compressor  # type: ignore[return-value]  # made in __post_init__

    def batch(self, rank: int) -> int:
        """Return the number of samples that a rank draws in an iteration."""
        return self.spec.batch_size // self.spec.workers + (rank < self.spec.batch_size % self.spec.workers)


def make_plan(spec: TrainingSpec, rows: RowSource) -> Plan:
    """Return the plan of `spec` on `rows`.

    Raises
    ------
    ConfigError
        If there are too few rows, or the step is left to theory and the compressor has no omega.
    """
    parts = shard_rows(rows.n, spec.workers)
    SAMPLINGS[spec.sampling].check(spec.batch_size, [stop - start for start, stop in parts], rows.model)
    compressor: Compressor = spec.compressor  # type: ignore[assignment]  # made in __post_init__
    omega = compressor.variance(rows.d)
    if isinstance(spec.step_size, str):
        if omega is None:
            raise ConfigError(
                "the compressor has no omega that an optimal step follows from",
                where="step_size",
                remedy="give a number",
            )
        step = theory.optimal_step(rows.d, spec.batch_size, omega=omega, workers=spec.workers)
    else:
        step = float(spec.step_size)
    return Plan(spec, rows.n, rows.d, omega or 0.0, step)
