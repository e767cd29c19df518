"""Curves of many trials as one: what tables and figures show of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from relufit.claims.statistics import CONFIDENCE, mean_interval
from relufit.records import Record

_POINTS = 200


def typical_curve(table: pd.DataFrame, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Return the geometric mean of the relative errors of all trials, with its interval, per iteration.

    Only iterations that every trial has reached are there, about 200 of them, evenly spaced.

    Returns
    -------
    DataFrame
        ``iteration``, ``relative_error``, ``low``, ``high``, and the mean ``uplink_bytes`` and ``downlink_bytes``.
    """
    trials = table["trial"].nunique()
    shared = table.groupby("iteration").filter(lambda rows: len(rows) == trials)
    kept = np.unique(shared["iteration"])
    kept = kept[np.unique(np.linspace(0, len(kept) - 1, min(_POINTS, len(kept))).round().astype(int))]
    rows = []
    for iteration, group in shared[shared["iteration"].isin(kept)].groupby("iteration"):
        mean, low, high = mean_interval(np.log(group["relative_error"].to_numpy()), confidence)
        sent = group[["uplink_bytes", "downlink_bytes"]].mean()
        rows.append((iteration, np.exp(mean), np.exp(low), np.exp(high), *sent))
    columns = ["iteration", "relative_error", "low", "high", "uplink_bytes", "downlink_bytes"]
    return pd.DataFrame(rows, columns=columns)


def on_grid(curve: np.ndarray, iterations: np.ndarray) -> np.ndarray:
    """Return the relative error that a predicted curve of squared errors has at some iterations, NaN beyond its end."""
    values = np.full(len(iterations), np.nan)
    inside = iterations < len(curve)
    values[inside] = np.sqrt(curve[iterations[inside]])
    return values


def ends(record: Record, tolerance: float) -> pd.DataFrame:
    """Return the last row of each trial, ``iterations`` among its columns, with NaN where it has not converged."""
    last = record.table.groupby("trial").last()
    reached = last["relative_error"] <= tolerance
    return last.rename(columns={"iteration": "iterations"}).where(reached)
