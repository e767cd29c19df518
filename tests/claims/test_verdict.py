"""Verdicts can come out three ways, and claims take the worst of theirs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import relufit
from relufit.claims.abstract import CLAIMS, FINDINGS, check_topics, summarise
from relufit.claims.report import as_json, as_markdown
from relufit.claims.statistics import Interval
from relufit.claims.topics import Topic
from relufit.claims.verdict import combine, describe, exactly, judge, unmeasured


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.95, 1.05, "confirmed"),
        (0.9, 1.1, "confirmed"),
        (0.85, 1.0, "inconclusive"),
        (1.05, 1.3, "inconclusive"),
        (0.5, 1.5, "inconclusive"),
        (1.11, 1.2, "refuted"),
        (0.5, 0.8, "refuted"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_an_interval_is_judged_by_where_it_lies(low: float, high: float, verdict: str) -> None:
    mean = (low + high) / 2
    judged = judge("ratio", "here", Interval(mean, low, high), least=0.9, most=1.1, trials=5, evidence="file")
    assert judged.verdict == verdict


def test_what_must_hold_exactly_is_refuted_by_one_exception() -> None:
    assert exactly("same", "here", True, trials=3, evidence="f").verdict == "confirmed"
    assert exactly("same", "here", False, trials=3, evidence="f").verdict == "refuted"


@pytest.mark.parametrize(
    ("verdicts", "combined"),
    [
        ([], "inconclusive"),
        (["confirmed"], "confirmed"),
        (["confirmed", "inconclusive"], "inconclusive"),
        (["confirmed", "refuted", "inconclusive"], "refuted"),
    ],
)
def test_a_claim_is_no_better_than_its_worst_statistic(verdicts: list[str], combined: str) -> None:
    assert combine(verdicts) == combined


def _judged(verdict: str) -> dict[str, Any]:
    interval = {"confirmed": Interval(1, 1, 1), "refuted": Interval(0, 0, 0)}[verdict]
    judgement = judge("ratio | of", "here", interval, least=1, trials=2, evidence="traces/a.parquet", note="Mind this.")
    words = {"title": "T", "question": "Q?", "prediction": "P.", "setting": "S", "budget": "B"}
    return {**words, "verdicts": {"fast convergence": [judgement.as_json()]}}


def test_a_refuted_statistic_refutes_the_claim_it_bears_on_and_no_other() -> None:
    judged = {"good": _judged("confirmed"), "bad": _judged("refuted")}
    claims = {claim["claim"]: claim for claim in summarise(CLAIMS, judged)}
    assert claims["qsgd_convergence"]["verdict"] == "refuted"
    assert claims["qsgd_convergence"]["experiments"] == {"good": "confirmed", "bad": "refuted"}
    assert {claim["verdict"] for name, claim in claims.items() if name != "qsgd_convergence"} == {"inconclusive"}


def test_every_claim_is_in_both_reports_with_its_words() -> None:
    content = as_json("mine", 7, {"good": _judged("confirmed")})
    text = as_markdown(content)
    assert [claim["words"] for claim in content["claims"]] == [claim.words for claim in CLAIMS]
    assert all(claim.words in text and claim.condition in text for claim in CLAIMS + FINDINGS)
    assert "Mind this." in text
    assert "traces/a.parquet" in text


def _links(*verdicts: Any) -> dict[str, dict[str, Any]]:
    texts = dict.fromkeys(("title", "question", "prediction", "setting", "budget"), "words")
    return {"link_speed": {**texts, "verdicts": {"network": [one.as_json() for one in verdicts]}}}


def _network(judged: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return next(claim for claim in summarise(CLAIMS, judged) if claim["claim"] == "network")


def test_a_description_decides_nothing() -> None:
    shown = describe("bytes", "here", Interval(12.0, 11.0, 13.0), trials=5, evidence="f")
    assert (shown.verdict, combine(["described", "confirmed"]), combine(["described"])) == (
        "described",
        "confirmed",
        "inconclusive",
    )
    assert _network(_links(shown, exactly("same", "here", True, trials=3, evidence="f")))["verdict"] == "confirmed"
    alone = _network(_links(shown))
    assert (alone["verdict"], alone["experiments"]) == ("inconclusive", {})
    assert alone["note"] == "no experiment of this run bears on it"


def test_what_was_not_measured_has_no_number_and_says_why_and_what_helps_with_its_claim() -> None:
    missing = unmeasured("seconds", "here", evidence="f", reason="Nothing could run.", remedy="Install it.")
    assert math.isnan(missing.value)
    judged = _links(missing, missing)
    claim = _network(judged)
    assert claim["verdict"] == "inconclusive"
    assert claim["note"] == "Not measured: Nothing could run. Install it."
    text = as_markdown(as_json("run", 1, judged))
    (row,) = [line for line in text.splitlines() if "over Amazon EC2" in line and line.startswith("|")]
    assert "Not measured: Nothing could run. Install it." in row
    assert "| seconds | here | — | — | — | 0 | **inconclusive** |" in text


@pytest.mark.parametrize("topic", Topic)
def test_a_topic_that_no_claim_and_no_finding_has_is_an_error_with_its_name(topic: Topic) -> None:
    others = tuple(statement for statement in (*CLAIMS, *FINDINGS) if topic not in statement.topics)
    with pytest.raises(ValueError, match=f"has the topics .*{topic}"):
        check_topics(others)


def test_experiments_file_verdicts_under_every_topic() -> None:
    experiments = (Path(relufit.__file__).parent / "experiments").rglob("*.py")
    text = "".join(path.read_text() for path in experiments)
    assert [topic for topic in Topic if f"Topic.{topic.name}" not in text] == []
