"""Delayed gradients, as of ranks that do not wait for each other: SGD and QSGD, each at its best step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from relufit import theory
from relufit.exchange import DEFAULT
from relufit.experiments.framework.quantized import fresh_training, planted, variances_of

#: Tolerance of iterations. Gradients that are an iteration too fresh save about 7 % of them at these steps.
TOLERANCE = 0.05


class Delayed(NamedTuple):
    """A delay with a compressor, None levels for fp64."""

    delay: int
    levels: int | None
    mini_batch: int
    workers: int

    @property
    def name(self) -> str:
        """The name of its setting."""
        return f"delay-{self.delay}-" + ("sgd" if self.levels is None else f"qsgd-s{self.levels}")

    @property
    def words(self) -> str:
        """What it is, in a report."""
        encoded = "SGD" if self.levels is None else f"QSGD, s = {self.levels}"
        return f"{encoded}, gradients {self.delay} iterations late, m = {self.mini_batch}"

    @property
    def row(self) -> tuple[str, int | None, int, int, str, int]:
        """Its fields in the table of methods."""
        return "sgd", self.levels, self.mini_batch, self.workers, "moments", self.delay

    @property
    def compressor(self) -> dict[str, Any]:
        """The compressor."""
        qsgd = {"name": "qsgd", "levels": self.levels, "coding": "packed"}
        return {"name": "fp64"} if self.levels is None else qsgd


def delayed(section: Mapping[str, Any]) -> list[Delayed]:
    """Return the delays of a section, each with and without QSGD."""
    delays, workers = section["delayed"], section["workers"]
    return [
        Delayed(delay, levels, delays["mini_batch"], workers)
        for delay in delays["delays"]
        for levels in (None, section["levels"])
    ]


def expected_delayed(section: Mapping[str, Any], run: Delayed) -> float:
    """Return the predicted iterations to the tolerance: those at the rate of the delayed recursion near w*."""
    known = section["dimension"], run.mini_batch
    encoded = variances_of(run.compressor, DEFAULT, section["dimension"], run.workers)
    step = theory.delayed_optimal_step(*known, run.delay, **encoded)
    start = theory.initial_error(**planted(section))
    rate = theory.delayed_rate(*known, step, run.delay, **encoded)
    return math.log(section["tolerance"] ** 2 / start) / math.log(rate)


def delayed_spec(section: Mapping[str, Any], run: Delayed) -> dict[str, Any]:
    """Return the specification of a run, which takes its best step from the same theory."""
    due = expected_delayed(section, run)
    return fresh_training(section, run.compressor, due, mini_batch=run.mini_batch) | {"delay": run.delay}
