"""QSGD in exchanges that encode sums again: what the second encoding costs in iterations, and what it saves in bytes.

In ``all_reduce`` a rank sends ``2 (K - 1) / K`` of a payload in an iteration, whatever K is, and in ``requantize`` one,
the master K. The sum is encoded again for that, which adds the variance of that encoding (`sum_omega`): an iteration
takes off less of the error. Each run is at the step that is optimal for both variances. What counts is compared with
SGD in fp32 by ``all_reduce``, which has neither: the bytes that a rank sends until the tolerance. They include those of
the initial weights, which are sent in fp64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict
from relufit.errors import ConfigError
from relufit.exchange import BASELINE, EXCHANGES, find_exchange
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.experiments.framework.curves import ends, predicted_columns
from relufit.experiments.framework.quantized import (
    Method,
    expected_iterations,
    expected_sent,
    judge_ratio,
    planted,
    spectra_of,
    training,
)

NAME = "exchange_convergence"
#: Tolerance of iterations, of bytes and of their ratio to SGD, against the prediction.
TOLERANCE = 0.07
_SGD = f"sgd-fp32-{BASELINE}"


class Run(NamedTuple):
    """A compressor in an exchange."""

    exchange: str
    compressor: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its setting."""
        levels = self.compressor.get("levels")
        return f"{f'qsgd-s{levels}' if levels else 'sgd-' + self.compressor['name']}-{self.exchange}"


def runs(section: Mapping[str, Any]) -> list[Run]:
    """Return SGD in fp32 by all_reduce, and the runs of a section.

    Raises
    ------
    ConfigError
        If an exchange does not encode sums.
    """
    for nth, entry in enumerate(section["runs"]):
        if find_exchange(entry["exchange"]).parts(1, 1) is None:
            encoding = [name for name, exchange in EXCHANGES.items() if exchange.parts(1, 1) is not None]
            raise ConfigError(
                f"{entry['exchange']} does not encode sums",
                where=f"{NAME}.runs.{nth}.exchange",
                remedy=f"choose one of {', '.join(encoding)}",
            )
    quantized = [
        Run(entry["exchange"], {"name": "qsgd", "levels": entry["levels"], "coding": section["coding"]})
        for entry in section["runs"]
    ]
    return [Run(BASELINE, {"name": "fp32"}), *quantized]


class ExchangeConvergence:
    """The experiment ``exchange_convergence``."""

    NAME = NAME
    TITLE = "QSGD where sums are encoded again"
    QUESTION = "How many iterations and bytes does QSGD take where the sum of the gradients is encoded again?"
    PREDICTION = (
        "iterations by the recursion of the second moments over the spectrum of each trial's own data, with omega of "
        "the gradients and of their sum (theory.fixed_data_curve); in each iteration a rank sends 2 (K - 1)/K of a "
        "payload by all_reduce, and one by requantize"
    )
    TIMED = False
    TABLES = ("summary",)

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each run; they share their data."""
        section = config[NAME]
        return [
            Setting(
                NAME,
                run.name,
                planted(section),
                {**training(section, run.compressor), "exchange": run.exchange},
                section["trials"],
            )
            for run in runs(section)
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare iterations, bytes, and bytes against those of SGD with their predictions."""
        section, settings = config[NAME], {setting.name: setting for setting in self.settings(config)}
        fixed, trials = section["sampling"] != "fresh", section["trials"]
        spectra = spectra_of(list(settings.values()), config["seed"]) if fixed else [None] * trials
        last = {name: ends(record, section["tolerance"]) for name, record in results.items()}
        verdicts: dict[Topic, list[Verdict]] = {Topic.FAST_CONVERGENCE: [], Topic.COMMUNICATION: []}
        single, rows = _Bytes(), []
        for run in runs(section):
            method = Method(run.compressor, run.exchange)
            due = pd.Series([expected_iterations(section, method, spectrum) for spectrum in spectra])
            took = last[run.name]["iterations"]
            sent = last[run.name]["uplink_bytes"] / section["workers"]
            rank_bytes = _Bytes(sent, expected_sent(section, run.compressor, run.exchange, due))
            statistic = f"iterations to {section['tolerance']:g} over the prediction"
            verdicts[Topic.FAST_CONVERGENCE].append(
                judge_ratio(statistic, run.name, settings[run.name], took / due, TOLERANCE)
            )
            ratios = [("bytes that a rank sends over the prediction", sent / rank_bytes.expected, "")]
            if run.name == _SGD:
                single = rank_bytes
            else:
                saving = single.expected / rank_bytes.expected
                what = "bytes that a rank sends in fp32 by all_reduce over those of QSGD, over the prediction"
                ratios.append((what, single.sent / sent / saving, _note(run, float(saving.mean()), section["workers"])))
            verdicts[Topic.COMMUNICATION] += [
                judge_ratio(words, run.name, settings[run.name], values, TOLERANCE, note)
                for words, values, note in ratios
            ]
            due_here = expected_iterations(section, method)
            due_bytes = expected_sent(section, run.compressor, run.exchange, due_here)
            measured = (*mean_interval(took), due_here, *mean_interval(sent), due_bytes)
            rows.append((run.name, run.exchange, run.compressor.get("levels"), *measured))
        columns = ["setting", "exchange", "levels", *predicted_columns("iterations", "sent")]
        said = (
            f"d = {section['dimension']}, n/d = {section['ratio']:g}, K = {section['workers']}, "
            f"m = {section['mini_batch']}, {section['sampling']}, coding {section['coding']}, optimal step for both "
            f"variances, {trials} trials"
        )
        budget = budget_of(section)
        table = pd.DataFrame(rows, columns=columns)
        return Judgement(said, budget, verdicts, {"summary": table.astype({"levels": "Int64"})})


class _Bytes(NamedTuple):
    """What a rank sends until the tolerance, by trial, NaN where a trial did not come so far, and what it should."""

    sent: pd.Series = pd.Series(dtype=float)
    expected: pd.Series = pd.Series(dtype=float)


def _note(run: Run, saving: float, workers: int) -> str:
    first = f"The prediction is {saving:.3g} times fewer bytes than in fp32 by all_reduce."
    return first if run.exchange == BASELINE else f"{first} The master sends {workers} payloads an iteration."
