"""Relative error against seconds, real ranks on a cluster."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from relufit.figures import style


class _Look(NamedTuple):
    colour: object
    dashes: str
    mark: str


#: Dashes and marks in the order of the settings; SGD, and levels in the usual coding, have the colours of all figures,
#: what is left those of Okabe and Ito.
_DASHES, _MARKS = ("-", "--", "-", "-.", ":", "-", "--", "-."), "os^Dv*XP"
_OTHERS = ("#D55E00", "#CC79A7", "#E69F00", "#0072B2")


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the table of curves."""
    (curves,) = tables
    settings = list(dict.fromkeys(curves["setting"]))
    looks = _looks(settings)
    figure, axes = style.canvas(figsize=(6.6, 3.6))
    for nth, setting in enumerate(settings):
        curve, look = curves[curves["setting"] == setting], looks[setting]
        marks: dict[str, Any] = {"mark": look.mark, "nth": nth, "dashes": look.dashes}
        style.band(axes, curve["elapsed"], curve, look.colour, style.name(setting), **marks)
    axes.set(xlabel="seconds since the initial weights, loopback of one machine", ylabel=style.ERROR, yscale="log")
    axes.set_xlim(left=0)
    style.legend(axes, prediction=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _looks(settings: list[str]) -> dict[str, _Look]:
    others = [setting for setting in settings if setting.count("-") > 1]
    colours = dict(zip(others, _OTHERS * len(others), strict=False))
    return {
        setting: _Look(colours.get(setting, style.colour_of(setting)), dashes, mark)
        for setting, dashes, mark in zip(settings, _DASHES * len(settings), _MARKS * len(settings), strict=False)
    }
