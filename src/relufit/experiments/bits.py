"""Bytes of runs: what those of `bits_to_accuracy` sent, and what theory expects of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from relufit.compression.natural import Natural
from relufit.compression.qsgd import QSGD
from relufit.experiments.base import Setting
from relufit.experiments.curves import ends
from relufit.experiments.quantized import expected_iterations, make
from relufit.experiments.topologies import TOPOLOGIES, payload_bytes
from relufit.records import Record

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

    def cheapest(self) -> dict[int, str]:
        """Return the coding with the shortest messages for each number of levels."""
        return {
            s: min(self.section["codings"], key=lambda coding: float(self.lengths[s, coding].bits.mean()))
            for s in self.section["levels"]
        }

    def best(self) -> tuple[int, str]:
        """Return the levels and the coding that save the most; any where no run came to the tolerance."""
        saving = {its: float(self.saving(run).mean()) for its, run in self.coded.items()}
        return max(saving, key=lambda its: -math.inf if math.isnan(saving[its]) else saving[its])

    def section_of(self, setting: Setting) -> dict[str, Any]:
        """Return the section with the mini-batch of a setting."""
        return {**self.section, "mini_batch": setting.spec["batch_size"]}


def qsgd_name(levels: int, coding: str) -> str:
    """Return the name of the setting of QSGD in a coding."""
    return f"qsgd-s{levels}-{coding}"


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


def over(topology: str, run: Bytes, section: Mapping[str, Any]) -> pd.Series:
    """Return the bytes of runs over a topology, by trial; those of the weights are measured where they were sent."""
    d, workers, its = section["dimension"], section["workers"], TOPOLOGIES[topology]
    weights = run.downlink if its.runs else run.iterations * its.down(workers, d)
    return its.copies(workers) * run.uplink + weights


def expected_bits(compressor: dict[str, Any], d: int) -> float:
    """Return the expected bits of a message."""
    made = make(compressor)
    if isinstance(made, (QSGD, Natural)):
        return float(made.expected_bits(d))
    return 8 * payload_bytes(compressor["name"], d)


def expected_bytes(
    section: Mapping[str, Any], compressor: dict[str, Any], topology: str = "uplink", due: float | None = None
) -> float:
    """Return the expected bytes until the tolerance over a topology; `due` are the iterations where they are known."""
    d, workers, its = section["dimension"], section["workers"], TOPOLOGIES[topology]
    due = expected_iterations(section, compressor) if due is None else due
    sent = workers * (payload_bytes("fp64", d) + due * expected_bits(compressor, d) / 8)
    return float(its.copies(workers) * sent + due * its.down(workers, d))
