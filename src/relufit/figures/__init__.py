"""Figures: drawn from tables alone. A new one is a module here and a line in `FIGURES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from relufit.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "FigureSpec", "draw"]


@dataclass(frozen=True)
class FigureSpec:
    """A figure: its title, the experiment it belongs to, the tables it is drawn from."""

    title: str
    experiment: str
    tables: tuple[str, ...]


FIGURES = {
    "geometric_convergence": FigureSpec(
        "Relative error against iterations", "geometric_convergence", ("geometric_convergence.curves",)
    ),
    "qsgd_convergence": FigureSpec(
        "Relative error against iterations, SGD and QSGD", "qsgd_convergence", ("qsgd_convergence.curves",)
    ),
    "qsgd_against_sgd": FigureSpec(
        "QSGD against SGD: iterations and bytes to the same error",
        "qsgd_convergence",
        ("qsgd_convergence.summary", "qsgd_convergence.predictions"),
    ),
    "error_against_bytes": FigureSpec("Relative error against bytes", "qsgd_convergence", ("qsgd_convergence.curves",)),
    "bytes_by_coding": FigureSpec(
        "Bytes in each coding", "qsgd_convergence", ("qsgd_convergence.codings", "qsgd_convergence.predictions")
    ),
    "time_to_accuracy.timing": FigureSpec(
        "Relative error against seconds", "time_to_accuracy", ("time_to_accuracy.timing-curves",)
    ),
    "iteration_time.timing": FigureSpec(
        "Where the time of an iteration goes", "time_to_accuracy", ("time_to_accuracy.timing-parts",)
    ),
}


def draw(name: str, tables: Path, output: Path) -> None:
    """Draw a figure from the tables in a folder and write it to another, as SVG and PNG.

    Raises
    ------
    ConfigError
        If there is no figure of that name.
    DataError
        If a table is missing.
    """
    if name not in FIGURES:
        raise ConfigError(f"unknown figure {name!r}", where="figure", remedy=f"choose one of {', '.join(FIGURES)}")
    from relufit.figures import style

    function: Callable[[list[pd.DataFrame]], Figure]
    function = import_module(f"relufit.figures.{name.removesuffix('.timing')}").draw
    with style.in_house():
        style.save(function([style.read(tables / f"{table}.csv") for table in FIGURES[name].tables]), output / name)
