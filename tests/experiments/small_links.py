"""The experiment `link_speed` on a cell, runs and a map that are small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relufit.experiments import CATALOGUE
from relufit.experiments.configuration import load
from relufit.experiments.link_speed.experiment import NAME

ROOT = Path(__file__).parent.parent.parent
EXPERIMENT = CATALOGUE[NAME]
D, RANKS, ROUND_TRIP = 20_000, 2, 1e-3
CELL = {"dimension": D, "workers": RANKS, "rates": [1e7, 1e8]}
TRIALS = 3
MAP = {"dimensions": [1000], "workers": [4], "rates": [1e8, 1e10]}


def small_links() -> dict[str, Any]:
    """Return the configuration with these in place of its own."""
    config = load([ROOT / "config.yaml"])
    config[NAME].update(cells=[CELL], rank_rows=6, iterations=[8, 8], trials=TRIALS)
    runs = [{"compressor": name, "exchanges": ["all_gather"], "rates": [1e6]} for name in ("fp32", "packed")]
    runs.append({"compressor": "s4-rans", "exchanges": ["relay"], "rates": [1e6], "iterations": 2})
    runs.append({"compressor": "fp32", "exchanges": ["relay"], "rates": [1e6], "iterations": 2})
    whole = {"dimension": 4000, "mini_batch": 8, "ratio": 3, "tolerance": 1e-3, "trials": TRIALS, "runs": runs}
    config[NAME]["whole"].update(whole)
    config[NAME]["map"] = MAP
    runs = [{"compressor": name, "exchange": "all_gather"} for name in ("fp32", "packed")]
    some = {"workers": [RANKS], "beyond": [4], "mini_batch": 48, "rank_batch": 6, "runs": runs}
    config[NAME]["scaling"].update(dimension=D, rate=1e7, **some)
    config[NAME]["overlap"] |= {"dimension": D, "workers": RANKS, "rate": 1e9}
    return config
