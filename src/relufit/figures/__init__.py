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
    "one_step_contraction": FigureSpec(
        "What one step takes off the squared error",
        "one_step_contraction",
        ("one_step_contraction.points", "one_step_contraction.predictions"),
    ),
    "geometric_convergence": FigureSpec(
        "Relative error against iterations", "geometric_convergence", ("geometric_convergence.curves",)
    ),
    "batch_scaling": FigureSpec(
        "Iterations against the mini-batch", "batch_scaling", ("batch_scaling.summary", "batch_scaling.predictions")
    ),
    "sample_complexity": FigureSpec(
        "Share of successes against n/d",
        "sample_complexity",
        ("sample_complexity.cells", "sample_complexity.crossings", "sample_complexity.predictions"),
    ),
    "samples_against_dimension": FigureSpec(
        "Samples a dimension that half of the trials need", "sample_complexity", ("sample_complexity.crossings",)
    ),
    "initial_error": FigureSpec(
        "Error of the initial weights", "initial_error", ("initial_error.cells", "initial_error.predictions")
    ),
    "initializations": FigureSpec(
        "Iterations from other starts", "initializations", ("initializations.trials", "initializations.summary")
    ),
    "quantizer_variance": FigureSpec(
        "The variance of quantizers against the number of levels",
        "quantizer_variance",
        ("quantizer_variance.cells", "quantizer_variance.predictions"),
    ),
    "qsgd_convergence": FigureSpec(
        "Relative error against iterations, SGD and QSGD", "qsgd_convergence", ("qsgd_convergence.curves",)
    ),
    "qsgd_against_sgd": FigureSpec(
        "QSGD against SGD: iterations and bytes to the same error",
        "qsgd_convergence",
        (
            "qsgd_convergence.summary",
            "qsgd_convergence.predictions",
            "bits_to_accuracy.topologies",
            "bits_to_accuracy.predictions",
        ),
    ),
    "worker_scaling": FigureSpec(
        "Iterations against the number of ranks", "worker_scaling", ("worker_scaling.iterations",)
    ),
    "step_instability": FigureSpec(
        "QSGD at the step of SGD and at its own", "step_instability", ("step_instability.curves",)
    ),
    "bytes_by_coding": FigureSpec(
        "Bytes in each coding", "bits_to_accuracy", ("bits_to_accuracy.codings", "bits_to_accuracy.predictions")
    ),
    "error_against_bytes": FigureSpec(
        "Relative error against bytes", "bits_to_accuracy", ("bits_to_accuracy.curves", "bits_to_accuracy.summary")
    ),
    "bits_by_topology": FigureSpec(
        "What is saved over each topology",
        "bits_to_accuracy",
        ("bits_to_accuracy.topologies", "bits_to_accuracy.predictions"),
    ),
    "trajectory": FigureSpec("The whole way from w0", "trajectory", ("trajectory.curves",)),
    "summary": FigureSpec(
        "The claims on one page",
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
        "Noise, inputs, buckets, steps",
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
        "Relative error against seconds", "time_to_accuracy", ("time_to_accuracy.timing-curves",)
    ),
    "link_speed.timing": FigureSpec(
        "What compression gains, against the rate of the links",
        "link_speed",
        ("link_speed.timing-iterations", "link_speed.timing-model"),
    ),
    "link_runs.timing": FigureSpec(
        "Relative error against seconds between hosts", "link_speed", ("link_speed.timing-curves",)
    ),
    "plan_validation.timing": FigureSpec(
        "What is planned against what was measured", "link_speed", ("link_speed.timing-plan",)
    ),
    "predicted_speed_up.timing": FigureSpec(
        "What compression gains, planned for more hosts", "link_speed", ("link_speed.timing-plan-speed-up",)
    ),
    "iteration_time.timing": FigureSpec(
        "Where the time of an iteration goes; fp64 and packed gradients are decoded with the update",
        "time_to_accuracy",
        ("time_to_accuracy.timing-parts",),
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
