"""``relufit compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relufit.claims.report import as_json
from relufit.claims.statistics import Interval
from relufit.claims.verdict import judge
from relufit.cli import main


def _run(folder: Path, name: str, values: dict[str, float]) -> Path:
    verdicts = [
        judge("iterations", setting, Interval(v, v - 1, v + 1), most=150, trials=3, evidence="e").as_json()
        for setting, v in values.items()
    ]
    judged: dict[str, Any] = dict.fromkeys(("question", "prediction", "budget"), "words")
    judged |= {"title": "Rates", "setting": f"as in {name}", "verdicts": {"fast convergence": verdicts}}
    folder.mkdir()
    (folder / "claims.json").write_text(json.dumps(as_json(name, 7, {"rates": judged})))
    return folder


def test_what_differs_is_side_by_side_with_its_ratio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = _run(tmp_path / "a", "first", {"s = 4": 100.0, "s = 8": 50.0})
    other = _run(tmp_path / "b", "second", {"s = 4": 200.0, "s = 8": 50.0, "s = 16": 40.0})
    assert main(["compare", str(one), str(other)]) == 0
    text = capsys.readouterr().out
    assert "| iterations | s = 4 | 100 (99 to 101) | 200 (199 to 201) | 2 | **confirmed, refuted** |" in text
    assert "| iterations | s = 8 | 50 (49 to 51) | 50 (49 to 51) | 1 | confirmed |" in text
    assert "| iterations | s = 16 | — | 40 (39 to 41) | — | **—, confirmed** |" in text
    assert (
        "| QSGD maintains the fast convergence of SGD to a globally optimal model | confirmed | refuted | differs |"
        in text
    )
    assert "- second: as in second; **refuted**" in text


def test_what_is_the_same_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = _run(tmp_path / "a", "first", {"s = 4": 100.0, "s = 8": 50.0})
    other = _run(tmp_path / "b", "second", {"s = 4": 200.0, "s = 8": 50.0})
    assert main(["compare", str(one), str(other), "--changes-only"]) == 0
    text = capsys.readouterr().out
    assert "s = 4" in text
    assert "s = 8" not in text
    assert main(["compare", str(one), str(one), "--changes-only", "--output", str(tmp_path / "c.md")]) == 0
    assert "No statistic differs." in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"run": "x"}'])
def test_a_folder_without_verdicts_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    one = _run(tmp_path / "a", "first", {"s = 4": 100.0})
    (tmp_path / "b").mkdir()
    if content is not None:
        (tmp_path / "b/claims.json").write_text(content)
    assert main(["compare", str(one), str(tmp_path / "b")]) == 2
    assert str(tmp_path / "b/claims.json") in capsys.readouterr().err
