"""The same with real ranks: bytes through sockets, seconds by the clock.

The ranks are tasks on a Dask cluster and send encoded gradients to a master over TCP. What the sockets received
must be what the trace counts, and the weights must be those of the serial engine. On the loopback of one machine
no network limits anything, so seconds are shown and no claim is judged by them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.verdict import INCONCLUSIVE, Verdict, exactly, judge
from relufit.experiments.base import Judgement, Setting
from relufit.experiments.curves import typical_curve
from relufit.experiments.quantized import compressors, training
from relufit.records import Record

NAME = "time_to_accuracy"
TITLE = "Bytes and seconds of real ranks"
QUESTION = "With ranks that exchange real bytes, is what is counted what is sent, and where does the time go?"
PREDICTION = "every byte counted is received, and the weights are those of the serial engine bit for bit"
TIMED = True
_PARTS = ["compute", "encode", "exchange", "wait", "decode", "update"]


class TimeToAccuracy:
    """The experiment ``time_to_accuracy``."""

    NAME, TITLE, QUESTION, PREDICTION, TIMED = NAME, TITLE, QUESTION, PREDICTION, TIMED
    TABLES = ("timing-curves", "timing-parts")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each compressor."""
        section = config[NAME]
        d = section["dimension"]
        data = {"n": round(section["ratio"] * d), "d": d}
        datasets = tuple(f"{NAME}-{trial}" for trial in range(section["trials"]))
        return [
            Setting(
                NAME,
                name,
                data,
                training(section, compressor),
                section["trials"],
                datasets=datasets,
                cluster=dict(config["cluster"]),
            )
            for name, compressor in compressors(section, ("fp64", "fp32")).items()
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Hold what was counted against what arrived, and show where the seconds went."""
        section = config[NAME]
        exact: list[Verdict] = []
        seconds: list[Verdict] = []
        curves, parts, reached = [], [], {}
        for name in compressors(section, ("fp64", "fp32")):
            evidence, trials = f"traces/{NAME}/{name}.timing.parquet", section["trials"]
            exact += _exactness(name, results[name], timings[name], trials, evidence)
            joined = results[name].table.merge(timings[name].table, on=["trial", "iteration"])
            last = joined.groupby("trial").last()
            reached[name] = last["elapsed"].where(last["relative_error"] <= section["tolerance"]).to_numpy()
            curve = typical_curve(joined)
            elapsed = joined.groupby("iteration")["elapsed"].mean()
            curves.append(curve.assign(setting=name, elapsed=elapsed.loc[curve["iteration"]].to_numpy()))
            spent = joined.groupby("trial")[_PARTS].sum().div(last["iteration"], axis=0)
            whole = last["elapsed"] / last["iteration"]
            spent["other"] = (whole - spent[_PARTS].sum(axis=1)).clip(lower=0)
            for part in spent:
                parts.append((name, part, *mean_interval(spent[part].to_numpy())))
        for name, took in reached.items():
            if name.startswith("qsgd"):
                interval = mean_interval(reached["sgd-fp32"] / took)
                verdict = judge(
                    "seconds of SGD with fp32 over those of QSGD",
                    name,
                    interval,
                    least=1.0,
                    trials=section["trials"],
                    evidence=f"traces/{NAME}/{name}.timing.parquet",
                    note="Measured on the loopback of one machine, where no network limits the exchange: this says "
                    "nothing about a real network, whichever way it comes out.",
                )
                seconds.append(replace(verdict, verdict=INCONCLUSIVE))
        setting = (
            f"d = {section['dimension']}, n/d = {section['ratio']:g}, K = {section['workers']}, "
            f"m = {section['mini_batch']}, {section['sampling']}, coding {section['coding']}, a master over TCP, "
            f"cluster {config['cluster']['kind']}, {section['trials']} trials"
        )
        tables = {
            "timing-curves": pd.concat(curves),
            "timing-parts": pd.DataFrame(parts, columns=["setting", "part", "mean", "low", "high"]),
        }
        budget = f"{section['iterations']} iterations to relative error {section['tolerance']:g}"
        return Judgement(setting, budget, {"communication": exact, "network": seconds}, tables)


def _exactness(name: str, results: Record, timings: Record, trials: int, evidence: str) -> list[Verdict]:
    counted = results.table.groupby("trial")["uplink_bytes"].last().to_numpy()
    received = [trial["received"] for trial in timings.about["trials"]]
    if None in received:
        return []
    arrived = np.array([trial["payload_bytes"] for trial in received])
    framing = np.mean([trial["frame_bytes"] for trial in received] / arrived) - 1
    same = [trial["weights_sha256"] == trial["serial_sha256"] for trial in timings.about["trials"]]
    return [
        exactly(
            "uplink bytes counted are those the sockets received",
            name,
            bool((counted == arrived).all()),
            trials=trials,
            evidence=evidence,
            note=f"Frames add {framing:.2%} to the payloads of {name}.",
        ),
        exactly(
            "the weights are those of the serial engine, bit for bit",
            name,
            all(same),
            trials=trials,
            evidence=evidence,
        ),
    ]
