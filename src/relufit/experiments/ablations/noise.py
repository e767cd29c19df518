"""Label noise: the floor that it leaves, with and without quantization at the same step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.experiments.ablations.part import LINE, Run, Section, Shown, known, run, sgd_and_qsgd, verdict

#: The share of a run, at its end, over which it is taken to be at rest.
REST = 0.5
_POINTS = 30


class Noise:
    """The part ``noise``. The step is a share of the best one of QSGD, for SGD too, so that only omega differs."""

    def runs(self, section: Section) -> list[Run]:
        """Return SGD and QSGD for each standard deviation of the noise."""
        iterations, step = section["noise"]["iterations"], _step(section)
        return [
            run(
                section,
                _name(std, kind),
                compressor,
                noise_std=std,
                step_size=step,
                iterations=iterations,
                tolerance=None,
            )
            for std in section["noise"]["stds"]
            for kind, compressor in sgd_and_qsgd(section).items()
        ]

    def show(self, section: Section, tables: Mapping[str, pd.DataFrame]) -> Shown:
        """Compare the mean squared error at rest with the predicted floor."""
        stds, kinds, rows, verdicts = section["noise"]["stds"], list(sgd_and_qsgd(section)), [], []
        raised = _floor(section, "qsgd", 1.0) / _floor(section, "sgd", 1.0)
        omega = known(section, sgd_and_qsgd(section)["qsgd"])["omega"]
        rest = {
            (kind, std): _at_rest(tables[_name(std, kind)], section["noise"]["iterations"])
            for kind in kinds
            for std in stds
        }
        for (kind, std), measured in rest.items():
            floor = _floor(section, kind, std)
            rows.append((kind, std, *mean_interval(measured), floor))
            statistic = "mean squared error at rest over the predicted floor"
            verdicts.append(verdict(statistic, "noise", _name(std, kind), measured / floor))
        for std in stds:
            statistic = "floor of QSGD over that of SGD at the same step, over the prediction"
            note = f"The prediction is {raised:.3g}; for a short step it is 1 + omega, {1 + omega:.3g}."
            ratio = rest["qsgd", std] / rest["sgd", std] / raised
            verdicts.append(verdict(statistic, "noise", f"noise-{std:g}", ratio, note=note))
        grid = np.geomspace(min(stds) / 1.5, max(stds) * 1.5, _POINTS).tolist()
        lines = [(kind, std, _floor(section, kind, std)) for kind in kinds for std in grid]
        table = pd.DataFrame(rows, columns=["series", "noise_std", "mean", "low", "high", "predicted"])
        return Shown(table, pd.DataFrame(lines, columns=LINE), {Topic.LABEL_NOISE: verdicts})


def _name(std: float, kind: str) -> str:
    return f"noise-{std:g}-{kind}"


def _step(section: Section) -> float:
    best = theory.optimal_step(**known(section, sgd_and_qsgd(section)["qsgd"]))
    return float(section["noise"]["step_factor"]) * best


def _floor(section: Section, kind: str, std: float) -> float:
    arguments = known(section, sgd_and_qsgd(section)[kind])
    return theory.label_noise_floor(step=_step(section), noise_std=std, **arguments)


def _at_rest(table: pd.DataFrame, iterations: int) -> pd.Series:
    """Return the mean squared error of each trial over the last part of its run, NaN where it ended before."""
    late = table[table["iteration"] > (1 - REST) * iterations]
    ended = table.groupby("trial")["iteration"].max() == iterations
    return (late["relative_error"] ** 2).groupby(late["trial"]).mean().reindex(ended.index).where(ended)
