"""The appendix on seeds: how often statistics of a right program are not confirmed, as a study has measured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from relufit.errors import DataError

#: Columns of a study's table, one row a statistic.
COLUMNS = (
    "experiment",
    "statistic",
    "setting",
    "seeds",
    "confirmed",
    "refuted",
    "inconclusive",
    "not_confirmed",
    "fingerprint",
)


class Row(NamedTuple):
    """A statistic: with how many seeds it was what, and the estimated probability that it is not confirmed."""

    experiment: str
    statistic: str
    setting: str
    seeds: int
    confirmed: int
    refuted: int
    inconclusive: int
    not_confirmed: float


class Studied(NamedTuple):
    """An experiment of a study.

    `verdicts` counts those of all its statistics and seeds, `missed` those that are not *confirmed*; `not_confirmed` is
    the sum of the probabilities of its statistics; `same` tells whether the study ran the code and the settings of the
    report.
    """

    experiment: str
    seeds: int
    statistics: int
    verdicts: int
    missed: int
    not_confirmed: float
    same: bool


@dataclass(frozen=True)
class SeedStudy:
    """A study: its experiments, and its statistics, those that miss most often first."""

    experiments: list[Studied]
    rows: list[Row]

    @property
    def all_confirmed(self) -> float:
        """A lower bound of the probability that every statistic is confirmed, by Bonferroni's inequality."""
        return max(0.0, 1 - sum(one.not_confirmed for one in self.experiments))


def read(path: Path, fingerprints: Mapping[str, str]) -> SeedStudy:
    """Return the content of a study's table.

    Parameters
    ----------
    path : Path
        CSV with the columns `COLUMNS`.
    fingerprints : mapping of str to str
        Of the experiments of the report, see `relufit.experiments.framework.fingerprint`.

    Raises
    ------
    DataError
        If the file is missing or no such table.
    """
    try:
        table = pd.read_csv(path)
        if missing := [name for name in COLUMNS if name not in table]:
            raise ValueError(f"{', '.join(missing)} missing")
        if table.empty or table[list(COLUMNS)].isna().any(axis=None):
            raise ValueError("values missing")
        counts = table[["confirmed", "refuted", "inconclusive"]].sum(axis=1)
        if (counts != table["seeds"]).any() or not table["not_confirmed"].between(0, 1).all():
            raise ValueError("counts that do not add up to the seeds, or probabilities outside 0 to 1")
    except OSError as error:
        raise DataError("cannot be read", where=str(path), remedy="run benchmarks/seed_study.py") from error
    except (ValueError, TypeError) as error:
        what = f"no table of a seed study ({error})"
        raise DataError(what, where=str(path), remedy="run benchmarks/seed_study.py") from error
    experiments = [
        Studied(
            experiment=name,
            seeds=int(rows["seeds"].max()),
            statistics=len(rows),
            verdicts=int(rows["seeds"].sum()),
            missed=int((rows["seeds"] - rows["confirmed"]).sum()),
            not_confirmed=float(rows["not_confirmed"].sum()),
            same=set(rows["fingerprint"]) == {fingerprints.get(name)},
        )
        for name, rows in ((str(name), rows) for name, rows in table.groupby("experiment", sort=False))
    ]
    worst = table.sort_values("not_confirmed", ascending=False, kind="stable")
    rows = [Row(*values) for values in worst[list(Row._fields)].itertuples(index=False)]
    return SeedStudy(experiments, rows)
