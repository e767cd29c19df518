"""The experiments in small, from trial to verdict, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relufit.claims.verdict import Verdict
from relufit.config import load
from relufit.experiments import CATALOGUE, trials

ROOT = Path(__file__).parent.parent.parent
_QUICK = ("one_step_contraction", "initial_error", "quantizer_variance", "bits_to_accuracy")
#: Those that a defect is looked for in, the quickest first; real ranks have tests of their own.
EXPERIMENTS = [*_QUICK, *(name for name in CATALOGUE if name not in _QUICK and not CATALOGUE[name].TIMED)]


def configuration(seed: int, *more: Path) -> dict[str, Any]:
    """Return the configuration of the smoke run, and of what is merged over it."""
    return {**load([ROOT / "config.yaml", ROOT / "config/smoke.yaml", *more]), "seed": seed}


def verdicts(name: str, config: dict[str, Any]) -> Iterator[Verdict]:
    """Yield the verdicts of an experiment."""
    experiment = CATALOGUE[name]
    traces, _ = trials.simulate(experiment.settings(config), config["seed"])
    for found in experiment.judge(config, *traces).verdicts.values():
        yield from found
