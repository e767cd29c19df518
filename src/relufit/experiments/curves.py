"""Curves of many trials as one: what tables and figures show of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from relufit.claims.statistics import mean_interval

_POINTS = 200


def typical_curve(table: pd.DataFrame, confidence: float = 0.9) -> pd.DataFrame:
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
