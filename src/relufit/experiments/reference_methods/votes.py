"""signSGD: ranks send signs, the majority decides, and the step is halved again and again by theory's rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from relufit import theory
from relufit.exchange import BASELINE
from relufit.experiments.framework.quantized import fresh_training, planted

_MAJORITY = "majority"


class Vote(NamedTuple):
    """signSGD by the majority of some ranks, on mini-batches."""

    workers: int
    mini_batch: int

    @property
    def name(self) -> str:
        """The name of its setting."""
        return f"{_MAJORITY}-K{self.workers}-m{self.mini_batch}"

    @property
    def words(self) -> str:
        """What it is, in a report."""
        return f"majority of K = {self.workers} ranks, m = {self.mini_batch}"

    @property
    def row(self) -> tuple[str, None, int, int, str, int]:
        """Its fields in the table of methods."""
        return _MAJORITY, None, self.mini_batch, self.workers, "moments", 0


def votes(section: Mapping[str, Any]) -> list[Vote]:
    """Return the votes of a section."""
    return [Vote(workers, section["mini_batch"]) for workers in section["votes"]]


def halved_step(section: Mapping[str, Any], vote: Vote) -> theory.HalvedStep:
    """Return the step of a vote, and the iterations after which it is halved."""
    start = theory.initial_error(**planted(section))
    return theory.majority_halving(section["dimension"], vote.mini_batch, start, workers=vote.workers)


def expected_votes(section: Mapping[str, Any], vote: Vote) -> float:
    """Return the predicted iterations of a vote to the tolerance."""
    start = theory.initial_error(**planted(section))
    curve = theory.majority_curve(
        section["dimension"],
        vote.mini_batch,
        halved_step(section, vote),
        section["iterations"],
        error_squared=start,
        workers=vote.workers,
    )
    return theory.iterations_to(curve, section["tolerance"])


def vote_spec(section: Mapping[str, Any], vote: Vote) -> dict[str, Any]:
    """Return the specification of a vote."""
    due, halved = expected_votes(section, vote), halved_step(section, vote)
    return {
        **fresh_training(section, {"name": _MAJORITY}, due, workers=vote.workers, mini_batch=vote.mini_batch),
        "step_size": halved.step,
        "halve_every": halved.every,
        "exchange": BASELINE,
    }
