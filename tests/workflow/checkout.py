"""A fresh checkout with a small configuration, and Snakemake run in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import launcher

ROOT = Path(__file__).parent.parent.parent
TINY = """
run: tiny
experiments: [geometric_convergence, qsgd_convergence, time_to_accuracy]
geometric_convergence: {dimension: 60, ratios: [10], mini_batch: 8, trials: 3}
qsgd_convergence: {dimension: 60, workers: 2, mini_batch: 8, levels: [8], max_norm_levels: [], trials: 3}
time_to_accuracy: {dimension: 60, mini_batch: 8, levels: [8], other_codings: [], tolerance: 1.0e-3, trials: 2}
"""
CONFIGURED = ["--cores", "2", "--configfile", "tiny.yaml"]


class First(NamedTuple):
    """A run of the small configuration from nothing: where it is, and what it printed."""

    folder: Path
    stdout: str
    stderr: str


def checkout(folder: Path, configuration: str = TINY) -> Path:
    """Copy what the workflow needs, as a fresh clone would have it."""
    for name in ("Snakefile", "config.yaml", "config", "workflow", "profiles", "envs", "results/README.md"):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    (folder / "tiny.yaml").write_text(configuration)
    return folder


def snakemake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder; with a PYTHONPATH it is only to plan, by the relufit that is there."""
    return launcher.snakemake_here(folder, *arguments, **environment)


def planned(text: str) -> dict[str, int]:
    """Return how many jobs of each kind a dry run announces; verdicts and figures are one kind each."""
    counts: dict[str, int] = {}
    for rule, count in re.findall(r"^([a-z]+)\w* +(\d+)$", text, re.M):
        counts[rule] = counts.get(rule, 0) + int(count)
    return {rule: count for rule, count in counts.items() if rule not in {"all", "total"}}
