"""The same with real ranks: bytes through sockets, seconds by the clock.

The ranks are tasks on a Dask cluster and send encoded gradients to a master over TCP. What the sockets received
must be what the trace counts, and the weights must be those of the serial engine. On the loopback of one machine
no network limits anything, so seconds are shown and no claim is judged by them; `link_speed` has links that limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.verdict import Verdict, exactly
from relufit.experiments.base import Judgement, Setting
from relufit.experiments.curves import typical_curve
from relufit.experiments.quantized import compressors, training
from relufit.records import Record

NAME = "time_to_accuracy"
TITLE = "Bytes and seconds of real ranks"
QUESTION = "With ranks that exchange real bytes, is what is counted what is sent, and where does the time go?"
PREDICTION = "every byte counted is received, and the weights are those of the serial engine bit for bit"
TIMED = True
#: Ways to exchange gradients beside that of a master that sends the weights.
_EXCHANGES = {"relay": {"downlink": "relay"}, "all_to_all": {"topology": "all_to_all"}}
_PARTS = ["compute", "encode", "exchange", "wait", "decode", "update"]


def _runs(section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the specifications by the names of their settings."""
    made = {name: training(section, its) for name, its in compressors(section, ("fp64", "fp32")).items()}
    first = f"qsgd-s{section['levels'][0]}"
    for exchange, values in _EXCHANGES.items():
        made[f"{first}-{exchange}"] = {**made[first], **values}
    return made


class TimeToAccuracy:
    """The experiment ``time_to_accuracy``."""

    NAME, TITLE, QUESTION, PREDICTION, TIMED = NAME, TITLE, QUESTION, PREDICTION, TIMED
    TABLES = ("timing-curves", "timing-parts")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each compressor with a master, and one for each other way to exchange gradients."""
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
        for name in _runs(section):
            evidence, trials = f"traces/{NAME}/{name}.timing.parquet", section["trials"]
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
            "the weights in fp64 but where a relay or all-to-all is named, "
            f"cluster {config['cluster']['kind']}, {section['trials']} trials"
        )
        tables = {
            "timing-curves": pd.concat(curves),
            "timing-parts": pd.DataFrame(parts, columns=["setting", "part", "mean", "low", "high"]),
        }
        budget = f"{section['iterations']} iterations to relative error {section['tolerance']:g}"
        return Judgement(setting, budget, {"communication": exact}, tables)


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
    smooth = [trial for trial, its in enumerate(about) if not its["faults"]]
    told = [trial for trial in smooth if about[trial]["received"]]
    arrived = pd.DataFrame([about[trial]["received"] for trial in told], index=counted.index[told])
    same = arrived[["uplink_bytes", "downlink_bytes"]].eq(counted.iloc[told]) if told else pd.DataFrame([True])
    notes, missing = [], ""
    if told:
        framing = (arrived["frame_bytes"] / arrived[["uplink_bytes", "downlink_bytes"]].sum(axis=1)).mean() - 1
        notes.append(f"Frames add {framing:.2%} to the payloads of {name}.")
    if len(smooth) < len(about):
        notes.append(f"{len(about) - len(smooth)} trials with faults are left out.")
    if len(told) < len(smooth):
        lost = sorted({rank for trial in smooth for rank in about[trial].get("uncounted", ())})
        missing = f"In {len(smooth) - len(told)} trials the counts of {', '.join(lost)} are missing."
    elif not told:
        missing = "No trial was without faults."
    return exactly(
        "bytes counted, up and down, are those the sockets received",
        name,
        bool(same.all(axis=None)),
        trials=len(told),
        evidence=evidence,
        note=" ".join(notes),
        missing=missing,
    )
