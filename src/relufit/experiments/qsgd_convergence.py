"""QSGD against SGD: is the convergence kept, and what does it cost in iterations and bytes.

SGD and QSGD run on the same data with K ranks, each at the step that is optimal for its compressor's omega. The
number of iterations to the tolerance is compared with the recursion of the second moments over the limiting
spectrum of the data (with replacement) or with the one-step rate (fresh samples); no constant is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import Interval, mean_interval
from relufit.claims.verdict import Verdict, exactly, judge
from relufit.compression import Compressor, make_compressor
from relufit.compression.qsgd import QSGD
from relufit.experiments.base import Judgement, Setting
from relufit.experiments.curves import ends, on_grid, typical_curve
from relufit.records import Record

NAME = "qsgd_convergence"
TITLE = "QSGD keeps the convergence of SGD"
QUESTION = "How many more iterations does QSGD take than SGD, and how many bytes does it save on the way?"
PREDICTION = (
    "iterations by the recursion of the second moments over the limiting spectrum, omega of the compressor in it "
    "(theory.fixed_data_curve); bytes by the expected length of the code"
)
TIMED = False
#: Tolerance of the iterations against the prediction; how much slower than SGD is still "the same".
TOLERANCE, SAME = 0.07, 1.25
#: "Significantly" is read as: eight times fewer bytes than fp32; QSGD with an ideal code saves 13.8 times at most.
SIGNIFICANT = 8.0
#: The levels do not depend on the coding, nor do the weights: two trials show how long the other codes are.
_OTHER_TRIALS = 2
_SHORTEST_CURVE, _LEVELS_PREDICTED = 1024, 25


def compressors(section: Mapping[str, Any], plain: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the compressors of a section by the names of their settings.

    The plain ones come first, then QSGD in the section's coding, then in the others.
    """
    found: dict[str, dict[str, Any]] = {f"sgd-{name}": {"name": name} for name in plain}
    for coding in _all_codings(section):
        ending = "" if coding == section["coding"] else f"-{coding}"
        for levels in section["levels"]:
            found[f"qsgd-s{levels}{ending}"] = {**_qsgd(section, levels), "coding": coding}
    return found


def _all_codings(section: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([section["coding"], *section["other_codings"]]))


def _qsgd(section: Mapping[str, Any], levels: int) -> dict[str, Any]:
    coded = {"coding": section["coding"], "bucket_size": section["bucket_size"]}
    return {"name": "qsgd", "levels": levels, **coded}


def training(section: Mapping[str, Any], compressor: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of a section's runs with one compressor."""
    taken = ("workers", "iterations", "tolerance", "sampling", "record_every")
    return {
        "compressor": compressor,
        "batch_size": section["mini_batch"],
        "step_size": "optimal",
        **{key: section[key] for key in taken},
    }


def predicted_curve(section: Mapping[str, Any], compressor: dict[str, Any], iterations: int) -> np.ndarray:
    """Return the predicted squared relative errors of a section's runs with one compressor.

    The curve goes on until it comes down to the tolerance, `iterations` at the least and the budget at the most.
    """
    d, m, workers = section["dimension"], section["mini_batch"], section["workers"]
    omega = _make(compressor).variance(d) or 0.0
    step = theory.optimal_step(d, m, omega=omega, workers=workers)
    start = theory.initial_error(round(section["ratio"] * d), d)
    if section["sampling"] == "fresh":
        rate = theory.contraction(d, m, step, omega=omega, workers=workers)
        return start * rate ** np.arange(section["iterations"] + 1)
    eigenvalues, weights = theory.marchenko_pastur(section["ratio"])
    profile = theory.initial_profile(eigenvalues, weights)
    length = max(iterations, _SHORTEST_CURVE)
    while True:
        curve = theory.fixed_data_curve(
            eigenvalues,
            weights,
            d,
            m,
            step,
            min(length, section["iterations"]),
            initial_error_squared=profile * (start / profile.sum()),
            omega=omega,
            workers=workers,
        )
        if curve[-1] <= section["tolerance"] ** 2 or length >= section["iterations"]:
            return curve
        length *= 2


def _make(compressor: dict[str, Any]) -> Compressor:
    parameters = dict(compressor)
    return make_compressor(parameters.pop("name"), **parameters)


def _predictions(section: Mapping[str, Any]) -> pd.DataFrame:
    """Return for each coding, over the whole range of levels, what is expected.

    Columns: the iterations; the bits of a payload over its coordinates; the bytes saved against fp32.
    """
    d, wanted = section["dimension"], section["levels"]
    single = _due(section, {"name": "fp32"}) * 4 * d + 8 * d
    rows = []
    for levels in np.unique(np.geomspace(min(wanted), max(wanted), _LEVELS_PREDICTED).round().astype(int)):
        compressor = _qsgd(section, int(levels))
        due = _due(section, compressor)
        for coding in _all_codings(section):
            quantizer = _make({**compressor, "coding": coding})
            assert isinstance(quantizer, QSGD)
            bits = quantizer.expected_bits(d)
            rows.append((coding, levels, due, bits / d, single / (due * bits / 8 + 8 * d)))
    return pd.DataFrame(rows, columns=["coding", "levels", "iterations", "bits", "saving"])


def _due(section: Mapping[str, Any], compressor: dict[str, Any]) -> float:
    return theory.iterations_to(predicted_curve(section, compressor, 0), section["tolerance"])


class QsgdConvergence:
    """The experiment ``qsgd_convergence``."""

    NAME, TITLE, QUESTION, PREDICTION, TIMED = NAME, TITLE, QUESTION, PREDICTION, TIMED
    TABLES = ("curves", "summary", "codings", "predictions")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each compressor."""
        section = config[NAME]
        d = section["dimension"]
        data = {"n": round(section["ratio"] * d), "d": d}
        return [
            Setting(NAME, name, data, training(section, compressor), _trials(section, compressor))
            for name, compressor in compressors(section, ("fp64", "fp32")).items()
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare iterations with prediction and SGD, and bytes with fp32."""
        section = config[NAME]
        single = {**section, "other_codings": []}
        reached = {name: ends(record, section["tolerance"]) for name, record in results.items()}
        fast: list[Verdict] = []
        cheap: list[Verdict] = []
        rows, curves = [], []
        for name, compressor in compressors(single, ("fp64", "fp32")).items():
            evidence, trials = f"traces/{NAME}/{name}.parquet", section["trials"]
            predicted = predicted_curve(section, compressor, int(results[name].table["iteration"].max()))
            due = theory.iterations_to(predicted, section["tolerance"])
            took = reached[name]["iterations"]
            fast.append(
                judge(
                    f"iterations to {section['tolerance']:g} over the prediction",
                    name,
                    mean_interval(took / due),
                    least=1 - TOLERANCE,
                    most=1 + TOLERANCE,
                    trials=trials,
                    evidence=evidence,
                )
            )
            slower = mean_interval(took / reached["sgd-fp64"]["iterations"])
            saving = mean_interval(reached["sgd-fp32"]["uplink_bytes"] / reached[name]["uplink_bytes"])
            levels = compressor.get("levels", math.nan)
            if levels >= math.sqrt(section["dimension"]):
                fast.append(
                    judge(
                        "iterations over those of SGD",
                        name,
                        slower,
                        most=SAME,
                        trials=trials,
                        evidence=evidence,
                        note="QSGD is held to the speed of SGD from s = sqrt(d) on; fewer levels cost iterations "
                        "as theory predicts. Every step follows omega; SGD's own step would diverge for small s.",
                    )
                )
            if compressor["name"] == "qsgd":
                cheap.append(_saving_verdict(name, saving, trials, evidence))
            curve = typical_curve(results[name].table)
            curves.append(curve.assign(setting=name, predicted=on_grid(predicted, curve["iteration"].to_numpy())))
            columns = ("iterations", "slower", "saving")
            for column, interval in zip(columns, (mean_interval(took), slower, saving), strict=True):
                rows.append((name, levels, column, *interval, due if column == "iterations" else math.nan))
        best = [max(cheap, key=lambda verdict: verdict.value)] if cheap else []
        setting = (
            f"d = {section['dimension']}, n/d = {section['ratio']:g}, K = {section['workers']}, "
            f"m = {section['mini_batch']}, {section['sampling']}, coding {section['coding']}, optimal step for each "
            f"omega, {section['trials']} trials"
        )
        codings, same = _codings(section, results, reached)
        summary = pd.DataFrame(rows, columns=["setting", "levels", "quantity", "mean", "low", "high", "predicted"])
        tables = {
            "curves": pd.concat(curves),
            "summary": summary,
            "codings": codings,
            "predictions": _predictions(section),
        }
        budget = f"{section['iterations']} iterations to relative error {section['tolerance']:g}"
        return Judgement(setting, budget, {"fast convergence": fast, "communication": best + same}, tables)


def _trials(section: Mapping[str, Any], compressor: dict[str, Any]) -> int:
    trials: int = section["trials"]
    return trials if compressor.get("coding", section["coding"]) == section["coding"] else min(trials, _OTHER_TRIALS)


def _codings(
    section: Mapping[str, Any], results: Mapping[str, Record], reached: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, list[Verdict]]:
    """Return what the levels cost in each coding, and whether the errors are the same numbers in all of them."""
    d, workers = section["dimension"], section["workers"]
    rows, same = [], True
    for name, compressor in compressors(section, ()).items():
        levels, coding = compressor["levels"], compressor["coding"]
        main = f"qsgd-s{levels}"
        table = results[name].table
        shared = results[main].table[results[main].table["trial"].isin(table["trial"])]
        same &= np.array_equal(table["relative_error"], shared["relative_error"])
        # In row 0 are the moments of the initial weights, once in double precision.
        first, last = (table.groupby("trial")[["iteration", "uplink_bytes"]].agg(which) for which in ("first", "last"))
        moments = float(first["uplink_bytes"].mean())
        cost = float((8 * (last["uplink_bytes"] - moments) / (last["iteration"] * workers * d)).mean())
        sent = workers * d * reached[main]["iterations"] * cost / 8 + moments
        saving = mean_interval(reached["sgd-fp32"]["uplink_bytes"] / sent)
        rows.append((coding, levels, cost, theory.level_entropy(section["bucket_size"] or d, levels), *saving))
    verdict = exactly(
        "the errors are the same numbers in every coding",
        "all levels",
        bool(same),
        trials=min(section["trials"], _OTHER_TRIALS),
        evidence=f"tables/{NAME}.codings.csv",
    )
    columns = ["coding", "levels", "bits", "entropy", "saving", "low", "high"]
    return pd.DataFrame(rows, columns=columns), [verdict] if len(_all_codings(section)) > 1 else []


def _saving_verdict(name: str, saving: Interval, trials: int, evidence: str) -> Verdict:
    return judge(
        "uplink bytes of SGD with fp32 over those of QSGD, to the same error",
        name,
        saving,
        least=SIGNIFICANT,
        trials=trials,
        evidence=evidence,
        note="The best number of levels is judged; all are in the table. Uplink alone: with "
        "the weights sent back in fp64 by a master the downlink is not compressed.",
    )
