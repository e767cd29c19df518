"""The template of the report, filled."""

from __future__ import annotations

import re

import jinja2

from relufit.claims.report import interval, number, wanted
from relufit.report.content import Run, tally

#: Tables with more rows are folded where all their verdicts are confirmed.
LONG = 12


def render(run: Run) -> str:
    """Return the report as HTML; whatever is not markup of the template or of a caption is escaped."""
    environment = templates(autoescape=True)
    environment.filters |= {
        "slug": slug,
        "interval": interval,
        "number": number,
        "wanted": wanted,
        "tally": tally,
        "duration": duration,
        "size": size,
    }
    return environment.get_template("report.html.j2").render(run=run, long=LONG)


def templates(*, autoescape: bool) -> jinja2.Environment:
    """Return the templates of this package; a name that is not given is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("relufit", "report"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def slug(text: str) -> str:
    """Return a text as a part of an id: letters, digits, dots and underscores stay, all else is a hyphen."""
    return re.sub(r"[^\w.]+", "-", text).strip("-")


def duration(seconds: float | None) -> str:
    """Return seconds in the units that a person reads."""
    if seconds is None:
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s"


def size(count: float | None) -> str:
    """Return a number of bytes in decimal units."""
    if count is None:
        return "not recorded"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 9.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
