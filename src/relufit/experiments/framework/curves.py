"""Curves of many trials as one: what tables and figures show of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from relufit.claims.statistics import CONFIDENCE, mean_interval
from relufit.claims.trace_files import Record

_POINTS = 200


def typical_curve(table: pd.DataFrame, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Return the geometric mean of the relative errors of all trials, with its interval, per iteration.

    Only iterations that every trial has reached are there, about 200 of them, evenly spaced.

    Returns
    -------
    DataFrame
        ``iteration``, ``relative_error``, ``low``, ``high``, and the mean ``uplink_bytes`` and ``downlink_bytes``.
    """
    runs = table.groupby("iteration")["trial"].transform("size")
    shared = table[runs == table["trial"].nunique()]
    kept = np.unique(shared["iteration"])
    kept = kept[np.unique(np.linspace(0, len(kept) - 1, min(_POINTS, len(kept))).round().astype(int))]
    shared = shared[shared["iteration"].isin(kept)]
    logs = np.log(shared.pivot(index="iteration", columns="trial", values="relative_error").to_numpy())
    curve = pd.DataFrame({"iteration": kept})
    curve[["relative_error", "low", "high"]] = np.exp([mean_interval(errors, confidence) for errors in logs])
    for sent in ("uplink_bytes", "downlink_bytes"):
        curve[sent] = shared.groupby("iteration")[sent].mean().to_numpy()
    return curve


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


def predicted_columns(*quantities: str) -> list[str]:
    """Return the columns of each quantity: its mean, the bounds of its interval, and the prediction."""
    endings = ("", "_low", "_high", "_predicted")
    return [f"{quantity}{ending}" for quantity in quantities for ending in endings]
