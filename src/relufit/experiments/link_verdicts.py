"""What the seconds and the bytes between hosts show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.verdict import INCONCLUSIVE, Verdict, exactly, judge
from relufit.experiments.curves import typical_curve
from relufit.experiments.link_model import whole_runs
from relufit.records import Record

#: The network dominates where links and latency are that part of the predicted seconds.
_DOMINATES = 2 / 3
#: A part of the predicted gain that is to be had; how far outside of the bounds of the model seconds may be.
_LEAST_GAIN, _MOST_OUTSIDE = 0.9, 0.15
#: Headers of TCP, IP and Ethernet in a packet; and of what interfaces count, the part that is neither frames nor
#: these: greetings, and what TCP sends again.
_PACKET_BYTES, _MOST_REST = 66, 0.02


def exactness(name: str, told: list[dict[str, Any]], points: pd.DataFrame, evidence: str) -> list[Verdict]:
    """Hold weights and bytes against the serial engine's, bytes against what interfaces have counted."""
    sent, frames = points["interface_bytes"], points["frame_bytes"]
    rest = (sent - frames - _PACKET_BYTES * points["packets"]) / sent
    runs = sum(its["runs"] for its in told)
    smooth = not any(its["faults"] for its in told)
    return [
        exactly(
            "bytes counted arrive, and weights are those of the serial engine, bit for bit",
            name,
            all(its["exact"] for its in told) and smooth,
            trials=runs,
            evidence=evidence,
        ),
        exactly(
            f"interfaces count the bytes of all frames, {_PACKET_BYTES} of headers a packet, and little else",
            name,
            bool(rest.abs().max() <= _MOST_REST),
            trials=runs,
            evidence=evidence,
            note=f"Of what they count, {(1 - frames / sent).max():.1%} at most is not frames, and {rest.max():.2%} at "
            f"most, of the {_MOST_REST:.0%} allowed, greetings and what TCP sent again.",
        ),
        exactly(
            "no packet was dropped at the end of a queue", name, not points["dropped"].any(), trials=runs,
            evidence=evidence,
        ),
    ]  # fmt: skip


def gains_held(name: str, points: pd.DataFrame, trials: int, evidence: str, refused: str) -> list[Verdict]:
    """Hold the gain over fp32 against the model's, exchange by exchange, where the network dominates both."""
    if refused:
        nothing = exactly("seconds between hosts", name, False, trials=0, evidence=evidence, note=refused)
        return [Verdict(**{**vars(nothing), "verdict": INCONCLUSIVE})]
    found = []
    for exchange, rows in points.groupby("exchange"):
        plain = rows[rows["compressor"] == "sgd-fp32"].set_index(["rate", "trial"])
        coded = rows[rows["compressor"].str.startswith("qsgd")].set_index(["rate", "trial"])
        joined = coded.join(plain[["seconds", "predicted", "network"]], rsuffix="_plain", how="inner")
        limited = joined[joined[["network", "network_plain"]].min(axis=1) >= _DOMINATES]
        if limited.empty:
            continue
        gain = (limited["seconds_plain"] / limited["seconds"]) / (limited["predicted_plain"] / limited["predicted"])
        rates = ", ".join(f"{rate / 1e6:g}" for rate in sorted(limited.index.unique("rate")))
        found.append(
            judge(
                "gain in seconds of QSGD over SGD with fp32, over the model's",
                f"{name}, {exchange}",
                mean_interval(np.exp(np.log(gain).groupby("trial").mean())),
                least=_LEAST_GAIN,
                trials=trials,
                evidence=evidence,
                note=f"Mean over {rates} Mbit/s and all codings where the network takes at least "
                f"{_DOMINATES:.0%} of the predicted seconds.",
            )
        )
    return found


def agreement(name: str, points: pd.DataFrame, trials: int, evidence: str) -> list[Verdict]:
    """Hold the seconds of an iteration against the model's bounds, where the network dominates."""
    limited = points[points["network"] >= _DOMINATES]
    if limited.empty:
        return []
    mean = limited.groupby(["run", "rate"])[["seconds", "at_least", "predicted"]].mean()
    outside = (mean["seconds"] / mean["seconds"].clip(mean["at_least"], mean["predicted"]) - 1).abs()
    run, rate = outside.index[int(outside.argmax())]
    return [
        exactly(
            f"seconds of an iteration are within {_MOST_OUTSIDE:.0%} of the model's bounds where the network dominates",
            name,
            bool(outside.max() <= _MOST_OUTSIDE),
            trials=trials,
            evidence=evidence,
            note=f"Of {len(outside)} ways and rates the farthest is {outside.max():.1%} outside: "
            f"{run} at {rate / 1e6:g} Mbit/s.",
        )
    ]


def whole_curves(
    section: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
) -> tuple[pd.DataFrame, list[Verdict]]:
    """Return the errors of the whole runs against seconds, and whether QSGD gets to w* earlier."""
    curves, reached, refused = [], {}, ""
    for run in whole_runs(section["whole"]):
        joined = results[run.name].table.merge(timings[run.name].table, on=["trial", "iteration"])
        refused = refused or timings[run.name].about["trials"][0]["refused"]
        last = joined.groupby("trial").last()
        reached[run.name] = last["elapsed"].where(last["relative_error"] <= section["whole"]["tolerance"]).to_numpy()
        curve = typical_curve(joined)
        elapsed = joined.groupby("iteration")["elapsed"].mean()
        curves.append(curve.assign(setting=run.name, elapsed=elapsed.loc[curve["iteration"]].to_numpy()))
    found = []
    for name, took in reached.items():
        plain = f"run-sgd-fp32-{name.rpartition('-')[2]}"
        if "qsgd" in name and not refused:
            found.append(
                judge(
                    "seconds to the error of SGD with fp32 over those of QSGD",
                    name.removeprefix("run-"),
                    mean_interval(reached[plain] / took),
                    least=1.0,
                    trials=section["trials"],
                    evidence=f"traces/link_speed/{name}.timing.parquet",
                    note="Both without a master, over the same links.",
                )
            )
    return pd.concat(curves, ignore_index=True), found
