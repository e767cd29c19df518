"""The claims and findings of a run with their verdicts, as a table for a terminal, and where the report is.

A run of the workflow ends with these lines, and `relufit show` prints them.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from relufit.errors import DataError

#: The longest line, in characters, unless a path is longer.
COLUMNS = 80
_VERDICT_WIDTH = 14


def summary(run: str | os.PathLike[str]) -> list[str]:
    """Return the lines of `table`, and none where the run has no verdicts that can be read."""
    try:
        return table(run)
    except (DataError, OSError):
        return []


def table(run: str | os.PathLike[str]) -> list[str]:
    """Return the claims and findings of a run with their verdicts, and the path of its report, in lines.

    Parameters
    ----------
    run : path
        The folder of the run, such as ``results/paper``.

    Returns
    -------
    list of str
        Lines of at most `COLUMNS` characters, as far as paths allow. Findings on which no experiment of the run bears
        are counted only.

    Raises
    ------
    DataError
        If there is no such run, if it has no verdicts yet, or if they cannot be read.
    """
    run = Path(run)
    content = _read(run)
    try:
        lines = [f"Verdicts on the claims of the abstract, run {content['run']}, seed {content['seed']}:"]
        for claim in content["claims"]:
            lines += _statement(claim)
        lines += _findings(content["findings"])
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(run, f"{error} is missing" if isinstance(error, KeyError) else str(error)) from error
    lines.append(f"Every statistic: {run / 'claims.md'}")
    report = run / "report.html"
    return [*lines, f"Report: {report}"] if report.exists() else lines


def _read(run: Path) -> dict[str, Any]:
    if not run.is_dir():
        if run.exists():
            raise DataError("is a file, not the folder of a run", where=str(run), remedy=f"give {run.parent}")
        raise DataError("there is no such run", where=str(run), remedy=_others(run.parent))
    try:
        content: dict[str, Any] = json.loads((run / "claims.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        remedy = "finish the run: the command that began it goes on from there"
        raise DataError("there are no verdicts yet", where=str(run), remedy=remedy) from error
    except OSError as error:
        remedy = "make it readable for you"
        raise DataError(error.strerror or str(error), where=str(run / "claims.json"), remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(run, str(error)) from error
    return content


def _others(folder: Path) -> str:
    """Return what to do where a run is not there: name one that is, or make it."""
    names = sorted(path.parent.name for path in folder.glob("*/claims.json"))
    return f"runs with verdicts in {folder}: {', '.join(names)}" if names else "make it with `snakemake --cores all`"


def _damaged(run: Path, reason: str) -> DataError:
    path = run / "claims.json"
    return DataError(f"is damaged ({reason})", where=str(path), remedy="remove it and run the workflow again")


def _statement(statement: dict[str, Any]) -> list[str]:
    """Return a statement beside its verdict, and the experiments that keep it from being confirmed."""
    verdict = statement["verdict"]
    against = [name for name, one in statement["experiments"].items() if one != "confirmed"]
    because = f" ({', '.join(against) or 'not part of this run'})" if verdict != "confirmed" else ""
    return textwrap.wrap(
        f"{statement['words']}{because}",
        COLUMNS,
        initial_indent=f"  {verdict:{_VERDICT_WIDTH}}",
        subsequent_indent=" " * (_VERDICT_WIDTH + 2),
        break_on_hyphens=False,
    )


def _findings(findings: list[dict[str, Any]]) -> list[str]:
    """Return the findings of a run beneath the number of each verdict."""
    judged = [finding for finding in findings if finding["experiments"]]
    counts = Counter(finding["verdict"] for finding in judged)
    tally = [f"{count} {verdict}" for verdict, count in counts.most_common()]
    if len(judged) < len(findings):
        tally.append(f"{len(findings) - len(judged)} not part of this run")
    lines = [f"Findings beyond the abstract: {', '.join(tally) or 'none'}"]
    for finding in judged:
        lines += _statement(finding)
    return lines
