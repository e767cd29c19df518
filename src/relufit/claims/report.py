"""Judgements as files: claims.json for programs, claims.md for people."""

from __future__ import annotations

from typing import Any

from relufit.claims.abstract import CLAIMS, FINDINGS, SOURCE, summarise
from relufit.claims.verdict import combine


def as_json(run: str, seed: int, experiments: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the content of claims.json: claims and findings with their verdicts, then every judgement."""
    judged = {
        name: {"verdict": combine(v["verdict"] for verdicts in one["verdicts"].values() for v in verdicts), **one}
        for name, one in experiments.items()
    }
    return {
        "run": run,
        "seed": seed,
        "source": SOURCE,
        "claims": summarise(CLAIMS, judged),
        "findings": summarise(FINDINGS, judged),
        "experiments": judged,
    }


def as_markdown(content: dict[str, Any]) -> str:
    """Return the content of claims.md."""
    lines = [
        f"# Verdicts of the run `{content['run']}`, seed {content['seed']}",
        "",
        f"Claims are quoted from the abstract of: {content['source']}.",
        "",
        *_statements("claim of the abstract", content["claims"], "“{}”"),
        "",
        "What the abstract does not say:",
        "",
        *_statements("finding", content["findings"], "{}"),
    ]
    for name, judged in content["experiments"].items():
        lines += ["", f"## {judged['title']}: {judged['verdict']}", "", judged["question"], ""]
        lines += [f"Prediction: {judged['prediction']}", "", f"Setting: {judged['setting']}."]
        lines += [f"Budget: {judged['budget']}. Seed: {content['seed']}.", ""]
        lines += ["| statistic | setting | value | interval | confirmed within | trials | verdict |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for verdicts in judged["verdicts"].values():
            lines += [_row(verdict) for verdict in verdicts]
        notes = dict.fromkeys(v["note"] for verdicts in judged["verdicts"].values() for v in verdicts if v["note"])
        lines += ["", *(f"- {note}" for note in notes)] if notes else []
        evidence = dict.fromkeys(v["evidence"] for verdicts in judged["verdicts"].values() for v in verdicts)
        lines += ["", f"Experiment `{name}`; evidence: {', '.join(f'`{path}`' for path in evidence)}."]
    return "\n".join(lines) + "\n"


def _statements(title: str, statements: list[dict[str, Any]], quoted: str) -> list[str]:
    rows = [f"| {title} | verdict | condition | experiments |", "|---|---|---|---|"]
    for statement in statements:
        experiments = ", ".join(f"`{name}`: {verdict}" for name, verdict in statement["experiments"].items())
        bearing = ". ".join(filter(None, (experiments, statement["note"])))
        rows.append(
            f"| {quoted.format(statement['words'])} | **{statement['verdict']}** | {statement['condition']} "
            f"| {bearing} |"
        )
    return rows


def _row(verdict: dict[str, Any]) -> str:
    cells = (
        verdict["statistic"],
        verdict["setting"],
        number(verdict["value"]),
        interval(verdict),
        wanted(verdict),
        verdict["trials"],
    )
    return "| " + " | ".join(map(str, cells)) + f" | **{verdict['verdict']}** |"


def interval(verdict: dict[str, Any]) -> str:
    """Return the interval of a verdict with its confidence; a dash where nothing was measured."""
    if verdict["value"] is None and verdict["low"] is None and verdict["high"] is None:
        return "—"
    return f"{number(verdict['low'])} to {number(verdict['high'])} ({100 * verdict['confidence']:.4g} %)"


def wanted(verdict: dict[str, Any]) -> str:
    """Return in words within what bounds a verdict is confirmed; a dash where there are none."""
    least, most = verdict["least"], verdict["most"]
    if least is None and most is None:
        return "—"
    if least is not None and most is not None:
        return f"{number(least)} to {number(most)}"
    return f"at least {number(least)}" if least is not None else f"at most {number(most)}"


def number(value: float | None) -> str:
    """Return a number in four digits; a dash where there is none."""
    return "—" if value is None else f"{value:.4g}"
