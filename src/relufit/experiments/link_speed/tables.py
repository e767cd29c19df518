"""Tables of runs between hosts on rows from disk: seconds of an iteration, and errors against seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit.claims.trace_files import Record
from relufit.exchange import EXCHANGES
from relufit.experiments.framework.curves import typical_curve
from relufit.experiments.link_speed.model import Model
from relufit.experiments.link_speed.runs import Whole, whole_runs
from relufit.training.trace import TIMINGS

_MOVED = ("frame_bytes", "interface_bytes", "packets", "dropped")


def iterations_of(
    whole: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
) -> tuple[pd.Series, pd.DataFrame]:
    """Return what iterations have taken on average.

    Payload bytes of all gradients of an iteration by run; and a row for each run, rate and trial, the rate being 0
    where the runs have had no hosts.
    """
    uplink, rows = {}, []
    for name, run, rate, *_ in whole_runs(whole):
        for trial, report in enumerate(timings[name].about["trials"]):
            table = results[name].table[results[name].table["trial"] == trial]
            timing = timings[name].table[timings[name].table["trial"] == trial]
            count = int(table["iteration"].iloc[-1])
            uplink[run.name] = float(table["uplink_bytes"].iloc[-1] - table["uplink_bytes"].iloc[0]) / count
            parts = {part: float(timing[part].sum()) / count for part in TIMINGS}
            if report["refused"]:  # the ranks have taken turns
                parts |= {part: parts[part] / whole["workers"] for part in ("compute", "encode")}
            rows.append(
                {
                    "run": run.name,
                    "rate": 0.0 if report["refused"] else rate,
                    "trial": trial,
                    "iterations": count,
                    "seconds": float(timing["elapsed"].iloc[-1]) / count,
                    **parts,
                    **{key: report.get(key, 0) for key in _MOVED},
                }
            )
    return pd.Series(uplink), pd.DataFrame(rows)


def curves_of(
    whole: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record], model: Model
) -> pd.DataFrame:
    """Return the errors of all runs against seconds.

    ``source`` is ``measured``; for what would come after a run that was cut short ``extended``, iterations of a whole
    run of the same compressor, whose errors are the same, at the pace of the short one; ``modelled`` without hosts.
    """
    runs, curves = whole_runs(whole), []
    complete = {errors_of(run): run for run in runs if run.complete}
    for run in runs:
        labels: dict[str, Any] = {
            "compressor": run.run.name.removesuffix(f"-{run.run.exchange}"),
            "exchange": run.run.exchange,
            "rate": run.rate,
            "complete": run.complete,
        }
        joined = results[run.name].table.merge(timings[run.name].table, on=["trial", "iteration"])
        curve = typical_curve(joined)
        elapsed, source = joined.groupby("iteration")["elapsed"].mean().loc[curve["iteration"]].to_numpy(), "measured"
        if np.isnan(elapsed).any():
            source = "modelled"
            elapsed = curve["iteration"].to_numpy() * model.iteration(run.run, run.rate).upper
        curves.append(curve.assign(**labels, elapsed=elapsed, source=source))
        other = complete.get(errors_of(run))
        if not run.complete and other:
            rest, last = typical_curve(results[other.name].table), curve["iteration"].iloc[-1]
            rest = rest[rest["iteration"] >= last]
            pace = elapsed[-1] / last
            curves.append(rest.assign(**labels, elapsed=rest["iteration"] * pace, source="extended"))
    return pd.concat(curves, ignore_index=True)


def errors_of(run: Whole) -> str:
    """Return a name that runs share whose errors are the same.

    Codings change nothing, and exchanges only where they encode the sum again.
    """
    compressor, exchange = "-".join(run.run.name.split("-")[:2]), EXCHANGES[run.run.exchange]
    return compressor if exchange.parts(1, 1) is None else f"{compressor}-{exchange.name}"
