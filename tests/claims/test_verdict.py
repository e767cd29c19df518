"""Verdicts can come out three ways, and claims take the worst of theirs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from relufit.claims.abstract import CLAIMS, FINDINGS, summarise
from relufit.claims.report import as_json, as_markdown
from relufit.claims.statistics import Interval
from relufit.claims.verdict import combine, exactly, judge


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
    found = judge("ratio | of", "here", interval, least=1, trials=2, evidence="traces/a.parquet", note="Mind this.")
    words = {"title": "T", "question": "Q?", "prediction": "P.", "setting": "S", "budget": "B"}
    return {**words, "verdicts": {"fast convergence": [found.as_json()]}}


def test_a_refuted_statistic_refutes_the_claim_it_bears_on_and_no_other() -> None:
    judged = {"good": _judged("confirmed"), "bad": _judged("refuted")}
    claims = {claim["claim"]: claim for claim in summarise(CLAIMS, judged)}
    assert claims["qsgd_convergence"]["verdict"] == "refuted"
    assert claims["qsgd_convergence"]["experiments"] == {"good": "confirmed", "bad": "refuted"}
    assert {its["verdict"] for name, its in claims.items() if name != "qsgd_convergence"} == {"inconclusive"}


def test_every_claim_is_in_both_reports_with_its_words() -> None:
    content = as_json("mine", 7, {"good": _judged("confirmed")})
    text = as_markdown(content)
    assert [claim["words"] for claim in content["claims"]] == [claim.words for claim in CLAIMS]
    assert all(claim.words in text and claim.condition in text for claim in CLAIMS + FINDINGS)
    assert "Mind this." in text
    assert "traces/a.parquet" in text
