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

__all__ = ["ENDINGS", "FIGURES", "FigureSpec", "draw", "find_figure", "module_of"]


@dataclass(frozen=True)
class FigureSpec:
    """A figure.

    Parameters
    ----------
    title : str
        What is plotted: the quantity, against what, of which method.
    experiment : str
        The experiment it belongs to.
    tables : tuple of str
        The tables it is drawn from.
    optional : tuple of str
        Those of them that may have no rows while the others are worth a figure; without rows of any other table the
        figure is a notice.
    why : str
        Why a table may have no rows, for that notice.
    """

    title: str
    experiment: str
    tables: tuple[str, ...]
    optional: tuple[str, ...] = ()
    why: str = "no trial has left any"


#: A figure is a file with each of these endings.
ENDINGS = ("svg", "png")

FIGURES = {
    "one_step_contraction": FigureSpec(
        "Squared error removed by one step of SGD and of QSGD, against the step",
        "one_step_contraction",
        ("one_step_contraction.points", "one_step_contraction.predictions"),
    ),
    "geometric_convergence": FigureSpec(
        "Relative error of SGD against iterations, for several n/d",
        "geometric_convergence",
        ("geometric_convergence.curves",),
    ),
    "batch_scaling": FigureSpec(
        "Iterations of SGD to the tolerance, against the mini-batch",
        "batch_scaling",
        ("batch_scaling.summary", "batch_scaling.predictions"),
    ),
    "sample_complexity": FigureSpec(
        "Share of trials that reach the tolerance, against n/d, by method",
        "sample_complexity",
        ("sample_complexity.cells", "sample_complexity.crossings", "sample_complexity.predictions"),
    ),
    "samples_against_dimension": FigureSpec(
        "Samples for each dimension at which half of the trials succeed, against the dimension",
        "sample_complexity",
        ("sample_complexity.crossings",),
    ),
    "initial_error": FigureSpec(
        "Squared error of the initial weights, against n/d",
        "initial_error",
        ("initial_error.cells", "initial_error.predictions"),
    ),
    "initializations": FigureSpec(
        "Iterations of gradient descent to the tolerance, by start",
        "initializations",
        ("initializations.trials", "initializations.summary"),
    ),
    "initialization_scale": FigureSpec(
        "Successes from starts of growing norm",
        "initialization_scale",
        ("initialization_scale.cells", "initialization_scale.predictions"),
    ),
    "quantizer_variance": FigureSpec(
        "Variance of quantizers, against the number of levels",
        "quantizer_variance",
        ("quantizer_variance.cells", "quantizer_variance.predictions"),
    ),
    "qsgd_convergence": FigureSpec(
        "Relative error of SGD and QSGD against iterations", "qsgd_convergence", ("qsgd_convergence.curves",)
    ),
    "qsgd_against_sgd": FigureSpec(
        "Iterations and uplink bytes of QSGD to the tolerance, against the number of levels",
        "qsgd_convergence",
        (
            "qsgd_convergence.summary",
            "qsgd_convergence.predictions",
            "bits_to_accuracy.exchanges",
            "bits_to_accuracy.predictions",
        ),
    ),
    "exchange_convergence": FigureSpec(
        "Iterations of QSGD against bytes that a rank sends, sums encoded again",
        "exchange_convergence",
        ("exchange_convergence.summary",),
    ),
    "worker_scaling": FigureSpec(
        "Iterations of SGD and QSGD to the tolerance, against the number of ranks",
        "worker_scaling",
        ("worker_scaling.iterations",),
    ),
    "local_steps": FigureSpec(
        "Exchanges and bytes that a rank sends to the tolerance, against local steps",
        "local_steps",
        ("local_steps.summary",),
    ),
    "reference_methods": FigureSpec(
        "Iterations of SGD, GLM-tron, Kaczmarz and delays over the prediction, and errors of averages with noise",
        "reference_methods",
        ("reference_methods.methods", "reference_methods.averaging"),
    ),
    "step_instability": FigureSpec(
        "Relative error of QSGD against iterations, at two step rules", "step_instability", ("step_instability.curves",)
    ),
    "bytes_by_coding": FigureSpec(
        "Payload length and uplink bytes of QSGD in each coding, against the number of levels",
        "bits_to_accuracy",
        ("bits_to_accuracy.codings", "bits_to_accuracy.predictions"),
    ),
    "error_against_bytes": FigureSpec(
        "Relative error against uplink bytes, by compressor and mini-batch",
        "bits_to_accuracy",
        ("bits_to_accuracy.curves", "bits_to_accuracy.summary"),
    ),
    "bits_by_exchange": FigureSpec(
        "Bytes of SGD in fp32, in the same exchange and by all-reduce, over those of QSGD, against the levels",
        "bits_to_accuracy",
        ("bits_to_accuracy.exchanges", "bits_to_accuracy.predictions"),
    ),
    "gain_by_ranks": FigureSpec(
        "Modelled bytes of SGD in fp32, in the same exchange and by all-reduce, over those of QSGD, against the ranks",
        "bits_to_accuracy",
        ("bits_to_accuracy.ranks",),
    ),
    "bits_frontier": FigureSpec(
        "Iterations to the tolerance against bytes that a rank sends, by compressor, with and without error feedback",
        "bits_frontier",
        ("bits_frontier.methods", "bits_frontier.limit"),
        optional=("bits_frontier.limit",),
    ),
    "trajectory": FigureSpec(
        "Relative error of SGD and QSGD from w0, and its distance from the prediction",
        "trajectory",
        ("trajectory.curves",),
    ),
    "summary": FigureSpec(
        "Six measurements behind the claims: error, samples, mini-batch, ranks, levels, bytes",
        "qsgd_convergence",
        (
            "geometric_convergence.curves",
            "batch_scaling.summary",
            "batch_scaling.predictions",
            "sample_complexity.cells",
            "sample_complexity.predictions",
            "qsgd_convergence.summary",
            "qsgd_convergence.predictions",
            "bits_to_accuracy.codings",
            "bits_to_accuracy.predictions",
            "worker_scaling.iterations",
        ),
    ),
    "ablations": FigureSpec(
        "Label noise, step length, inputs and buckets, one at a time",
        "ablations",
        (
            "ablations.noise",
            "ablations.inputs",
            "ablations.buckets",
            "ablations.steps",
            "ablations.predictions",
        ),
    ),
    "time_to_accuracy.timing": FigureSpec(
        "Relative error against seconds, ranks on a Dask cluster",
        "time_to_accuracy",
        ("time_to_accuracy.timing-curves",),
    ),
    "link_speed.timing": FigureSpec(
        "Seconds of an iteration of SGD in fp32 over those of QSGD, against the rate of the links",
        "link_speed",
        ("link_speed.timing-iterations", "link_speed.timing-model"),
        optional=("link_speed.timing-iterations",),
    ),
    "link_runs.timing": FigureSpec(
        "Relative error against seconds between emulated hosts, by exchange",
        "link_speed",
        ("link_speed.timing-curves",),
    ),
    "plan_validation.timing": FigureSpec(
        "Seconds of an iteration, measured against planned",
        "link_speed",
        ("link_speed.timing-plan",),
        why="hosts were not emulated in this run",
    ),
    "predicted_speed_up.timing": FigureSpec(
        "Seconds to the same error of SGD in fp32 over those of QSGD, planned, against the rate of the links",
        "link_speed",
        ("link_speed.timing-plan-speed-up",),
    ),
    "compression_map.timing": FigureSpec(
        "Way to exchange and encode that takes the fewest seconds, planned, by ranks and rate of the links",
        "link_speed",
        ("link_speed.timing-map",),
    ),
    "scaling.timing": FigureSpec(
        "Seconds to the tolerance, and those of one host over them, against the number of ranks",
        "link_speed",
        ("link_speed.timing-scaling",),
    ),
    "iteration_time.timing": FigureSpec(
        "Milliseconds of an iteration by part; fp64 and packed gradients are decoded with the update",
        "time_to_accuracy",
        ("time_to_accuracy.timing-parts",),
    ),
}


def find_figure(name: str) -> FigureSpec:
    """Return a figure by its name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in FIGURES:
        raise ConfigError(f"unknown figure {name!r}", where="figure", remedy=f"choose one of {', '.join(FIGURES)}")
    return FIGURES[name]


def module_of(name: str) -> str:
    """Return the module that draws a figure, below the package."""
    return f"figures.{name.removesuffix('.timing')}"


def draw(name: str, tables: Path, output: Path) -> None:
    """Draw a figure from the tables in a folder and write it to another, as SVG and PNG.

    Raises
    ------
    ConfigError
        If there is no figure of that name.
    DataError
        If a table is missing.
    """
    spec = find_figure(name)
    from relufit.figures import style

    function: Callable[[list[pd.DataFrame]], Figure]
    function = import_module(f"relufit.{module_of(name)}").draw
    with style.in_house():
        read = {table: style.read(tables / f"{table}.csv") for table in spec.tables}
        empty = [table for table, rows in read.items() if rows.empty and table not in spec.optional]
        if empty:
            figure = style.blank(f"No figure: the table {empty[0]} has no rows, since {spec.why}.")
        else:
            figure = function(list(read.values()))
        style.explain(figure)
        style.save(figure, output / name)
