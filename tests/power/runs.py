"""The experiments in small, from trial to verdict, in memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import linked

from relufit.claims.verdict import CONFIRMED, Verdict
from relufit.experiments import CATALOGUE
from relufit.experiments.configuration import load
from relufit.experiments.framework import trials
from relufit.experiments.framework.trials import Traces

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
SEED = 20190119
#: Experiments whose verdicts do not rest on a clock.
EXPERIMENTS = [name for name in CATALOGUE if not CATALOGUE[name].TIMED]


def configuration(seed: int, *more: Path) -> dict[str, Any]:
    """Return the configuration of the smoke run, and of what is merged over it."""
    return {**load([ROOT / "config.yaml", ROOT / "config/smoke.yaml", *more]), "seed": seed}


def simulate(name: str, config: dict[str, Any]) -> Traces:
    """Return the traces of an experiment."""
    if name == "time_to_accuracy":
        return linked.simulate(config)
    return trials.simulate(CATALOGUE[name].settings(config), config["seed"])[0]


def simulate_again(name: str, config: dict[str, Any], traces: Traces, beginnings: tuple[str, ...]) -> Traces:
    """Return these traces of an experiment, with those of settings whose names begin so made anew."""
    if name == "time_to_accuracy":
        again = linked.simulate(config, beginnings)
    else:
        settings = [setting for setting in CATALOGUE[name].settings(config) if setting.name.startswith(beginnings)]
        again = trials.simulate(settings, config["seed"])[0]
    return Traces(*({**kept, **fresh} for kept, fresh in zip(traces, again, strict=True)))


def judge(name: str, config: dict[str, Any], traces: Traces) -> list[Verdict]:
    """Return the verdicts of an experiment on traces."""
    if name == "time_to_accuracy":
        return linked.judge(config, traces)
    judged = CATALOGUE[name].judge(config, *traces)
    return [verdict for verdicts in judged.verdicts.values() for verdict in verdicts]


def confirmed(verdicts: list[Verdict]) -> Counter[str]:
    """Return how many verdicts on each statistic are confirmed.

    Settings are left out: that of the weakest of several may change without anything being refuted.
    """
    return Counter(verdict.statistic for verdict in verdicts if verdict.verdict == CONFIRMED)


class Undamaged(NamedTuple):
    """What the right code leaves of an experiment: traces, and what is confirmed of them."""

    traces: Traces
    confirmed: Counter[str]


#: What defects are looked for in.
CONFIG = configuration(SEED, HERE / "defects.yaml")
