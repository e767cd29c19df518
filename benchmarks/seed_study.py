"""How often a right program is not confirmed: every experiment without a clock, over many seeds of the configuration.

``python benchmarks/seed_study.py --store FOLDER`` runs the settings of ``config.yaml`` with the seeds 1, 2, ... and
judges each of them, 40 seeds of experiments that take less than a minute of a core and 10 of the others, which takes
hours. Trials are kept in the folder by setting, seed and the digest of the code that they depend on, so that a study
that was stopped goes on, and a change of verdicts alone judges the same trials again.

The table goes to ``workflow/report/seed_study.csv``, from which each report has its appendix. A row a statistic: the
number of seeds, of those in which it was confirmed, refuted and inconclusive, the estimated probability that it
is not confirmed, and a digest of the code and the settings.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from relufit.claims.verdict import CONFIRMED, DESCRIBED, INCONCLUSIVE, REFUTED
from relufit.experiments import CATALOGUE
from relufit.experiments.configuration import load
from relufit.experiments.framework.base import Outcome, Setting, Trial
from relufit.experiments.framework.fingerprint import fingerprint
from relufit.experiments.framework.procedures import MODULES, PROCEDURES
from relufit.experiments.framework.trials import Traces, gather
from relufit.files.atomic import replacing
from relufit.report.seed_study import COLUMNS
from relufit.sources import code_digest

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "workflow/report/seed_study.csv"
#: Experiments of which a seed takes more than a minute of a core of ours; they have fewer seeds.
LONG = {
    "ablations",
    "batch_scaling",
    "bits_frontier",
    "bits_to_accuracy",
    "initialization_scale",
    "local_steps",
    "qsgd_convergence",
    "reference_methods",
    "sample_complexity",
    "step_instability",
    "worker_scaling",
}


def main() -> None:
    """Run the study and write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="folder that keeps the trials")
    parser.add_argument("--seeds", type=int, default=40, help="of experiments of which one takes less than a minute")
    parser.add_argument("--long-seeds", type=int, default=10, help="of the others")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--experiments", nargs="+", help="these alone; the table keeps the rows of the others")
    parser.add_argument("--table", type=Path, default=TABLE)
    given = parser.parse_args()
    config = load([ROOT / "config.yaml"])
    names = given.experiments or [name for name in config["experiments"] if not CATALOGUE[name].TIMED]
    # One seed of all experiments after the other: a study that is stopped early has as many of each.
    most = {name: given.long_seeds if name in LONG else given.seeds for name in names}
    work = [(name, seed) for seed in range(1, max(most.values()) + 1) for name in names if seed <= most[name]]
    judged: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(judge, name, seed, given.store) for name, seed in work]
        for (name, seed), task in zip(work, tasks, strict=True):
            verdicts = task.result()
            judged[name] += verdicts
            missed = [f"{v['statistic']} ({v['setting']})" for v in verdicts if v["verdict"] in (REFUTED, INCONCLUSIVE)]
            print(
                name, seed, f"{len(verdicts)} statistics", *(f"\n  not confirmed: {one}" for one in missed), flush=True
            )
    tables = [summarise(name, verdicts, fingerprint(name, config)) for name, verdicts in judged.items()]
    table = pd.concat(tables, ignore_index=True)
    if given.experiments and given.table.exists():
        before = pd.read_csv(given.table)
        table = pd.concat([before[~before["experiment"].isin(names)], table], ignore_index=True)
    with replacing(given.table) as path:
        table.to_csv(path, index=False, float_format="%.3g")
    print(f"{given.table}: {1 - table['not_confirmed'].sum():.3f} that all are confirmed")


def judge(name: str, seed: int, store: Path) -> list[dict[str, Any]]:
    """Return the verdicts of an experiment with one seed, as JSON-ready values."""
    config = {**load([ROOT / "config.yaml"]), "seed": seed}
    experiment = CATALOGUE[name]
    settings = experiment.settings(config)
    own = {MODULES[setting.procedure] for setting in settings if setting.procedure in MODULES}
    path = store / code_digest("trials", *sorted(own))[:16] / f"{name}-{seed}.pickle"
    kept: dict[str, Outcome] = pickle.loads(path.read_bytes()) if path.exists() else {}
    outcomes = []
    known = len(kept)
    for setting in settings:
        for trial in range(setting.trials):
            key = _key(setting, trial)
            if key not in kept:
                kept[key] = _trial(setting, seed, trial)
            outcomes.append(kept[key])
    if len(kept) > known:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as target:
            target.write_bytes(pickle.dumps(kept))
    traces: Traces = gather(settings, outcomes)
    by_topic = experiment.judge(config, *traces).verdicts
    return [asdict(verdict) for verdicts in by_topic.values() for verdict in verdicts]


def _key(setting: Setting, trial: int) -> str:
    values = {**asdict(setting), "trials": None, "group": None}
    return hashlib.sha256(json.dumps([values, trial], sort_keys=True).encode()).hexdigest()


def _trial(setting: Setting, seed: int, trial: int) -> Outcome:
    return PROCEDURES[setting.procedure](Trial(setting, seed, trial))


def summarise(name: str, verdicts: list[dict[str, Any]], fingerprint: str) -> pd.DataFrame:
    """Return the rows of an experiment: of each statistic how often it was what, and the estimated probability."""
    rows = []
    table = pd.DataFrame(verdicts)
    table = table[table["verdict"] != DESCRIBED].copy()
    table["kind"] = [_kind(setting) for setting in table["setting"]]
    for (statistic, kind), group in table.groupby(["statistic", "kind"], sort=False):
        counts = [int((group["verdict"] == verdict).sum()) for verdict in (CONFIRMED, REFUTED, INCONCLUSIVE)]
        missed = not_confirmed(group) if (group["setting"] == kind).all() else weakest_not_confirmed(group)
        rows.append((name, statistic, kind, len(group), *counts, missed, fingerprint))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _kind(setting: str) -> str:
    """Return a setting as it is the same with every seed: which of a kind is the weakest differs from seed to seed."""
    if not re.search(r", the weakest of \d+$", setting):
        return setting
    return ", ".join(part for part in setting.split(", ") if "=" not in part)


def not_confirmed(verdicts: pd.DataFrame) -> float:
    """Return the probability that a statistic is not confirmed: that its interval passes the one or the other bound.

    Both ends of the interval are taken as normal over the seeds.
    """
    missed = 0.0
    for distance in (verdicts["low"] - verdicts["least"], verdicts["most"] - verdicts["high"]):
        if not np.isposinf(distance).all():
            spread = distance.std(ddof=1)
            missed += scipy.special.ndtr(-distance.mean() / spread) if spread > 0 else float((distance < 0).mean())
    return min(1.0, missed)


def weakest_not_confirmed(verdicts: pd.DataFrame) -> float:
    """Return the probability that one of a kind of exact tests is not confirmed, of which the weakest is given.

    An interval of half-width h is z standard errors of the mean to both sides. It is not within the resolution r if the
    mean, taken as normal about the prediction, is off by more than r - h. Settings are independent, and those that were
    the weakest with no seed do not count: their intervals are narrow.
    """
    confirmed = 1.0
    for _, group in verdicts.groupby("setting"):
        resolution = (group["most"] - group["least"]).iloc[0] / 2
        half, z = (
            ((group["high"] - group["low"]) / 2).mean(),
            -scipy.special.ndtri((1 - group["confidence"].iloc[0]) / 2),
        )
        confirmed *= 1 - min(1.0, 2 * float(scipy.special.ndtr(-z * (resolution / half - 1))))
    return 1 - confirmed


if __name__ == "__main__":
    main()
