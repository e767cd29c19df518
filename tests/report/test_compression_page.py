"""The page on where compression pays: the map of a run and what was timed, as tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from relufit.cli import main
from relufit.experiments.configuration import load

ROOT = Path(__file__).parent.parent.parent
_WAY = {"exchange": "all_reduce", "compressor": "qsgd", "coding": "rans", "levels": 4, "mini_batch": 24, "seconds": 1.0}
_NOT_TIMED = {"timed": None, "timed_gain": None, "timed_planned": None}


def _run(folder: Path, gains: list[dict[str, object]]) -> Path:
    """Make the folder of a run whose map has a cell of two, and one of sixteen ranks."""
    (folder / "tables").mkdir(parents=True)
    timed = {"timed": "qsgd-s4-rans-all_gather", "timed_gain": 6.54, "timed_planned": 6.6}
    at = {"dimension": 1000, "rate": 1e8, "rank_batch": 12.0, "batch": "12 $K$"}
    cells = [
        {**at, **_WAY, "workers": 2, "gain": 7.04, **timed},
        {**at, **_WAY, "workers": 16, "gain": 1.004, "compressor": "fp16", "coding": "", **_NOT_TIMED},
        {**at, **_WAY, "workers": 2, "gain": 12.4, "rank_batch": None, "batch": "best of each", **_NOT_TIMED},
    ]
    pd.DataFrame(cells).to_csv(folder / "tables/link_speed.timing-map.csv", index=False)
    columns = ["dimension", "workers", "rank_batch", "rate", "run", "gain", "low", "high", "planned", "network"]
    pd.DataFrame(gains, columns=columns).to_csv(folder / "tables/link_speed.timing-gains.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(load([ROOT / "config.yaml"])))
    return folder


def _gain(network: float, samples: int = 12) -> dict[str, object]:
    at = {"dimension": 1000, "workers": 2, "rank_batch": samples, "rate": 1e8, "run": "qsgd-s4-rans-all_gather"}
    return {**at, "gain": 6.54, "low": 6.4, "high": 6.7, "planned": 6.0, "network": network}


def test_a_page_has_the_best_ways_and_what_was_timed(tmp_path: Path) -> None:
    run, page = _run(tmp_path / "run", [_gain(0.9), _gain(0.5), _gain(0.9, samples=400)]), tmp_path / "page.md"
    assert main(["page", str(run), "--output", str(page)]) == 0
    lines = page.read_text().splitlines()
    given = lines[lines.index("## With 12 samples a rank") : lines.index("## With the best mini-batch of each")]
    best = lines[lines.index("## With the best mini-batch of each") : lines.index("## What was timed")]
    assert "| ranks | 100 Mbit/s |" in given
    assert "| 2 | **7.0** QSGD rans, all-reduce; timed: 6.5 |" in given
    assert "| 16 | **1.00** fp16, all-reduce |" in given
    assert [line for line in best if "**" in line] == ["| 2 | **12** QSGD rans, all-reduce |"]
    # Of the two with as many samples as the map: the difference only where the network dominates.
    timed = "| 1 000 | 2 | 100 Mbit/s | QSGD, s = 4, rans, all-gather | 6.5 (6.4 to 6.7) | 6.0 |"
    assert [line for line in lines if "QSGD, s = 4" in line] == [f"{timed} +9% |", f"{timed}  |"]


def test_where_nothing_was_timed_the_page_says_so(tmp_path: Path) -> None:
    run, page = _run(tmp_path / "run", []), tmp_path / "page.md"
    assert main(["page", str(run), "--output", str(page)]) == 0
    assert "Nothing: hosts were not emulated in this run." in page.read_text()


@pytest.mark.parametrize("lacking", ["experiment", "table"])
def test_a_run_without_what_it_takes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lacking: str
) -> None:
    run, page = _run(tmp_path / "run", []), tmp_path / "page.md"
    if lacking == "table":
        (run / "tables/link_speed.timing-map.csv").unlink()
    else:
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "experiments": ["initial_error"]}))
    assert main(["page", str(run), "--output", str(page)]) == 2
    said = capsys.readouterr().err
    assert "timing-map.csv" in said if lacking == "table" else "the run has no link_speed" in said
    assert not page.exists()


def test_the_page_of_the_documentation_has_the_parts_of_the_template(tmp_path: Path) -> None:
    run, page = _run(tmp_path / "run", [_gain(0.9)]), tmp_path / "page.md"
    assert main(["page", str(run), "--output", str(page)]) == 0

    def said(path: Path) -> list[str]:
        """Return what is not of a table or a dimension."""
        return [line for line in path.read_text().splitlines() if line and not line.startswith(("|", "d = "))]

    assert said(ROOT / "docs/does-compression-pay.md") == said(page)
