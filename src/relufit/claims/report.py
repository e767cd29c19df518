"""Judgements as files: claims.json for programs, claims.md for people."""

from __future__ import annotations

from typing import Any

from relufit.claims.abstract import SOURCE, summarise


def as_json(run: str, seed: int, experiments: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the content of claims.json: the claims with their verdicts, then every experiment's judgement."""
    return {
        "run": run,
        "seed": seed,
        "source": SOURCE,
        "claims": summarise(experiments),
        "experiments": experiments,
    }


def as_markdown(content: dict[str, Any]) -> str:
    """Return the content of claims.md."""
    lines = [
        f"# Verdicts of the run `{content['run']}`",
        "",
        f"Claims are quoted from the abstract of: {content['source']}.",
    ]
    lines += ["", "| claim | verdict | experiments |", "|---|---|---|"]
    for claim in content["claims"]:
        bearing = ", ".join(f"`{name}`" for name in claim["experiments"]) or claim["note"]
        lines.append(f"| “{claim['words']}” | **{claim['verdict']}** | {bearing} |")
    for name, judged in content["experiments"].items():
        lines += [
            "",
            f"## {judged['title']}",
            "",
            judged["question"],
            "",
            f"Setting: {judged['setting']}.",
            "",
        ]
        lines += ["| statistic | setting | value | interval | confirmed within | trials | verdict |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for verdicts in judged["verdicts"].values():
            lines += [_row(verdict) for verdict in verdicts]
        notes = dict.fromkeys(v["note"] for verdicts in judged["verdicts"].values() for v in verdicts if v["note"])
        lines += ["", *(f"- {note}" for note in notes)] if notes else []
        evidence = dict.fromkeys(v["evidence"] for verdicts in judged["verdicts"].values() for v in verdicts)
        lines += ["", f"Experiment `{name}`; evidence: {', '.join(f'`{path}`' for path in evidence)}."]
    return "\n".join(lines) + "\n"


def _row(verdict: dict[str, Any]) -> str:
    interval = f"{_number(verdict['low'])} to {_number(verdict['high'])}"
    least, most = verdict["least"], verdict["most"]
    if least is not None and most is not None:
        wanted = f"{_number(least)} to {_number(most)}"
    else:
        wanted = f"at least {_number(least)}" if least is not None else f"at most {_number(most)}"
    cells = (
        verdict["statistic"],
        verdict["setting"],
        _number(verdict["value"]),
        interval,
        wanted,
        verdict["trials"],
    )
    return "| " + " | ".join(map(str, cells)) + f" | **{verdict['verdict']}** |"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.4g}"
