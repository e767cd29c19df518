"""The experiment time_to_accuracy in this process: its ranks and its master are threads, its links are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from relufit import training
from relufit.claims.verdict import Verdict
from relufit.experiments import CATALOGUE
from relufit.experiments.framework import procedures, trials
from relufit.experiments.framework.trials import Traces
from relufit.planted.dataset import open_rows
from relufit.training import Timeouts, Trace, TrainingSpec
from relufit.training.coordinator import Coordinator
from relufit.training.member import Member
from relufit.training.run_context import RunContext
from relufit.training.spec import make_plan
from relufit.transport.greeting import TOKEN_BYTES
from relufit.transport.memory import Memory

#: With two ranks, one copy and K - 1 copies are the same, and no count could tell them apart.
RANKS = 3
_SECTION = {"dimension": 40, "ratio": 6, "workers": RANKS, "mini_batch": 20, "levels": [4], "other_codings": []}
_LENGTH = {"tolerance": 0.1, "iterations": 20, "record_every": 3, "trials": 1}
_PATIENCE = Timeouts(start=600, message=600)


@dataclass(frozen=True)
class _Threads:
    """A cluster whose client is only told apart from none."""

    client: object

    def describe(self) -> dict[str, Any]:
        return {"kind": "inprocess"}


@contextmanager
def _open(options: object, workers: int) -> Iterator[_Threads]:
    yield _Threads(object())


def _train(spec: TrainingSpec, client: object = None, *, save: Any = None, **_: object) -> Trace:
    """Train as `relufit.train` does, with a thread for each rank where there is a client."""
    if client is None:
        return training.train(spec)
    rows = open_rows(spec.dataset)
    plan = make_plan(spec, rows)
    context = RunContext(plan, bytes(TOKEN_BYTES), Memory(), _PATIENCE, lambda: True)
    with ThreadPoolExecutor(spec.workers) as pool:
        leader = Coordinator(context, rows.w_star)
        members = [Member(context, rank, rows) for rank in range(spec.workers)]
        ranks = [pool.submit(member.serve, lambda: leader.address) for member in members]
        trace = leader.lead()
        counted = dict(trace.counted or {})
        for rank in ranks:
            counted |= rank.result()
    whole = replace(trace, counted=counted)
    if save:
        save(whole)
    return whole


def linked(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with the experiment in small, on `RANKS` ranks."""
    return {**config, "time_to_accuracy": {**config["time_to_accuracy"], **_SECTION, **_LENGTH}}


def simulate(config: dict[str, Any], beginnings: tuple[str, ...] = ("",)) -> Traces:
    """Return the traces of the experiment, of settings whose names begin so.

    The serial engine runs beside the threads as on a cluster.
    """
    experiment = CATALOGUE["time_to_accuracy"]
    made, own = [], Traces({}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(procedures, "train", _train)
        patch.setattr(trials, "open_cluster", _open)
        for setting in experiment.settings(linked(config)):
            if not setting.name.startswith(beginnings):
                continue
            # The rows of a recipe: nothing is on disk.
            made.append(trials.simulate([replace(setting, datasets=())], config["seed"])[0])
    for traces in made:
        own.results.update(traces.results)
        own.timings.update(traces.timings)
    return own


def judge(config: dict[str, Any], traces: Traces) -> list[Verdict]:
    """Return the verdicts of the experiment."""
    judged = CATALOGUE["time_to_accuracy"].judge(linked(config), *traces)
    return [verdict for verdicts in judged.verdicts.values() for verdict in verdicts]
