"""The rate of SGD: with other inputs, and with steps that are longer or shorter than the best one."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy

from relufit import theory
from relufit.claims.statistics import line_fit, mean_interval
from relufit.claims.topics import Topic
from relufit.claims.verdict import judge
from relufit.experiments.ablations.part import (
    LINE,
    TOLERANCE,
    Run,
    Section,
    Shown,
    evidence,
    known,
    run,
    sgd_and_qsgd,
    verdict,
)
from relufit.experiments.batch_scaling.experiment import slopes
from relufit.numerics.blas import one_blas_thread

#: Tolerance of slopes at steps up to 1.5 times the best one. Beyond, the rate is a small difference of large terms, and
#: that of `ablation_base.TOLERANCE` is taken.
TIGHT, LONGEST_TIGHT = 0.05, 1.5
#: Relative error below which slopes are taken: above it, the active rows of w and of w* differ.
BAND = 1e-2
_POINTS = 60
#: The inputs that are correlated, and the correlation of neighbouring coordinates; the kurtosis of the others.
_CORRELATED = {"autoregressive": 0.5}
_KURTOSIS = {"gaussian": 3.0, "rademacher": 1.0, "uniform": 1.8, "student_t5": 9.0}


class Inputs:
    """The part ``inputs``: other distributions, at the step that is best for Gaussian ones, on one rank."""

    def runs(self, section: Section) -> list[Run]:
        """Return SGD for each distribution."""
        return [
            run(section, f"inputs-{inputs}", {"name": "fp64"}, inputs=inputs, workers=1) for inputs in section["inputs"]
        ]

    def show(self, section: Section, tables: Mapping[str, pd.DataFrame]) -> Shown:
        """Compare slopes with those predicted for the kurtosis or the covariance, and with that of Gaussian inputs."""
        d, m = section["dimension"], section["mini_batch"]
        step = theory.optimal_step(d, m)
        gaussian = theory.log_contraction(d, m, step)
        rows, verdicts = [], []
        for inputs in section["inputs"]:
            name, trial_slopes = f"inputs-{inputs}", slopes(tables[f"inputs-{inputs}"], BAND)
            if inputs in _CORRELATED:
                expected, source = _slope(section, _CORRELATED[inputs]), "recursion over the spectrum of the covariance"
                tolerance = TOLERANCE
                slower = judge(
                    "slope of ln error over the prediction for Gaussian inputs",
                    name,
                    mean_interval(trial_slopes / gaussian),
                    most=1.0,
                    trials=len(trial_slopes),
                    evidence=evidence("inputs"),
                    note="Correlated inputs converge more slowly: directions of little variance come last.",
                )
                verdicts.append(slower)
            else:
                expected = theory.log_contraction(d, m, step, kurtosis=_KURTOSIS[inputs])
                source, tolerance = "prediction for their kurtosis", TIGHT
            statistic = f"slope of ln error over the {source}"
            verdicts.append(verdict(statistic, "inputs", name, trial_slopes / expected, tolerance=tolerance))
            rows.append((inputs, *mean_interval(trial_slopes / gaussian), expected / gaussian))
        table = pd.DataFrame(rows, columns=["inputs", "mean", "low", "high", "predicted"])
        return Shown(table, pd.DataFrame([], columns=LINE), {Topic.OTHER_INPUTS: verdicts})


def _slope(section: Section, correlation: float) -> float:
    """Return the predicted slope of ln err^2 below `BAND` for inputs with covariance ``correlation^|i - j|``.

    By symmetry half of the samples are active in every direction of w*, so that H is half of the covariance; fresh
    samples follow the recursion over its spectrum as rows with replacement do over that of a data set.
    """
    d, m = section["dimension"], section["mini_batch"]
    linalg = scipy.linalg  # imported here, by its first use
    with one_blas_thread():
        eigenvalues = np.maximum(linalg.eigvalsh(linalg.toeplitz(correlation ** np.arange(d))), 0) / 2
    even = np.full(d, 1 / d)
    curve = theory.fixed_data_curve(
        eigenvalues,
        even,
        d,
        m,
        theory.optimal_step(d, m),
        section["iterations"],
        initial_error_squared=theory.initial_profile(eigenvalues, even),
    )
    inside = np.flatnonzero((curve <= BAND**2) & (curve >= section["tolerance"] ** 2))
    return line_fit(inside, np.log(curve[inside])).slope if inside.size >= 3 else math.nan


class Steps:
    """The part ``steps``: multiples of the best step, of SGD and of QSGD."""

    def runs(self, section: Section) -> list[Run]:
        """Return SGD and QSGD for each multiple."""
        kinds = sgd_and_qsgd(section)
        return [
            run(section, _name(kind, factor), kinds[kind], step_size=factor * _best(section, kind))
            for kind, factors in section["step_factors"].items()
            for factor in factors
        ]

    def show(self, section: Section, tables: Mapping[str, pd.DataFrame]) -> Shown:
        """Compare slopes with the mean logarithm of the factor of a step."""
        rows, verdicts, lines = [], [], []
        for kind, factors in section["step_factors"].items():
            for factor in factors:
                trial_slopes, expected = slopes(tables[_name(kind, factor)], BAND), _rate(section, kind, factor)
                rows.append((kind, factor, *mean_interval(-trial_slopes), -expected))
                statistic = "slope of ln error over the mean logarithm of the factor"
                tolerance = TIGHT if factor <= LONGEST_TIGHT else TOLERANCE
                ratio = trial_slopes / expected
                verdicts.append(verdict(statistic, "steps", _name(kind, factor), ratio, tolerance=tolerance))
            lines += [(kind, f, -_rate(section, kind, f)) for f in np.linspace(0, 2, _POINTS).tolist()]
        table = pd.DataFrame(rows, columns=["series", "factor", "mean", "low", "high", "predicted"])
        return Shown(table, pd.DataFrame(lines, columns=LINE), {Topic.GEOMETRIC_RATE: verdicts})


def _name(kind: str, factor: float) -> str:
    return f"step-{factor:g}-{kind}"


def _best(section: Section, kind: str) -> float:
    return theory.optimal_step(**known(section, sgd_and_qsgd(section)[kind]))


def _rate(section: Section, kind: str, factor: float) -> float:
    arguments = known(section, sgd_and_qsgd(section)[kind])
    return theory.log_contraction(step=factor * _best(section, kind), **arguments)
