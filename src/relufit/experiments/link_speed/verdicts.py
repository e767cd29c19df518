"""What the seconds and the bytes between hosts show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, describe, exactly, judge, unmeasured
from relufit.experiments.link_speed.model import DOMINATES, MOST_OUTSIDE, compared_with
from relufit.experiments.link_speed.runs import COMPARED, cell_name, whole_runs
from relufit.experiments.link_speed.tables import errors_of

#: A part of the predicted gain that is to be had.
LEAST_GAIN = 0.9
#: Headers of TCP, IP and Ethernet in a packet; and of what interfaces count, the part that is neither frames nor
#: these: greetings, and what TCP sends again.
_PACKET_BYTES, _MOST_REST = 66, 0.02


#: What helps where hosts were refused, after what it takes has been done.
_AGAIN = "The next run of the workflow makes what was refused, and nothing else."


def refused(statistic: str, name: str, evidence: str, why: str) -> Verdict:
    """Return that a statistic was not measured, because there were no hosts; `why` says what is missing."""
    return unmeasured(statistic, name, evidence=evidence, reason=f"{why.rstrip('.')}.", remedy=_AGAIN)


def exactness(name: str, reports: list[dict[str, Any]], points: pd.DataFrame, evidence: str) -> list[Verdict]:
    """Hold weights and bytes against the serial engine's, bytes against what interfaces have counted."""
    runs = sum(report["runs"] for report in reports)
    smooth = not any(report["faults"] for report in reports)
    first = exactly(
        "bytes counted arrive, and weights are those of the serial engine, bit for bit",
        name,
        all(report["exact"] for report in reports) and smooth,
        trials=runs,
        evidence=evidence,
        missing=_missing(reports),
    )
    return [first, *_witnesses(name, points, evidence, _missing(reports))]


def same(
    whole: Mapping[str, Any],
    results: Mapping[str, Record],
    timings: Mapping[str, Record],
    points: pd.DataFrame,
    evidence: str,
) -> list[Verdict]:
    """Hold the runs of a compressor on rows from disk against each other, and bytes against the interfaces."""
    longest: dict[str, pd.Series] = {}
    alike, runs = True, whole_runs(whole)
    for run in sorted(runs, key=lambda run: not run.complete):
        errors = results[run.name].table.set_index(["trial", "iteration"])["relative_error"]
        others = longest.setdefault(errors_of(run), errors)
        both = errors.index.intersection(others.index)
        # A run that is cut short has its last row where the others may have none.
        alike &= bool((errors[both] == others[both]).all()) and len(both) > 1
    reports = [report for run in runs for report in timings[run.name].about["trials"]]
    name = f"{cell_name(whole)}, rows from disk"
    first = exactly(
        "bytes counted arrive, and errors are the same in every coding, at every rate and in every exchange that "
        "does not encode sums again, to the last bit",
        name,
        alike and all(report["counted"] and not report["faults"] for report in reports),
        trials=len(reports),
        evidence=evidence,
        missing=_missing(reports),
    )
    return [first, *_witnesses(name, points, evidence, _missing(reports))]


def _missing(reports: list[dict[str, Any]]) -> str:
    """Return whose counts are missing, in words."""
    lost = sorted({rank for report in reports for rank in report["uncounted"]})
    return f"The counts of {', '.join(lost)} are missing in some runs." if lost else ""


def _witnesses(name: str, points: pd.DataFrame, evidence: str, missing: str) -> list[Verdict]:
    counted = points[points["frame_bytes"].notna()]
    sent, frames = counted["interface_bytes"], counted["frame_bytes"].astype(float)
    rest = (sent - frames - _PACKET_BYTES * counted["packets"]) / sent
    return [
        exactly(
            f"interfaces count the bytes of all frames, {_PACKET_BYTES} of headers a packet, and little else",
            name,
            bool((rest.abs() <= _MOST_REST).all()),
            trials=len(counted),
            evidence=evidence,
            missing=missing,
            note=f"Of what they count, {(1 - frames / sent).max():.1%} at most is not frames, and {rest.max():.2%} at "
            f"most, of the {_MOST_REST:.0%} allowed, greetings and what TCP sent again.",
        ),
        exactly(
            "no packet was dropped at the end of a queue",
            name,
            not points["dropped"].any(),
            trials=len(points),
            evidence=evidence,
        ),
    ]


def gains(name: str, points: pd.DataFrame, trials: int, evidence: str, compared: str) -> list[Verdict]:
    """Hold gains over fp32 against the model's, exchange by exchange, where the network dominates both.

    `compared` is a key of `COMPARED`. The comparator is fp32 in the same exchange, and fp32 by all_reduce where that
    was timed.
    """
    words, verdicts = COMPARED[compared], []
    for exchange, rows in points.groupby("exchange"):
        coded = rows[rows["compressor"].str.startswith(compared)].set_index(["rate", "trial"])
        for against in compared_with(str(exchange), list(points["exchange"].unique())):
            plain = points[(points["compressor"] == "sgd-fp32") & (points["exchange"] == against)]
            plain = plain.set_index(["rate", "trial"])[["seconds", "predicted", "network"]]
            joined = coded.join(plain, rsuffix="_plain", how="inner")
            limited = joined[joined[["network", "network_plain"]].min(axis=1) >= DOMINATES]
            if limited.empty:
                continue
            due = limited["predicted_plain"] / limited["predicted"]
            gain = limited["seconds_plain"] / limited["seconds"] / due
            rates = ", ".join(f"{rate / 1e6:g}" for rate in sorted(limited.index.unique("rate")))
            verdicts.append(
                judge(
                    f"gain in seconds of {words} over {_comparator(str(exchange), against)}, over the model's",
                    f"{name}, {exchange}",
                    mean_interval(np.exp(np.log(gain).groupby("trial").mean())),
                    least=LEAST_GAIN,
                    trials=trials,
                    evidence=evidence,
                    note=f"Mean over {rates} Mbit/s and all codings where the network takes at least "
                    f"{DOMINATES:.0%} of the predicted seconds; the model's gains are {due.min():.2g} to "
                    f"{due.max():.2g}.",
                )
            )
    return verdicts


def _comparator(exchange: str, against: str) -> str:
    return "SGD with fp32" if exchange == against else f"SGD with fp32 by {against}"


def agreement(name: str, points: pd.DataFrame, trials: int, evidence: str) -> list[Verdict]:
    """Hold the seconds of an iteration against the model's bounds, where the network dominates."""
    limited = points[points["network"] >= DOMINATES]
    if limited.empty:
        return []
    mean = limited.groupby(["run", "rate"])[["seconds", "at_least", "predicted"]].mean()
    outside = (mean["seconds"] / mean["seconds"].clip(mean["at_least"], mean["predicted"]) - 1).abs()
    run, rate = outside.index[int(outside.argmax())]
    return [
        exactly(
            f"seconds of an iteration are within {MOST_OUTSIDE:.0%} of the model's bounds where the network dominates",
            name,
            bool(outside.max() <= MOST_OUTSIDE),
            trials=trials,
            evidence=evidence,
            note=f"Of {len(outside)} ways and rates the farthest is {outside.max():.1%} outside: "
            f"{run} at {rate / 1e6:g} Mbit/s.",
        )
    ]


def reached(whole: Mapping[str, Any], results: Mapping[str, Record], evidence: str) -> Verdict:
    """Tell whether all whole runs come to w*."""
    last = pd.concat(_ends(whole, results).values())
    arrived = last["relative_error"] <= whole["tolerance"]
    return exactly(
        f"whole runs come to a relative error of {whole['tolerance']:g}",
        cell_name(whole),
        bool(arrived.all()),
        trials=len(arrived),
        evidence=evidence,
    )


def _ends(whole: Mapping[str, Any], results: Mapping[str, Record]) -> dict[str, pd.DataFrame]:
    """Return the last rows of the runs that were not cut short, by trial, by the name of their errors."""
    complete = [run for run in whole_runs(whole) if run.complete]
    return {errors_of(run): results[run.name].table.groupby("trial").last() for run in complete}


def quicker(
    whole: Mapping[str, Any], results: Mapping[str, Record], points: pd.DataFrame, evidence: str, compared: str
) -> list[Verdict]:
    """Tell which is at w* first, SGD in fp32 or what it is compared with; by how much, where the network dominates.

    `compared` is a key of `COMPARED`. A run that was cut short would take as many iterations as a whole run of the same
    quantizer, whose errors it has.
    """
    runs, name, verdicts = whole_runs(whole), cell_name(whole), list[Verdict]()
    needed = {errors: last["iteration"] for errors, last in _ends(whole, results).items()}
    known = {(run.run.name, run.rate): run for run in runs if errors_of(run) in needed}
    points = points[[key in known for key in zip(points["run"], points["rate"], strict=True)]].copy()
    matches = [known[key] for key in zip(points["run"], points["rate"], strict=True)]
    points["needed"] = [needed[errors_of(run)][trial] for run, trial in zip(matches, points["trial"], strict=True)]
    points["complete"] = [run.complete for run in matches]
    points["whole"], points["due"] = (points["needed"] * points[part] for part in ("seconds", "predicted"))
    for (compressor, exchange, rate), coded in points[points["compressor"].str.startswith(compared)].groupby(
        ["compressor", "exchange", "rate"]
    ):
        for against in compared_with(str(exchange), list(points["exchange"].unique())):
            plain = points[(points["compressor"] == "sgd-fp32") & (points["exchange"] == against)]
            plain = plain[plain["rate"] == rate].set_index("trial")[["whole", "due", "network", "complete"]]
            both = coded.set_index("trial").join(plain, rsuffix="_plain", how="inner")
            if both.empty:
                continue
            ratio, model = both["whole_plain"] / both["whole"], both["due_plain"] / both["due"]
            where = f"{name}, {compressor}, {exchange}, {float(str(rate)) / 1e6:g} Mbit/s"
            cut = "" if both[["complete", "complete_plain"]].all(axis=None) else " Cut short: at the pace measured."
            details = {
                "trials": whole["trials"],
                "evidence": evidence,
                "note": f"The model says {model.mean():.2f}.{cut}",
            }
            title = f"seconds of {_comparator(str(exchange), against)} to the error over those of {COMPARED[compared]}"
            if 1 / (1 + MOST_OUTSIDE) < model.mean() < 1 + MOST_OUTSIDE:
                # The model is not held to better than that, and so does not say which of them is quicker.
                verdicts.append(describe(title, where, mean_interval(ratio), **details))
                continue
            least, most = (1.0, math.inf) if model.mean() > 1 else (-math.inf, 1.0)
            sided = f"{title}, on the side of 1 that the model says"
            verdicts.append(judge(sided, where, mean_interval(ratio), least=least, most=most, **details))
            # Where the model itself says that nothing is gained there is no gain to be had a part of.
            if model.mean() > 1 and min(both["network"].min(), both["network_plain"].min()) >= DOMINATES:
                title += ", over the model's"
                verdicts.append(judge(title, where, mean_interval(ratio / model), least=LEAST_GAIN, **details))
    return verdicts
