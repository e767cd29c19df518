"""Bytes of runs: what those of `bits_to_accuracy` sent, and what theory expects of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from relufit.claims.trace_files import Record
from relufit.compression.lengths import payload_bits
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.counted_exchanges import COUNTED, baseline_bytes, payload_bytes
from relufit.experiments.framework.curves import ends
from relufit.experiments.framework.quantized import Method, expected_iterations, make, max_norm

#: Tolerance of the length of a message. With the max norm the law of the levels varies with the largest coordinate, and
#: an entropy code that follows it is up to 1 % shorter than the mean law says, at d = 100.
LENGTH = {"l2": 0.01, "max": 0.02}
#: The setting that others are compared with: SGD in fp32.
SINGLE = "sgd-fp32"


class Bytes(NamedTuple):
    """What runs sent until the tolerance, by trial; NaN where they did not come so far.

    `uplink` includes the moments of the initial weights, once in double precision.
    """

    iterations: pd.Series
    uplink: pd.Series
    downlink: pd.Series


class Length(NamedTuple):
    """The length of messages: the mean `bits` of one by trial, over that number of `iterations`."""

    bits: pd.Series
    iterations: float


class Found(NamedTuple):
    """What the traces show: of whole runs; of each level and coding, the length of messages and the bytes of runs."""

    section: Mapping[str, Any]
    settings: dict[str, Setting]
    tables: dict[str, pd.DataFrame]
    runs: dict[str, Bytes]
    lengths: dict[tuple[int, str], Length]
    coded: dict[tuple[int, str], Bytes]

    @property
    def single(self) -> Bytes:
        """SGD in fp32."""
        return self.runs[SINGLE]

    def saving(self, run: Bytes) -> pd.Series:
        """Return how many times more bytes SGD in fp32 sends, by trial."""
        return self.single.uplink.loc[run.uplink.index] / run.uplink

    def baseline(self) -> pd.Series:
        """Return the bytes of SGD in fp32 by all-reduce, by trial: counted, in the iterations of SGD in fp32."""
        return baseline_bytes(self.single.iterations, self.section["workers"], self.section["dimension"])

    def gain(self, exchange: str, run: Bytes) -> pd.Series:
        """Return how many times more bytes SGD in fp32 by all-reduce sends than runs in an exchange, by trial."""
        sent = over(exchange, run, self.section)
        return self.baseline().loc[sent.index] / sent

    def cheapest(self) -> dict[int, str]:
        """Return the coding with the shortest messages for each number of levels."""
        return {
            s: min(self.section["codings"], key=lambda coding: float(self.lengths[s, coding].bits.mean()))
            for s in self.section["levels"]
        }

    def best(self) -> tuple[int, str]:
        """Return the levels and the coding that save the most; any where no run came to the tolerance."""
        saving = {pair: float(self.saving(run).mean()) for pair, run in self.coded.items()}
        return max(saving, key=lambda pair: -math.inf if math.isnan(saving[pair]) else saving[pair])

    def judged(self) -> tuple[int, str]:
        """Return the levels by which the claim is judged, those nearest to sqrt(d), and their cheapest coding."""
        middle = math.log(self.section["dimension"]) / 2
        levels = min(self.section["levels"], key=lambda s: abs(math.log(s) - middle))
        return levels, self.cheapest()[levels]

    def section_of(self, setting: Setting) -> dict[str, Any]:
        """Return the section with the mini-batch of a setting."""
        return {**self.section, "mini_batch": setting.spec["batch_size"]}


def qsgd_name(levels: int, coding: str) -> str:
    """Return the name of the setting of QSGD in a coding."""
    return f"qsgd-s{levels}-{coding}"


def max_norm_runs(section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return QSGD with the max norm, in the last of the codings, by the names of its settings."""
    coding = section["codings"][-1]
    return {f"qsgd-max-s{s}-{coding}": max_norm(s, coding) for s in section["max_norm_levels"]}


def find(
    section: Mapping[str, Any], settings: dict[str, Setting], whole: list[str], results: Mapping[str, Record]
) -> Found:
    """Return what the traces show, `whole` being the settings whose runs went on until the tolerance."""
    tables, workers = {name: record.table for name, record in results.items()}, section["workers"]
    runs = {name: _bytes_of(results[name], section["tolerance"]) for name in whole}
    lengths: dict[tuple[int, str], Length] = {}
    sent: dict[tuple[int, str], Bytes] = {}
    for s in section["levels"]:
        first, *others = section["codings"]
        lengths[s, first], sent[s, first] = length_of(tables[qsgd_name(s, first)], workers), runs[qsgd_name(s, first)]
        for coding in others:
            lengths[s, coding] = length_of(tables[qsgd_name(s, coding)], workers)
            sent[s, coding] = _coded(sent[s, first], tables[qsgd_name(s, first)], lengths[s, coding], workers)
    return Found(section, settings, tables, runs, lengths, sent)


def _bytes_of(record: Record, tolerance: float) -> Bytes:
    last = ends(record, tolerance)
    return Bytes(last["iterations"], last["uplink_bytes"], last["downlink_bytes"])


def length_of(table: pd.DataFrame, workers: int) -> Length:
    """Return the mean length of the messages between the first and the last row of each trial of a trace."""
    first, last = (table.groupby("trial")[["iteration", "uplink_bytes"]].agg(which) for which in ("first", "last"))
    passed = last - first
    return Length(8 * passed["uplink_bytes"] / (workers * passed["iteration"]), float(passed["iteration"].mean()))


def _coded(whole: Bytes, table: pd.DataFrame, length: Length, workers: int) -> Bytes:
    """Return what whole runs send with messages of another length; `table` has their moments in its first rows."""
    moments = table.groupby("trial")["uplink_bytes"].first()
    return whole._replace(uplink=moments + whole.iterations * workers * length.bits.mean() / 8)


def over(exchange: str, run: Bytes, section: Mapping[str, Any]) -> pd.Series:
    """Return the bytes of runs in an exchange, by trial; those of the weights are measured where they were sent."""
    d, workers, counted = section["dimension"], section["workers"], COUNTED[exchange]
    weights = run.downlink if counted.runs else run.iterations * counted.down(workers, d)
    return counted.copies(workers) * run.uplink + weights


def expected_bits(compressor: dict[str, Any], d: int) -> float:
    """Return the expected bits of a message."""
    return payload_bits(make(compressor), d)


def expected_bytes(
    section: Mapping[str, Any], compressor: dict[str, Any], exchange: str = "uplink", due: float | None = None
) -> float:
    """Return the expected bytes until the tolerance in an exchange; `due` are the iterations where they are known."""
    d, workers, counted = section["dimension"], section["workers"], COUNTED[exchange]
    due = expected_iterations(section, Method(compressor)) if due is None else due
    sent = workers * (payload_bytes("fp64", d) + due * expected_bits(compressor, d) / 8)
    return float(counted.copies(workers) * sent + due * counted.down(workers, d))


def expected_baseline(section: Mapping[str, Any], due: float | None = None) -> float:
    """Return the expected bytes of SGD in fp32 by all-reduce; `due` are its iterations where they are known."""
    due = expected_iterations(section, Method({"name": "fp32"})) if due is None else due
    return baseline_bytes(due, section["workers"], section["dimension"])
