"""The same with real ranks: bytes through sockets, seconds by the clock.

The ranks are tasks on a Dask cluster and send encoded gradients over TCP, to a master or in another exchange. What the
sockets received must be what the trace counts, and the weights must be those of the serial engine. On the loopback of
one machine no network limits anything, so seconds are shown and no claim is judged by them; `link_speed` has links that
limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, exactly
from relufit.exchange import BASELINE, DEFAULT, EXCHANGES
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.experiments.framework.curves import typical_curve
from relufit.experiments.framework.quantized import compressors, training

NAME = "time_to_accuracy"
#: All runs have one job and one cluster: to open one takes seconds, and on EC2 minutes.
_GROUP = "runs"
_PARTS = ["compute", "encode", "exchange", "wait", "decode", "update"]


def _runs(section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the specifications by the names of their settings, which name the exchange where it is not the default."""
    made = {name: training(section, compressor) for name, compressor in compressors(section, ("fp64", "fp32")).items()}
    for name, exchange in EXCHANGES.items():
        if name != DEFAULT:
            # Where the sum is encoded again both variances count: few levels would take many more iterations.
            again = exchange.parts(1, 1) is not None
            quantized = f"qsgd-s{max(section['levels']) if again else section['levels'][0]}"
            made[f"{quantized}-{name}"] = {**made[quantized], "exchange": name}
    made[f"sgd-fp32-{BASELINE}"] = {**made["sgd-fp32"], "exchange": BASELINE}
    return made


class TimeToAccuracy:
    """The experiment ``time_to_accuracy``."""

    NAME = NAME
    TITLE = "Bytes and seconds of real ranks"
    QUESTION = "With ranks that exchange real bytes, is what is counted what is sent, and where does the time go?"
    PREDICTION = "every byte counted is received, and the weights are those of the serial engine bit for bit"
    TIMED = True
    TABLES = ("timing-curves", "timing-parts")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each compressor with a master, one for each other exchange, and fp32 by all-reduce."""
        section = config[NAME]
        d = section["dimension"]
        data = {"n": round(section["ratio"] * d), "d": d}
        datasets = tuple(f"{NAME}-{trial}" for trial in range(section["trials"]))
        return [
            Setting(
                NAME,
                name,
                data,
                spec,
                section["trials"],
                group=_GROUP,
                datasets=datasets,
                cluster=dict(config["cluster"]),
            )
            for name, spec in _runs(section).items()
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Hold what was counted against what arrived, and show where the seconds went."""
        section = config[NAME]
        exact: list[Verdict] = []
        curves, parts = [], []
        evidence, trials = f"traces/{NAME}/{_GROUP}.timing.parquet", section["trials"]
        for name in _runs(section):
            exact += _exactness(name, results[name], timings[name], trials, evidence)
            joined = results[name].table.merge(timings[name].table, on=["trial", "iteration"])
            last = joined.groupby("trial").last()
            curve = typical_curve(joined)
            elapsed = joined.groupby("iteration")["elapsed"].mean()
            curves.append(curve.assign(setting=name, elapsed=elapsed.loc[curve["iteration"]].to_numpy()))
            spent = joined.groupby("trial")[_PARTS].sum().div(last["iteration"], axis=0)
            whole = last["elapsed"] / last["iteration"]
            spent["other"] = (whole - spent[_PARTS].sum(axis=1)).clip(lower=0)
            for part in spent:
                parts.append((name, part, *mean_interval(spent[part].to_numpy())))
        setting = (
            f"d = {section['dimension']}, n/d = {section['ratio']:g}, K = {section['workers']}, "
            f"m = {section['mini_batch']}, {section['sampling']}, coding {section['coding']}, TCP, a master that sends "
            "the weights in fp64 but where another exchange is named, "
            f"cluster {config['cluster']['kind']}, {section['trials']} trials"
        )
        tables = {
            "timing-curves": pd.concat(curves),
            "timing-parts": pd.DataFrame(parts, columns=["setting", "part", "mean", "low", "high"]),
        }
        budget = budget_of(section)
        return Judgement(setting, budget, {Topic.COMMUNICATION: exact}, tables)


def _exactness(name: str, results: Record, timings: Record, trials: int, evidence: str) -> list[Verdict]:
    about = timings.about["trials"]
    if not all(trial["received"] or trial.get("uncounted") for trial in about):
        return []  # there are no links
    same = [trial["weights_sha256"] == trial["serial_sha256"] for trial in about]
    return [
        _bytes_arrived(name, results, about, evidence),
        exactly(
            "the weights are those of the serial engine, bit for bit",
            name,
            all(same),
            trials=trials,
            evidence=evidence,
        ),
    ]


def _bytes_arrived(name: str, results: Record, about: list[dict[str, Any]], evidence: str) -> Verdict:
    """Compare what the algorithm has counted with what the links have, in the trials where they can be compared."""
    counted = results.table.groupby("trial")[["uplink_bytes", "downlink_bytes"]].last()
    # After a fault what was lost is sent again: the links count that too, the algorithm does not.
    smooth = [trial for trial, report in enumerate(about) if not report["faults"]]
    compared = [trial for trial in smooth if about[trial]["received"]]
    arrived = pd.DataFrame([about[trial]["received"] for trial in compared], index=counted.index[compared])
    same = arrived[["uplink_bytes", "downlink_bytes"]].eq(counted.iloc[compared]) if compared else pd.DataFrame([True])
    notes, missing = [], ""
    if compared:
        framing = (arrived["frame_bytes"] / arrived[["uplink_bytes", "downlink_bytes"]].sum(axis=1)).mean() - 1
        notes.append(f"Frames add {framing:.2%} to the payloads of {name}.")
    if len(smooth) < len(about):
        notes.append(f"{len(about) - len(smooth)} trials with faults are left out.")
    if len(compared) < len(smooth):
        lost = sorted({rank for trial in smooth for rank in about[trial].get("uncounted", ())})
        missing = f"In {len(smooth) - len(compared)} trials the counts of {', '.join(lost)} are missing."
    elif not compared:
        missing = "No trial was without faults."
    return exactly(
        "bytes counted, up and down, are those the sockets received",
        name,
        bool(same.all(axis=None)),
        trials=len(compared),
        evidence=evidence,
        note=" ".join(notes),
        missing=missing,
    )
