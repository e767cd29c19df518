"""The rate of SGD: with other inputs, and with steps that are longer or shorter than the best one."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy

from relufit import theory
from relufit.claims.statistics import line_fit, mean_interval
from relufit.claims.verdict import judge
from relufit.experiments.ablation_base import (
    LINE,
    Run,
    Section,
    Shown,
    evidence,
    known,
    run,
    sgd_and_qsgd,
    verdict,
)
from relufit.experiments.batch_scaling import slopes

#: Correlated inputs are called slower up to this share of the rate of independent ones.
SLOWER = 0.9
#: Relative error below which slopes are taken: above it, the active rows of w and of w* differ.
BAND = 1e-2
_POINTS = 60
#: The inputs that are correlated, and the correlation of neighbouring coordinates.
_CORRELATED = {"autoregressive": 0.5}


class Inputs:
    """The part ``inputs``: other distributions, at the step that is best for Gaussian ones, on one rank."""

    def runs(self, section: Section) -> list[Run]:
        """Return SGD for each distribution."""
        return [run(section, f"inputs-{its}", {"name": "fp64"}, inputs=its, workers=1) for its in section["inputs"]]

    def show(self, section: Section, tables: Mapping[str, pd.DataFrame]) -> Shown:
        """Compare slopes with that predicted for Gaussian inputs, of correlated ones with their own."""
        d, m = section["dimension"], section["mini_batch"]
        gaussian = math.log(theory.contraction(d, m, theory.optimal_step(d, m)))
        rows, verdicts = [], []
        for inputs in section["inputs"]:
            name, found = f"inputs-{inputs}", slopes(tables[f"inputs-{inputs}"], BAND)
            expected, source = gaussian, "prediction for Gaussian inputs"
            if inputs in _CORRELATED:
                expected, source = _slope(section, _CORRELATED[inputs]), "recursion over the spectrum of the covariance"
                slower = judge(
                    "slope of ln error over the prediction for Gaussian inputs",
                    name,
                    mean_interval(found / gaussian),
                    most=SLOWER,
                    trials=len(found),
                    evidence=evidence("inputs"),
                    note="Correlated inputs converge more slowly: directions of little variance come last.",
                )
                verdicts.append(slower)
            verdicts.append(verdict(f"slope of ln error over the {source}", "inputs", name, found / expected))
            rows.append((inputs, *mean_interval(found / gaussian), expected / gaussian))
        table = pd.DataFrame(rows, columns=["inputs", "mean", "low", "high", "predicted"])
        return Shown(table, pd.DataFrame([], columns=LINE), {"other inputs": verdicts})


def _slope(section: Section, correlation: float) -> float:
    """Return the predicted slope of ln err^2 below `BAND` for inputs with covariance ``correlation^|i - j|``.

    By symmetry half of the samples are active in every direction of w*, so that H is half of the covariance; fresh
    samples follow the recursion over its spectrum as rows with replacement do over that of a data set.
    """
    d, m = section["dimension"], section["mini_batch"]
    eigenvalues = np.maximum(scipy.linalg.eigvalsh(scipy.linalg.toeplitz(correlation ** np.arange(d))), 0) / 2
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
        """Compare slopes with the logarithm of the contraction at each step."""
        rows, verdicts, lines = [], [], []
        for kind, factors in section["step_factors"].items():
            for factor in factors:
                found, expected = slopes(tables[_name(kind, factor)], BAND), _rate(section, kind, factor)
                rows.append((kind, factor, *mean_interval(-found), -expected))
                statistic = "slope of ln error over the logarithm of the contraction"
                verdicts.append(verdict(statistic, "steps", _name(kind, factor), found / expected))
            lines += [(kind, f, -_rate(section, kind, f)) for f in np.linspace(0, 2, _POINTS).tolist()]
        table = pd.DataFrame(rows, columns=["series", "factor", "mean", "low", "high", "predicted"])
        return Shown(table, pd.DataFrame(lines, columns=LINE), {"geometric rate": verdicts})


def _name(kind: str, factor: float) -> str:
    return f"step-{factor:g}-{kind}"


def _best(section: Section, kind: str) -> float:
    return theory.optimal_step(**known(section, sgd_and_qsgd(section)[kind]))


def _rate(section: Section, kind: str, factor: float) -> float:
    its = known(section, sgd_and_qsgd(section)[kind])
    return math.log(theory.contraction(step=factor * _best(section, kind), **its))
