"""Bytes and iterations to the same error: every compressor, with and without error feedback, against prediction.

All runs have the same data and start. Each is at the step that theory has as the best for its compressor, its exchange
and error feedback, or at one that the configuration gives, in units of SGD's own. Where no prediction holds several
steps are run, and the fewest iterations among them are shown with what all of them took.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, describe, exactly, judge
from relufit.exchange import BASELINE, find_exchange
from relufit.experiments.bits_frontier.runs import NAME, Run, all_runs, runs_of, scaled_pairs
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.experiments.framework.curves import ends
from relufit.experiments.framework.quantized import (
    Spectrum,
    best_step,
    expected_iterations,
    expected_sent,
    iterations_with_variance,
    judge_ratio,
    make,
    planted,
    spectra_of,
    training,
)

#: Tolerance of iterations, of bytes and of their ratio to SGD, against the prediction.
TOLERANCE = 0.07
#: So many times the iterations of SGD in fp32 may signs with error feedback take at SGD's own step.
MOST_SLOWER = 1.1
#: Omega of the unbiased compressors on the limiting curve.
_OMEGAS = np.geomspace(0.05, 20, 24)


class BitsFrontier:
    """The experiment ``bits_frontier``."""

    NAME = NAME
    TITLE = "Bytes and iterations of every compressor"
    QUESTION = "Which compressor comes to the same error with the fewest bytes, and what does error feedback change?"
    PREDICTION = (
        "iterations by the recursion of the second moments over the spectrum of each trial's own data: with omega of "
        "an unbiased compressor (theory.fixed_data_curve), or with the residuals of error feedback "
        "(theory.feedback_curve), of the gradients and of their sum where that is encoded too; times the expected "
        "length of a payload"
    )
    TIMED = False
    TABLES = ("methods", "search", "limit")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each run; all share their data.

        A job has those of one exchange and mini-batch with error feedback, or those without.
        """
        section = config[NAME]
        return [
            Setting(
                NAME,
                run.name,
                planted(section),
                {
                    **training({**section, "mini_batch": run.mini_batch}, run.compressor),
                    "step_size": "optimal" if run.factor is None else run.factor * _own_step(section, run),
                    "exchange": run.exchange,
                    "error_feedback": run.error_feedback,
                },
                section["trials"],
                group=run.group,
            )
            for run in all_runs(section)
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Hold iterations and bytes against their predictions, and signs against SGD in fp32."""
        section, settings = config[NAME], {setting.name: setting for setting in self.settings(config)}
        fixed, trials = section["sampling"] != "fresh", section["trials"]
        spectra = spectra_of(list(settings.values()), config["seed"]) if fixed else [None] * trials
        judging = _Judging(section, settings, results, spectra)
        for run in runs_of(section):
            judging.add(run)
        for unscaled, scaled in scaled_pairs(section):
            judging.add_pair(unscaled, scaled)
        limit = _limit(section)
        judging.add_limit(limit)
        said = (
            f"d = {section['dimension']}, n/d = {section['ratio']:g}, K = {section['workers']}, m in "
            f"{section['mini_batches']}, {section['sampling']}, exchanges {', '.join(section['exchanges'])}; steps are "
            f"the best by prediction, or in units of SGD's own where that is said; {trials} trials"
        )
        budget = budget_of(section)
        tables = {"methods": judging.methods(), "search": judging.searched(), "limit": limit}
        return Judgement(said, budget, judging.verdicts, tables)


class _Judging:
    """The verdicts and tables, as runs are added."""

    def __init__(
        self,
        section: Mapping[str, Any],
        settings: Mapping[str, Setting],
        results: Mapping[str, Record],
        spectra: Sequence[Spectrum | None],
    ) -> None:
        self._section, self._settings, self._results, self._spectra = section, settings, results, spectra
        self.verdicts: dict[Topic, list[Verdict]] = {
            Topic.BITS_FRONTIER: [],
            Topic.ERROR_FEEDBACK: [],
            Topic.UNSCALED_FEEDBACK: [],
        }
        self._rows, self._steps = list[dict[str, Any]](), list[dict[str, Any]]()
        # Those of SGD in fp32 come first.
        self._sgd: dict[tuple[str, int], tuple[pd.Series, pd.Series]] = {}
        #: Predictions by the names of runs: some are asked for more than once.
        self._predicted: dict[str, tuple[pd.Series, pd.Series]] = {}

    def add(self, run: Run) -> None:
        """Hold a run against its prediction; SGD in fp32 comes before the others of its exchange and mini-batch."""
        took, sent = self._ends(run)
        due, due_sent = self._due(run)
        if run.is_baseline:
            self._sgd[run.exchange, run.mini_batch] = sent, due_sent
        if run.searched:
            self._steps.append(self._row(run, took, sent, due, due_sent))
            return
        self._rows.append(self._row(run, took, sent, due, due_sent))
        verdicts, setting = self.verdicts[Topic.BITS_FRONTIER], self._settings[run.name]
        verdicts.append(judge_ratio(self._to_the_error("iterations"), run.words, setting, took / due, TOLERANCE))
        if not (run.is_baseline and run.exchange == BASELINE):
            fewest, due_fewest = self._sgd[BASELINE, run.mini_batch]
            saving = due_fewest / due_sent
            verdicts.append(
                judge_ratio(
                    "bytes that a rank sends in fp32 by all-reduce over those here, over the prediction",
                    run.words,
                    setting,
                    fewest / sent / saving,
                    TOLERANCE,
                    f"The prediction is {float(saving.mean()):.3g}.",
                )
            )
        if run.error_feedback and run.factor == 1 and run.mini_batch == min(self._section["mini_batches"]):
            plain = Run({"name": "fp32"}, run.exchange, run.mini_batch)
            slower = took / self._ends(plain)[0]
            self.verdicts[Topic.ERROR_FEEDBACK].append(
                judge(
                    "iterations with error feedback over those of SGD in fp32, at the same step",
                    run.words,
                    mean_interval(slower),
                    most=MOST_SLOWER,
                    trials=setting.trials,
                    evidence=setting.evidence,
                    note=f"The prediction is {float((due / self._due(plain)[0]).mean()):.3g}.",
                )
            )

    def add_pair(self, unscaled: Run, scaled: Run) -> None:
        """Judge whether QSGD with error feedback diverges, and converges when it is scaled, at the same step."""
        verdicts, setting = self.verdicts[Topic.UNSCALED_FEEDBACK], self._settings[unscaled.name]
        errors = self._results[unscaled.name].table.groupby("trial")["relative_error"]
        grown = bool((errors.last() > errors.first()).all())
        omega = make(unscaled.compressor).variance(self._section["dimension"])
        note = f"omega = {omega:.3g}; the step is the best one of the scaled code."
        verdicts.append(
            exactly(
                "the error has grown in every run of QSGD with error feedback",
                unscaled.words,
                grown,
                trials=setting.trials,
                evidence=setting.evidence,
                note=note,
            )
        )
        took = self._ends(scaled)[0]
        verdicts.append(
            judge_ratio(
                self._to_the_error("iterations"),
                scaled.words,
                self._settings[scaled.name],
                took / self._due(scaled)[0],
                TOLERANCE,
            )
        )

    def add_limit(self, limit: pd.DataFrame) -> None:
        """Hold the fewest bytes with error feedback against the least of unbiased codes, with the least mini-batch."""
        m = min(self._section["mini_batches"])
        for exchange, rows in limit[limit["mini_batch"] == m].groupby("exchange", sort=False):
            fed_back = [
                run
                for run in runs_of(self._section)
                if run.error_feedback and not run.searched and (run.exchange, run.mini_batch) == (exchange, m)
            ]
            if not fed_back:
                continue
            run = min(fed_back, key=lambda run: float(self._due(run)[1].mean()))
            least, setting = float(rows["sent"].min()), self._settings[run.name]
            due = float(self._due(run)[1].mean()) / least
            told: dict[str, Any] = {
                "trials": setting.trials,
                "evidence": setting.evidence,
                "note": f"The method with the fewest bytes by prediction; the prediction is {due:.3g}.",
            }
            statistic = f"bytes over the least of an unbiased code without memory, omega up to {_OMEGAS[-1]:g}"
            ratio = mean_interval(self._ends(run)[1] / least)
            # Judged is the side of 1 that theory says, where it is far enough from 1 to tell.
            if abs(due - 1) < TOLERANCE:
                verdict = describe(statistic, run.words, ratio, **told)
            else:
                least_side, most_side = (-math.inf, 1.0) if due < 1 else (1.0, math.inf)
                verdict = judge(statistic, run.words, ratio, least=least_side, most=most_side, **told)
            self.verdicts[Topic.BITS_FRONTIER].append(verdict)

    def methods(self) -> pd.DataFrame:
        """Return a row a method, in an exchange and with a mini-batch: of those that were searched, the best step."""
        best = pd.DataFrame(self._steps)
        if not best.empty:
            # A step at which a trial did not come to the tolerance is worse than any other.
            first = best.fillna({"iterations": np.inf}).sort_values("iterations", kind="stable").index
            best = best.loc[first].drop_duplicates(["method", "exchange", "mini_batch"])
        return pd.concat([pd.DataFrame(self._rows), best], ignore_index=True)

    def searched(self) -> pd.DataFrame:
        """Return a row for each step that was tried."""
        return pd.DataFrame(self._steps, columns=list(self._rows[0]))

    def _to_the_error(self, what: str) -> str:
        return f"{what} to {self._section['tolerance']:g} over the prediction"

    def _ends(self, run: Run) -> tuple[pd.Series, pd.Series]:
        """Return iterations, and bytes that a rank has sent, by trial, NaN where one has not converged."""
        last = ends(self._results[run.name], self._section["tolerance"])
        return last["iterations"], last["uplink_bytes"] / self._section["workers"]

    def _due(self, run: Run) -> tuple[pd.Series, pd.Series]:
        """Return the predictions of both, NaN where there is none."""
        if run.name not in self._predicted:
            self._predicted[run.name] = self._predict(run)
        return self._predicted[run.name]

    def _predict(self, run: Run) -> tuple[pd.Series, pd.Series]:
        section = {**self._section, "mini_batch": run.mini_batch}
        if run.searched:
            due = pd.Series(np.nan, index=range(len(self._spectra)))
        else:
            step = None if run.factor is None else run.factor * _own_step(self._section, run)
            due = pd.Series([expected_iterations(section, run.method(step), spectrum) for spectrum in self._spectra])
        return due, expected_sent(section, run.compressor, run.exchange, due)

    def _row(self, run: Run, took: pd.Series, sent: pd.Series, due: pd.Series, due_sent: pd.Series) -> dict[str, Any]:
        row: dict[str, Any] = {
            "method": run.label,
            "compressor": run.compressor["name"],
            "exchange": run.exchange,
            "mini_batch": run.mini_batch,
            "error_feedback": run.error_feedback,
            "step_factor": run.factor,
        }
        if run.factor is None:
            section = {**self._section, "mini_batch": run.mini_batch}
            row["step_factor"] = best_step(section, run.method(None)) / _own_step(section, run)
        for quantity, measured, expected in (("iterations", took, due), ("sent", sent, due_sent)):
            mean, low, high = mean_interval(measured)
            row |= {quantity: mean, f"{quantity}_low": low, f"{quantity}_high": high}
            row[f"{quantity}_predicted"] = float(expected.mean())
        for gain, exchange in (("same_exchange", run.exchange), (BASELINE, BASELINE)):
            plain = self._sgd[exchange, run.mini_batch][0]
            row[f"fewer_than_fp32_{gain}"] = float(np.mean(plain / sent))
        return row


def _own_step(section: Mapping[str, Any], run: Run) -> float:
    """Return SGD's own step at the mini-batch of a run."""
    return theory.optimal_step(section["dimension"], run.mini_batch, workers=section["workers"])


def _limit(section: Mapping[str, Any]) -> pd.DataFrame:
    """Return the least bytes of unbiased codes without memory, by their predicted iterations.

    Only in exchanges that add what was encoded: the bound is on one encoding.
    """
    d, rows = section["dimension"], []
    for exchange in section["exchanges"]:
        way = find_exchange(exchange)
        if way.parts(d, section["workers"]) is not None:
            continue
        copies = way.copies(section["workers"])[0]
        for m in section["mini_batches"]:
            for omega in _OMEGAS:
                iterations = iterations_with_variance({**section, "mini_batch": m}, float(omega))
                sent = copies * iterations * theory.rate_distortion_bits(float(omega)) * d / 8
                rows.append((exchange, m, float(omega), iterations, sent))
    table = pd.DataFrame(rows, columns=["exchange", "mini_batch", "omega", "iterations", "sent"])
    return table.dropna(ignore_index=True)
