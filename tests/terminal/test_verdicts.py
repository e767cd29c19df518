"""The verdicts at the end of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relufit.claims.abstract import FINDINGS
from relufit.claims.report import as_json
from relufit.terminal.display import WIDTH
from relufit.terminal.verdicts import summary


def _claims(folder: Path, **verdicts: str) -> dict[str, Any]:
    """Write the verdicts of a run in which one experiment bears on the topic `samples` and one on `network`."""
    experiments = {
        name: {"verdicts": {topic: [{"verdict": verdicts[name], "trials": 2, "note": ""}]}}
        for name, topic in (("sample_complexity", "samples"), ("link_speed", "network"))
    }
    content = as_json("paper", 1, experiments)
    (folder / "claims.json").write_text(json.dumps(content))
    return content


def test_each_claim_is_there_behind_its_verdict_and_then_the_report(tmp_path: Path) -> None:
    content = _claims(tmp_path, sample_complexity="confirmed", link_speed="inconclusive")
    (tmp_path / "report.html").write_text("")
    lines = summary(tmp_path)
    assert max(len(line) for line in lines[1:-1]) <= WIDTH
    flat = " ".join(" ".join(lines).split())
    for claim in content["claims"]:
        assert f"{claim['verdict']} {claim['words']}" in flat
    assert "  confirmed     with a number of samples that is optimal up to numerical constants" in lines
    assert "  inconclusive  distributed implementations over Amazon EC2 (link_speed)" in lines
    assert "to the planted model (not part of this run)" in flat
    assert lines[-2] == f"What the abstract does not say, {len(FINDINGS)} findings: {len(FINDINGS)} inconclusive"
    assert lines[-1] == f"Report: {tmp_path / 'report.html'}"


def test_a_report_that_is_not_there_is_not_named(tmp_path: Path) -> None:
    _claims(tmp_path, sample_complexity="confirmed", link_speed="confirmed")
    assert "report.html" not in "\n".join(summary(tmp_path))


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"claims": [1], "findings": []}', '{"claims": 5}', "null"])
def test_verdicts_that_cannot_be_read_are_no_error_at_the_end_of_a_run(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "claims.json").write_text(text)
    assert summary(tmp_path) == []
