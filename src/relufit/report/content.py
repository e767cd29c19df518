"""What the report says: read from a run's folder, checked to be complete, and put in the order of the page."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from relufit.claims.abstract import CLAIMS, FINDINGS
from relufit.claims.topics import Topic
from relufit.errors import DataError
from relufit.figures import FIGURES
from relufit.pipeline import config as configuration
from relufit.pipeline.manifest import is_timed
from relufit.report import captions as rst
from relufit.report import provenance, seed_study

_TOPICS = {claim.name: claim.topics for claim in (*CLAIMS, *FINDINGS)}


class Bearing(NamedTuple):
    """An experiment that bears on a statement: its verdict on it, and its statistics, topic by topic."""

    experiment: str
    title: str
    verdict: str
    topics: dict[Topic, Counter[str]]


class Statement(NamedTuple):
    """A claim of the abstract, or a finding."""

    name: str
    words: str
    verdict: str
    condition: str
    note: str
    bearing: list[Bearing]


class Figure(NamedTuple):
    """A figure: its image as a data URI, with its size in CSS pixels, and its caption as HTML."""

    name: str
    title: str
    timed: bool
    image: str
    width: int
    height: int
    caption: str


class Table(NamedTuple):
    """A table, as a data URI."""

    name: str
    timed: bool
    size: int
    data: str


@dataclass(frozen=True)
class Experiment:
    """An experiment; `judged` is its entry in claims.json."""

    name: str
    judged: dict[str, Any]
    figures: list[Figure]
    tables: list[Table]

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """All its statistics."""
        return [verdict for verdicts in self.judged["verdicts"].values() for verdict in verdicts]

    @property
    def trials(self) -> str:
        """How many trials its statistics rest on."""
        counts = [verdict["trials"] for verdict in self.verdicts] or [0]
        return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}, by statistic"

    @property
    def notes(self) -> list[str]:
        """What its statistics note, each once."""
        return list(dict.fromkeys(verdict["note"] for verdict in self.verdicts if verdict["note"]))

    @property
    def evidence(self) -> list[str]:
        """The files its statistics were computed from, each once."""
        return list(dict.fromkeys(verdict["evidence"] for verdict in self.verdicts))


@dataclass(frozen=True)
class Run:
    """All that the report says."""

    name: str
    seed: int
    source: str
    claims: list[Statement]
    findings: list[Statement]
    experiments: list[Experiment]
    provenance: provenance.Provenance
    config: str
    seed_study: seed_study.SeedStudy | None = None


def read(
    folder: Path,
    captions: Path,
    timings: Mapping[str, Iterable[Path]],
    study: seed_study.SeedStudy | None = None,
) -> Run:
    """Return what the report of a finished run says.

    Parameters
    ----------
    folder : Path
        The run's folder, such as results/paper.
    captions : Path
        The folder of the captions, ``{figure}.rst``.
    timings : mapping of str to paths
        For each experiment the timings of its traces.
    study : SeedStudy, optional
        For the appendix; there is none without it.

    Raises
    ------
    ConfigError
        If the run's configuration is missing or no YAML; its keys were checked when it was written.
    DataError
        If another of its files is missing or wrong.
    """
    content = _claims(folder / "claims.json")
    config = configuration.read([folder / "config.yaml"])
    experiments: dict[str, dict[str, Any]] = content["experiments"]
    return Run(
        name=content["run"],
        seed=content["seed"],
        source=content["source"],
        claims=[_statement(entry, experiments) for entry in content["claims"]],
        findings=[_statement(entry, experiments) for entry in content["findings"]],
        experiments=[
            Experiment(
                name,
                judged,
                [_figure(figure, folder, captions, config) for figure in _drawn(name, set(experiments))],
                _tables(name, folder),
            )
            for name, judged in experiments.items()
        ],
        provenance=provenance.read(folder / "manifest.json", timings),
        config=yaml.safe_dump(config, sort_keys=False),
        seed_study=study,
    )


def tally(verdicts: Iterable[str]) -> str:
    """Return in words how many of some verdicts are which: ``3 confirmed, 1 refuted``."""
    counts = Counter(verdicts)
    return ", ".join(
        f"{counts[kind]} {kind}" for kind in ("confirmed", "refuted", "inconclusive", "described") if counts[kind]
    )


def _claims(path: Path) -> dict[str, Any]:
    wanted = {"run", "seed", "source", "claims", "findings", "experiments"}
    shown = {"title", "question", "prediction", "setting", "budget", "verdict", "verdicts"}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = wanted - set(content)
        for judged in () if missing else content["experiments"].values():
            missing |= shown - set(judged)
        for entry in () if missing else (*content["claims"], *content["findings"]):
            missing |= set(entry["experiments"]) - set(content["experiments"])
    except FileNotFoundError as error:
        raise DataError("there are no verdicts", where=str(path), remedy="make them with `relufit claims`") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"no verdicts of ours ({error})", where=str(path), remedy="make them again") from error
    if missing:
        raise DataError(f"{', '.join(sorted(missing))} missing", where=str(path), remedy="make the run again")
    return content


def _statement(entry: dict[str, Any], experiments: dict[str, dict[str, Any]]) -> Statement:
    bearing = []
    for name, verdict in entry["experiments"].items():
        filed = experiments[name]["verdicts"]
        topics = [topic for topic in _TOPICS.get(entry["claim"], ()) if filed.get(topic)]
        counts = {topic: Counter(v["verdict"] for v in filed[topic]) for topic in topics}
        bearing.append(Bearing(name, experiments[name]["title"], verdict, counts))
    return Statement(entry["claim"], entry["words"], entry["verdict"], entry["condition"], entry["note"], bearing)


def _drawn(experiment: str, run: set[str]) -> list[str]:
    """Return the figures of an experiment whose tables all are of experiments of the run."""
    return [
        name
        for name, figure in FIGURES.items()
        if figure.experiment == experiment and {table.split(".")[0] for table in figure.tables} <= run
    ]


def _figure(name: str, folder: Path, captions: Path, config: dict[str, Any]) -> Figure:
    path = folder / "figures" / f"{name}.svg"
    if not path.is_file():
        raise DataError("there is no figure", where=str(path), remedy=f"draw it with `relufit figure {name}`")
    image = path.read_bytes()
    caption = rst.render(captions / f"{name}.rst", config, prefix=f"caption-{name}-")
    shown = _data("image/svg+xml", image)
    return Figure(name, FIGURES[name].title, is_timed(path), shown, *_size(image, path), caption)


def _size(image: bytes, path: Path) -> tuple[int, int]:
    """Return width and height in CSS pixels, for the page to leave room before the image is decoded."""
    match = re.search(rb'<svg\b[^>]*\bviewBox="0 0 ([\d.]+) ([\d.]+)"', image)
    if match is None:
        raise DataError("is no SVG with a viewBox from 0 0", where=str(path), remedy="draw it again")
    # A figure counts in points, 72 to an inch, and CSS has 96 pixels to an inch.
    width, height = (round(float(side) * 96 / 72) for side in match.groups())
    return width, height


def _tables(experiment: str, folder: Path) -> list[Table]:
    paths = sorted((folder / "tables").glob(f"{experiment}.*.csv"))
    contents = [(path, path.read_bytes()) for path in paths]
    return [Table(path.name, is_timed(path), len(data), _data("text/csv", data)) for path, data in contents]


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
