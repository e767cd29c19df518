"""The costs that `relufit plan` goes by, measured on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from relufit.experiments.framework.base import Outcome, Setting, Trial
from relufit.planning import Machine, measure


def measured_costs(experiment: str) -> Setting:
    """Return the setting in which the costs are measured, once, and on this machine whatever the cluster is."""
    here = {"kind": "inprocess"}
    return Setting(experiment, "costs", {"n": 1, "d": 1}, {}, 1, procedure="measure_costs", cluster=here)


def measure_costs(trial: Trial) -> Outcome:
    """Measure what `relufit plan --measure` does, alone and by as many processes at once as there are processors.

    What is measured has the ``machine``, as `relufit.planning.Machine.of` reads it; the timing has the seconds of each
    part by the number of coordinates.
    """
    processors = len(os.sched_getaffinity(0))
    alone = measure()
    machine = Machine(alone, measure(at_once=processors) if processors > 1 else alone, processors)
    rows = [
        {"at_once": count, "part": name, "dimension": size, "seconds": seconds}
        for count, costs in ((1, machine.alone), (processors, machine.crowded))
        for name, curve in costs.curves()
        for size, seconds in zip(curve.sizes, curve.seconds, strict=True)
    ]
    return Outcome(pd.DataFrame({"trial_of": ["costs"]}), {}, pd.DataFrame(rows), {"machine": machine.as_json()})


def machine_of(reports: Sequence[Mapping[str, Any]]) -> Machine:
    """Return the machine that a trial of `measure_costs` has measured."""
    return Machine.of(reports[0]["machine"])
