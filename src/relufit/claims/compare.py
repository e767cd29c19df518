"""Two runs side by side: where their verdicts and their numbers differ."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from relufit.claims.report import number


def as_markdown(one: dict[str, Any], other: dict[str, Any], names: tuple[str, str], *, changes_only: bool) -> str:
    """Return both runs' verdicts and statistics as Markdown tables.

    Parameters
    ----------
    one, other : dict
        The contents of two claims.json, see `relufit.claims.report.as_json`.
    names : (str, str)
        What to call them.
    changes_only : bool
        Leave out the statistics that have the same value and verdict in both.
    """
    first, second = names
    lines = [f"# {first} and {second}", "", f"| | {first} | {second} |", "|---|---|---|"]
    lines.append(f"| run, seed | `{one['run']}`, {one['seed']} | `{other['run']}`, {other['seed']} |")
    for kind in ("claims", "findings"):
        lines += ["", f"| {kind} | {first} | {second} | |", "|---|---|---|---|"]
        lines += [_changed(*row) for row in _paired(_statements(one[kind]), _statements(other[kind]))]
    for name in dict.fromkeys([*one["experiments"], *other["experiments"]]):
        mine, theirs = one["experiments"].get(name), other["experiments"].get(name)
        rows = _rows(mine, theirs, changes_only)
        lines += ["", f"## {(mine or theirs or {})['title']}", ""]
        lines += [f"- {which}: {_setting(judged)}" for which, judged in zip(names, (mine, theirs), strict=True)]
        if rows:
            lines += [
                "",
                f"| statistic | setting | {first} | {second} | ratio | verdicts |",
                "|---|---|---|---|---|---|",
            ]
            lines += rows
        else:
            lines += ["", "No statistic differs."]
    return "\n".join(lines) + "\n"


def _statements(statements: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {statement["words"]: statement["verdict"] for statement in statements}


def _paired(one: dict[str, str], other: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(key, one.get(key, "—"), other.get(key, "—")) for key in dict.fromkeys([*one, *other])]


def _changed(words: str, one: str, other: str) -> str:
    return f"| {words} | {one} | {other} | {'differs' if one != other else ''} |"


def _setting(judged: dict[str, Any] | None) -> str:
    return f"{judged['setting']}; **{judged['verdict']}**" if judged else "not run"


def _rows(one: dict[str, Any] | None, other: dict[str, Any] | None, changes_only: bool) -> list[str]:
    first, second = _statistics(one), _statistics(other)
    rows = []
    for key in dict.fromkeys([*first, *second]):
        mine, theirs = first.get(key), second.get(key)
        if changes_only and mine and theirs and _same(mine, theirs):
            continue
        rows.append("| " + " | ".join([*key, _value(mine), _value(theirs), _ratio(mine, theirs)]) + " | ")
        rows[-1] += f"{_verdicts(mine, theirs)} |"
    return rows


def _statistics(judged: dict[str, Any] | None) -> dict[tuple[str, str], dict[str, Any]]:
    verdicts = (v for topic_verdicts in (judged or {"verdicts": {}})["verdicts"].values() for v in topic_verdicts)
    return {(v["statistic"], v["setting"]): v for v in verdicts}


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["value"] == other["value"] and one["verdict"] == other["verdict"])


def _value(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return "—"
    return f"{number(verdict['value'])} ({number(verdict['low'])} to {number(verdict['high'])})"


def _ratio(one: dict[str, Any] | None, other: dict[str, Any] | None) -> str:
    values = [verdict["value"] if verdict else None for verdict in (one, other)]
    if None in values or not values[0] or not math.isfinite(values[1] / values[0]):
        return "—"
    return number(values[1] / values[0])


def _verdicts(one: dict[str, Any] | None, other: dict[str, Any] | None) -> str:
    verdicts = [verdict["verdict"] if verdict else "—" for verdict in (one, other)]
    return verdicts[0] if verdicts[0] == verdicts[1] else f"**{verdicts[0]}, {verdicts[1]}**"
