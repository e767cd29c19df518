"""QSGD against SGD: is the convergence kept, and what does it cost in iterations.

SGD and QSGD run on the same data with K ranks, each at the step that is optimal for its compressor's omega. The
number of iterations to the tolerance is compared with the recursion of the second moments over the spectrum of each
trial's own data (with replacement) or with the one-step rate (fresh samples); no constant is fitted. Figures show the
recursion over the limiting spectrum, which knows nothing of the data. The weights do not depend on how levels are
coded, and the coding is the fastest; bytes are the matter of `bits_to_accuracy`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, judge
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.experiments.framework.curves import ends, on_grid, typical_curve
from relufit.experiments.framework.quantized import (
    Method,
    expected_iterations,
    max_norm,
    planted,
    predicted_curve,
    qsgd,
    spectra_of,
    training,
    trials_of,
)

NAME = "qsgd_convergence"
#: Tolerance of the iterations against the prediction; how much slower than SGD is still "the same".
TOLERANCE, SAME = 0.07, 1.25
_CODING, _LEVELS_PREDICTED = "packed", 25
_SGD = "sgd-fp64"


def _compressors(section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    quantized = {f"qsgd-s{levels}": qsgd(section, levels, _CODING) for levels in section["levels"]}
    maximal = {f"qsgd-max-s{levels}": max_norm(levels, _CODING) for levels in section["max_norm_levels"]}
    return {_SGD: {"name": "fp64"}, **quantized, **maximal}


def _levels(compressor: Mapping[str, Any]) -> float:
    """Return the levels of QSGD with the l2 norm, NaN of other compressors: the number by which figures order them."""
    return math.nan if compressor.get("norm") == "max" else float(compressor.get("levels", math.nan))


def _predictions(section: Mapping[str, Any]) -> pd.DataFrame:
    """Return the expected iterations over the whole range of levels."""
    wanted = section["levels"]
    levels = np.unique(np.geomspace(min(wanted), max(wanted), _LEVELS_PREDICTED).round().astype(int)).tolist()
    due = [expected_iterations(section, Method(qsgd(section, s, _CODING))) for s in levels]
    return pd.DataFrame({"levels": levels, "iterations": due})


class QsgdConvergence:
    """The experiment ``qsgd_convergence``."""

    NAME = NAME
    TITLE = "QSGD against SGD"
    QUESTION = "How many more iterations does QSGD take than SGD?"
    PREDICTION = (
        "iterations by the recursion of the second moments over the spectrum of each trial's own data, omega of the "
        "compressor in it (theory.fixed_data_curve)"
    )
    TIMED = False
    TABLES = ("curves", "summary", "predictions")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each compressor."""
        section = config[NAME]
        return [
            Setting(NAME, name, planted(section), training(section, compressor), trials_of(section, compressor))
            for name, compressor in _compressors(section).items()
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare iterations with prediction and with SGD."""
        section, settings = config[NAME], self.settings(config)
        fixed = section["sampling"] != "fresh"
        spectra = spectra_of(settings, config["seed"]) if fixed else [None] * section["trials"]
        sgd = ends(results[_SGD], section["tolerance"])["iterations"]
        verdicts: list[Verdict] = []
        curves, rows = [], []
        for setting in settings:
            name, table = setting.name, results[setting.name].table
            compressor = setting.spec["compressor"]
            levels = _levels(compressor)
            predicted = predicted_curve(section, Method(compressor), int(table["iteration"].max()))
            due = theory.iterations_to(predicted, section["tolerance"])
            took = ends(results[name], section["tolerance"])["iterations"]
            slower = took / sgd.loc[took.index]
            expected = [
                expected_iterations(section, Method(compressor), spectrum) for spectrum in spectra[: setting.trials]
            ]
            verdicts += _verdicts(section, setting, (took / expected).to_numpy(), slower.to_numpy())
            curve = typical_curve(table)
            curves.append(curve.assign(setting=name, predicted=on_grid(predicted, curve["iteration"].to_numpy())))
            rows.append((name, levels, "iterations", *mean_interval(took), due))
            rows.append((name, levels, "slower", *mean_interval(slower), math.nan))
        long = section["long_runs"]
        said = (
            f"d = {section['dimension']}, n/d = {section['ratio']:g}, K = {section['workers']}, "
            f"m = {section['mini_batch']}, {section['sampling']}, optimal step for each omega, {section['trials']} "
            f"trials, {long['trials']} where more than {long['iterations']} iterations are expected on fresh samples"
        )
        budget = budget_of(section)
        columns = ["setting", "levels", "quantity", "mean", "low", "high", "predicted"]
        tables = {
            "curves": pd.concat(curves),
            "summary": pd.DataFrame(rows, columns=columns),
            "predictions": _predictions(section),
        }
        return Judgement(said, budget, {Topic.FAST_CONVERGENCE: verdicts}, tables)


def _verdicts(section: Mapping[str, Any], setting: Setting, ratio: np.ndarray, slower: np.ndarray) -> list[Verdict]:
    verdicts = [
        judge(
            f"iterations to {section['tolerance']:g} over the prediction",
            setting.name,
            mean_interval(ratio),
            least=1 - TOLERANCE,
            most=1 + TOLERANCE,
            trials=len(ratio),
            evidence=setting.evidence,
        )
    ]
    compressor = setting.spec["compressor"]
    if compressor.get("norm") == "max" or _levels(compressor) >= math.sqrt(section["dimension"]):
        verdicts.append(
            judge(
                "iterations over those of SGD",
                setting.name,
                mean_interval(slower),
                most=SAME,
                trials=len(slower),
                evidence=setting.evidence,
                note="QSGD is held to the speed of SGD from s = sqrt(d) on, where omega is at most .17, and with the "
                "max norm; fewer levels of the l2 norm cost iterations as theory predicts. Every step follows omega; "
                "SGD's own step would diverge for small s.",
            )
        )
    return verdicts
