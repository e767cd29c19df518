"""Steps that do not follow omega: where QSGD diverges at the step of SGD, and where any step is too long.

Theory gives the growth of the mean square error, 1 - step + step^2 A_q a step: above 1 from the step 1/A_q on. Single
steps near w* measure that mean itself, at SGD's optimal step and at given fractions of 1/A_q. A run shows the mean of
the logarithm instead, which is lower by half the variance of a step's: close to the limit a run may go down while its
mean square goes up. Runs from w0 are therefore judged at SGD's step alone, by whether their error has grown when they
end; beside them are runs at the step that follows omega. The predicted curves are `relufit.theory.global_curve`, as
runs that diverge soon leave the neighbourhood of w*; far from it the growth is the same as near it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import proportion_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, exactly, judge
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.curves import on_grid, typical_curve
from relufit.experiments.framework.exact_tests import LEVEL, mean_over, shared, vanishes
from relufit.experiments.framework.quantized import omega_of, planted, sgd_or_qsgd

NAME = "step_instability"
#: Departure of the factor of a single step from the predicted one that the tests must be able to see: this share of the
#: growth, or of the step where that is more.
RESOLUTION, LEAST_RESOLUTION = 0.25, 0.1


class Steps(NamedTuple):
    """Steps of one size, None levels for SGD, and what theory says of them."""

    name: str
    levels: int | None
    omega: float
    step: float
    limit: float  # the longest step, 1/A_q
    growth: float  # factor on the mean square error

    @property
    def words(self) -> str:
        """What they are, for readers."""
        return "SGD" if self.levels is None else f"QSGD, s = {self.levels}, omega = {self.omega:.3g}"

    @property
    def side(self) -> dict[str, float]:
        """The bound of a quantity that is 1 where the error stays the same, on the side that theory says."""
        return {"least": 1.0} if self.growth > 1 else {"most": 1.0}


def _known(section: Mapping[str, Any], levels: int | None) -> dict[str, Any]:
    """Return what theory takes beside the step."""
    d = section["dimension"]
    omega = omega_of(sgd_or_qsgd(section, levels), d)
    return {"d": d, "m": section["mini_batch"], "workers": section["workers"], "omega": omega}


def _steps(section: Mapping[str, Any], name: str, levels: int | None, step: float) -> Steps:
    known = _known(section, levels)
    growth = theory.contraction(step=step, **known)
    return Steps(name, levels, known["omega"], step, theory.stability_limit(**known), growth)


def unadapted(section: Mapping[str, Any]) -> list[Steps]:
    """Return QSGD at SGD's optimal step, for each number of levels."""
    step = theory.optimal_step(**_known(section, None))
    return [_steps(section, f"sgd-step-s{levels}", levels, step) for levels in section["levels"]]


def adapted(section: Mapping[str, Any]) -> list[Steps]:
    """Return QSGD at the step that follows omega, for each number of levels."""
    best = {levels: theory.optimal_step(**_known(section, levels)) for levels in section["levels"]}
    return [_steps(section, f"own-step-s{levels}", levels, step) for levels, step in best.items()]


def limits(section: Mapping[str, Any]) -> list[Steps]:
    """Return SGD and QSGD at fractions of the longest step."""
    longest = {levels: theory.stability_limit(**_known(section, levels)) for levels in (None, *section["levels"])}
    return [
        _steps(section, f"limit-{factor:g}-{'sgd' if levels is None else f's{levels}'}", levels, factor * limit)
        for levels, limit in longest.items()
        for factor in section["factors"]
    ]


class StepInstability:
    """The experiment ``step_instability``."""

    NAME = NAME
    TITLE = "Steps that are too long for the quantizer"
    QUESTION = "Does QSGD diverge at the step of SGD, and is 1/A_q the longest step there is?"
    PREDICTION = (
        "the mean square error grows by 1 - step + step^2 A_q a step (theory.contraction): above 1 at the optimal "
        "step of SGD where omega is above about 1, and at any step above 1/A_q (theory.stability_limit)"
    )
    TIMED = False
    TABLES = ("curves", "growth")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return runs at both steps, and single steps at SGD's and around the limit."""
        section = config[NAME]
        shown, at_limit = section["shown"], limits(section)
        # Near the limit the factor departs from 1 by a share of 1/A_q, and its spread is about sqrt(4 / (d A_q)): to
        # tell them apart takes single steps in proportion to A_q.
        count = {steps.name: math.ceil(section["limit_steps"] * at_limit[0].limit / steps.limit) for steps in at_limit}
        return [
            *(_run(section, steps, section["trials"]) for steps in unadapted(section)),
            *(_run(section, steps, shown) for steps in adapted(section)),
            *(_single(section, steps, section["steps"]) for steps in unadapted(section)),
            *(_single(section, steps, count[steps.name]) for steps in at_limit),
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Test the signs of growth, and the growth at SGD's step against the prediction."""
        section, settings = config[NAME], {setting.name: setting for setting in self.settings(config)}
        at_sgd, own, at_limit = unadapted(section), adapted(section), limits(section)
        level = {"confidence": shared(2 * len(at_sgd) + len(at_limit))}
        wrong: list[Verdict] = []
        fast: list[Verdict] = []
        curves, rows = [], []
        for steps in at_sgd:
            run, single = f"run-{steps.name}", f"single-{steps.name}"
            wrong.append(_sign_test(steps, results[run].table, evidence=settings[run].evidence, **level))
            wrong.append(_growth_test(steps, results[single].table, evidence=settings[single].evidence, **level))
        for steps in at_limit:
            single = f"single-{steps.name}"
            fast.append(_limit_test(steps, results[single].table, evidence=settings[single].evidence, **level))
        for steps in own:
            run = f"run-{steps.name}"
            fast.append(_falls(steps, results[run].table, settings[run].evidence))
        for steps in (*at_sgd, *at_limit):
            factors = results[f"single-{steps.name}"].table["factor"]
            rows.append((*steps[:-1], len(factors), *mean_over(factors, 1.0, **level), steps.growth))
        for rule, runs in (("sgd", at_sgd), ("own", own)):
            curves += [_curve(section, steps, results[f"run-{steps.name}"].table).assign(rule=rule) for steps in runs]
        columns = ["name", "levels", "omega", "step", "limit", "single_steps", "mean", "low", "high", "predicted"]
        growth = pd.DataFrame(rows, columns=columns)
        tables = {
            "curves": pd.concat(curves, ignore_index=True),
            "growth": growth.assign(levels=growth["levels"].astype("Int64")),
        }
        line = (
            f"d = {section['dimension']}, m = {section['mini_batch']}, K = {section['workers']}, s in "
            f"{section['levels']}, fresh samples; runs from w0 with n/d = {section['ratio']:g}, {section['trials']} "
            f"trials, and {section['shown']} at the step that follows omega; {section['steps']} single steps at SGD's "
            f"step, and near 1/A_q {section['limit_steps']} times A_q over that of SGD; level {LEVEL:g} over all tests"
        )
        budget = f"{section['iterations']} iterations, relative error {section['tolerance']:g}, or divergence"
        return Judgement(line, budget, {Topic.UNADAPTED_STEP: wrong, Topic.FAST_CONVERGENCE: fast}, tables)


def _training(section: Mapping[str, Any], steps: Steps) -> dict[str, Any]:
    return {
        "compressor": sgd_or_qsgd(section, steps.levels),
        "workers": section["workers"],
        "batch_size": section["mini_batch"],
        "step_size": steps.step,
        "sampling": "fresh",
    }


def _run(section: Mapping[str, Any], steps: Steps, trials: int) -> Setting:
    taken = {key: section[key] for key in ("iterations", "tolerance", "record_every")}
    spec = {**_training(section, steps), **taken}
    return Setting(NAME, f"run-{steps.name}", planted(section), spec, trials, group="runs")


def _single(section: Mapping[str, Any], steps: Steps, count: int) -> Setting:
    name, spec = f"single-{steps.name}", {**_training(section, steps), "iterations": count}
    # With draws of their own, so that the tests are independent.
    return Setting(NAME, name, planted(section), spec, 1, "one_step", group="single-steps", stream=name)


def _changes(table: pd.DataFrame) -> np.ndarray:
    """Return for each trial its last error over its first."""
    ends = table.groupby("trial")["relative_error"].agg(["first", "last"])
    return np.asarray(ends["last"] / ends["first"])


def _sign_test(steps: Steps, table: pd.DataFrame, *, evidence: str, confidence: float) -> Verdict:
    changes = _changes(table)
    return judge(
        "share of runs at SGD's step whose error has grown",
        steps.words,
        proportion_interval(int((changes > 1).sum()), len(changes), confidence),
        **{side: bound / 2 for side, bound in steps.side.items()},
        trials=len(changes),
        evidence=evidence,
        confidence=confidence,
        note="A sign test. Runs end at the tolerance, at a thousandfold error, or with their budget.",
    )


def _growth_test(steps: Steps, table: pd.DataFrame, *, evidence: str, confidence: float) -> Verdict:
    factors = table["factor"].to_numpy()
    return vanishes(
        "factor on the mean square error in a step of SGD's length, less the prediction, over the step",
        steps.words,
        mean_over((factors - steps.growth) / steps.step, 1.0, confidence),
        resolution=max(RESOLUTION * abs(steps.growth - 1) / steps.step, LEAST_RESOLUTION),
        trials=len(factors),
        evidence=evidence,
        confidence=confidence,
        note="Single steps near w*. The factor is below 1 where omega is below about 1.",
    )


def _limit_test(steps: Steps, table: pd.DataFrame, *, evidence: str, confidence: float) -> Verdict:
    return judge(
        f"factor on the mean square error in a step of {steps.step / steps.limit:.3g} / A_q",
        steps.words,
        mean_over(table["factor"], 1.0, confidence),
        **steps.side,
        trials=len(table),
        evidence=evidence,
        confidence=confidence,
        note="Single steps near w*: a run goes by the mean logarithm, which is lower.",
    )


def _falls(steps: Steps, table: pd.DataFrame, evidence: str) -> Verdict:
    changes = _changes(table)
    statistic = "at the step that follows omega the error has fallen in every trial"
    return exactly(statistic, steps.words, bool((changes < 1).all()), trials=len(changes), evidence=evidence)


def _curve(section: Mapping[str, Any], steps: Steps, table: pd.DataFrame) -> pd.DataFrame:
    """Return the typical curve of runs, with the predicted one from w0."""
    curve = typical_curve(table)
    square, inner = theory.initial_moments(**planted(section))
    iterations = curve["iteration"].to_numpy()
    predicted = theory.global_curve(
        step=steps.step,
        iterations=int(iterations.max()),
        norm_squared=square,
        inner=inner,
        **_known(section, steps.levels),
    )
    return curve.assign(levels=steps.levels, predicted=on_grid(predicted, iterations))
