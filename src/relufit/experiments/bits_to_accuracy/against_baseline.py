"""Verdicts on bytes against the baseline that counts: SGD in fp32 by all-reduce.

Its bytes are counted and not sent: iterations of SGD in fp32 were measured, in the exchange that runs, and all-reduce
adds the same gradients; it rounds their sums to fp32 once more, which is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from relufit.claims.statistics import Interval, mean_interval
from relufit.claims.verdict import Verdict, describe, judge
from relufit.exchange import EXCHANGES
from relufit.experiments.bits_to_accuracy.by_ranks import RANKS, by_ranks, vanishes_at
from relufit.experiments.bits_to_accuracy.runs import Bytes, Found, expected_baseline, expected_bytes
from relufit.experiments.framework.base import Setting

#: Exchanges of `COUNTED` in which gains are stated, in words.
_EXCHANGES = {
    "model_all_gather": "an all-gather",
    "model_relay": "a relay",
    "master_fp64": "a master that sends the weights back in fp64",
}
_COUNTED = "Modelled: all-reduce was counted, in the measured iterations of SGD in fp32, and not run here."


class Run(NamedTuple):
    """Runs that are held against the baseline: their setting, the compressor, and their bytes."""

    setting: Setting
    compressor: dict[str, Any]
    sent: Bytes


def gains(measurements: Found, runs: Iterable[Run], tolerance: float) -> list[Verdict]:
    """Hold the gain of runs in each exchange against its prediction, and describe it; below 1 it is a loss."""
    verdicts, baseline = [], expected_baseline(measurements.section)
    for setting, compressor, sent in runs:
        for exchange, words in _EXCHANGES.items():
            gain = measurements.gain(exchange, sent)
            due = baseline / expected_bytes(measurements.section, compressor, exchange)
            statistic = f"bytes of SGD with fp32 by all-reduce over those of QSGD with {words}, to the same error"
            about: dict[str, Any] = {"trials": len(gain), "evidence": setting.evidence}
            loss = " Below 1: QSGD moves more bytes." if gain.mean() < 1 else ""
            verdicts += [
                judge(
                    f"{statistic}, over the prediction",
                    setting.name,
                    mean_interval(gain / due),
                    least=1 - tolerance,
                    most=1 + tolerance,
                    note=f"The prediction for {setting.name} is {due:.3g}. {_COUNTED}",
                    **about,
                ),
                describe(statistic, setting.name, mean_interval(gain), note=f"{_COUNTED}{loss}", **about),
            ]
    return verdicts


def rows_sent(measurements: Found, setting: Setting, sent: pd.Series) -> Verdict:
    """Describe the bytes of the baseline over those of rows that are sent once to one host."""
    gain = mean_interval(measurements.baseline().loc[sent.index] / sent)
    statistic = "bytes of SGD with fp32 by all-reduce over those of the active rows, sent once to one host"
    return describe(statistic, setting.name, gain, trials=len(sent), evidence=setting.evidence, note=_COUNTED)


def vanishing(section: Mapping[str, Any], evidence: str) -> list[Verdict]:
    """Describe at which number of ranks QSGD in an exchange saves nothing against the baseline."""
    table, verdicts = by_ranks(section), []
    for name, exchange in EXCHANGES.items():
        rows = table[table["exchange"] == name].set_index("workers")["baseline_saving"]
        first = vanishes_at(table, name)
        loss = f"{first} ranks are the fewest of those modelled at which it is lost" if first else "it is never lost"
        most = max(RANKS)
        verdicts.append(
            describe(
                f"bytes of SGD with fp32 by all-reduce over those of QSGD, K = {most}, {exchange.label}",
                "s = .6 sqrt(coordinates)",
                Interval(*3 * [float(rows[most])]),
                trials=0,
                evidence=evidence,
                note=f"Modelled, K from {min(RANKS)} to {most}: {rows.iloc[0]:.3g} at K = {rows.index[0]}; {loss}. All "
                "are in the table of ranks.",
            )
        )
    return verdicts
