"""The end of a run in lines: each claim with its verdict, and where the report is."""

from __future__ import annotations

import json
import os
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from relufit.terminal.display import WIDTH

_VERDICT_WIDTH = 14


def summary(run: str | os.PathLike[str]) -> list[str]:
    """Return the claims of a run with their verdicts, and the path of its report, in lines.

    Parameters
    ----------
    run : path
        The folder of the run, such as ``results/paper``.

    Returns
    -------
    list of str
        Lines of at most `WIDTH` characters, as far as paths allow; none where the run has no verdicts that can be read.
    """
    run = Path(run)
    try:
        content = json.loads((run / "claims.json").read_text(encoding="utf-8"))
        lines = [f"Verdicts on the claims of the abstract ({run / 'claims.md'}):"]
        for claim in content["claims"]:
            lines += _claim(claim)
        lines += [_findings(content["findings"])] if content["findings"] else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    report = run / "report.html"
    return [*lines, f"Report: {report}"] if report.exists() else lines


def _claim(claim: dict[str, Any]) -> list[str]:
    """Return a claim behind its verdict, and the experiments that keep it from being confirmed."""
    verdict = claim["verdict"]
    against = [name for name, one in claim["experiments"].items() if one != "confirmed"]
    because = f" ({', '.join(against) or 'not part of this run'})" if verdict != "confirmed" else ""
    return textwrap.wrap(
        f"{claim['words']}{because}",
        WIDTH,
        initial_indent=f"  {verdict:{_VERDICT_WIDTH}}",
        subsequent_indent=" " * (_VERDICT_WIDTH + 2),
        break_on_hyphens=False,
    )


def _findings(findings: list[dict[str, Any]]) -> str:
    counts = Counter(finding["verdict"] for finding in findings)
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"What the abstract does not say, {len(findings)} findings: {tally}"
