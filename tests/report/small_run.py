"""A small run on disk, made by hand, for the tests of its report; its texts are hostile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from relufit import report
from relufit.claims import trace_files
from relufit.claims.report import as_json
from relufit.claims.verdict import Verdict
from relufit.figures import FIGURES
from relufit.files.atomic import write_text

ROOT = Path(__file__).parent.parent.parent
EXPERIMENTS = ("qsgd_convergence", "time_to_accuracy")
#: The figures of which all tables are of these experiments.
FIGURES_HERE = [
    name
    for name, figure in FIGURES.items()
    if figure.experiment in EXPERIMENTS and all(table.startswith(EXPERIMENTS) for table in figure.tables)
]
#: Text that means something to HTML, to templates or to reStructuredText, and must mean nothing in the page.
HOSTILE = """<script>alert("1")</script> & 'quoted' </title></style> {{ run.seed }} |pipe| `tick` <img src=x>"""
#: What the figures of the run are filled with, to be found on a screenshot.
FILL = (18, 171, 52)
SVG = (
    '<?xml version="1.0" encoding="utf-8"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="518.4pt" height="216pt" '
    'viewBox="0 0 518.4 216"><defs><style>*{stroke-linejoin: round}</style></defs>'
    f'<rect width="518.4" height="216" style="fill: rgb{FILL}"/><text x="9" y="99">NAME</text></svg>'
)
MACHINE = {"system": "Plan 9", "processor": "mips", "cores": 3, "python": "3.11.1", "packages": {"numba": "0.1.2"}}


@dataclass
class RunOnDisk:
    """The run's folder, its captions, and what `relufit.report.read` takes."""

    folder: Path
    captions: Path
    timings: dict[str, list[Path]]

    def claims(self) -> dict:
        return json.loads((self.folder / "claims.json").read_text())

    def render(self) -> str:
        return report.render(report.read(self.folder, self.captions, self.timings))


def verdict(number: int, kind: str, **changes: object) -> Verdict:
    fields = {
        "statistic": f"statistic {number} of {HOSTILE}",
        "setting": f"setting {number}",
        "value": 1 + number / 1000,
        "low": 0.5 + number / 1000,
        "high": 1.5 + number / 1000,
        "least": 0.25,
        "most": 2.0,
        "verdict": kind,
        "trials": 7,
        "evidence": f"traces/evidence-{number}.parquet",
        "note": f"note {number} & {HOSTILE}",
        "confidence": 0.9,
    }
    return Verdict(**{**fields, **changes})


def judgement(title: str, verdicts: dict[str, list[Verdict]]) -> dict:
    texts = {key: f"{key} of {title}, {HOSTILE}" for key in ("question", "prediction", "setting", "budget")}
    filed = {topic: [one.as_json() for one in topic_verdicts] for topic, topic_verdicts in verdicts.items()}
    return {"title": f"{title} {HOSTILE}", **texts, "verdicts": filed}


def timing(path: Path, **about: object) -> Path:
    trace_files.write(path, pd.DataFrame({"elapsed": [1.0]}), {"machine": MACHINE, "cluster": None, **about})
    return path


def make_run(tmp_path: Path) -> RunOnDisk:
    """Write a run of two experiments: all three verdicts, a long table, and claims that nothing bears on."""
    folder, captions = tmp_path / "results" / "small", tmp_path / "captions"
    statistics = {
        "fast convergence": [verdict(n, "confirmed") for n in range(20)],
        "communication": [
            verdict(20, "refuted", value=float("nan")),
            verdict(21, "confirmed", most=float("inf")),
            verdict(22, "described", least=-float("inf"), most=float("inf")),
        ],
    }
    timed = {"network": [verdict(n, "inconclusive" if n == 35 else "confirmed", trials=3) for n in range(30, 50)]}
    judged = {
        "qsgd_convergence": judgement("first", statistics),
        "time_to_accuracy": judgement("second", timed),
    }
    content = as_json("small", 12345, judged)
    # As in a page of a run, statements are hostile too.
    content["claims"][0]["condition"] += HOSTILE
    write_text(folder / "claims.json", json.dumps(content))
    write_text(folder / "config.yaml", (ROOT / "config.yaml").read_text())
    made = {"sha256": {"a": "0", "b": "1"}, "command": "snakemake --cores 'all' <x>", "commit": "abc1234-dirty"}
    made["version"] = "9.8.7"
    write_text(folder / "manifest.json", json.dumps(made))
    for name in FIGURES_HERE:
        write_text(folder / "figures" / f"{name}.svg", SVG.replace("NAME", name))
        seed = '{{ snakemake.config["seed"] }}'
        write_text(captions / f"{name}.rst", f"Caption of *{name}*, seed {seed}, a < b.\n\n- :math:`x^2`\n")
    write_text(folder / "tables" / "qsgd_convergence.summary.csv", "a,b\n1,é\n")
    write_text(folder / "tables" / "time_to_accuracy.timing-parts.csv", "seconds\n" + "1\n" * 900)
    timings = {
        name: [timing(folder / f"traces/{name}/a.timing.parquet", began=1000.0, seconds=61.25, peak_bytes=123_456_789)]
        for name in EXPERIMENTS
    }
    return RunOnDisk(folder, captions, timings)
