"""Label noise, other inputs, buckets and norms, and the length of the step, a panel each."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from relufit.figures import ratios, style

_LOOKS = {"sgd": ("SGD", "black", "o"), "qsgd": ("QSGD", "#0072B2", "s")}
_INPUTS = {
    "gaussian": "Gaussian",
    "rademacher": "Rademacher",
    "uniform": "uniform",
    "student_t5": "Student, 5 d.o.f.",
    "autoregressive": "autoregressive",
}
_NORMS = {"l2": "#0072B2", "max": "#D55E00"}
_QUANTITIES = {
    "saving": ("bytes of SGD in fp32, same exchange, over QSGD's", "^"),
    "slower": ("iterations over those of SGD", "o"),
}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of noise, inputs, buckets, steps and predictions."""
    noise, inputs, buckets, steps, predictions = tables
    figure, panels = style.canvas(2, 2, figsize=(7.4, 6.6))
    parts: list[tuple[Callable[[Axes, pd.DataFrame, pd.DataFrame], None], str, pd.DataFrame]] = [
        (_noise, "noise", noise),
        (_steps, "steps", steps),
        (_inputs, "inputs", inputs),
        (_buckets, "buckets", buckets),
    ]
    for axes, (panel, name, rows) in zip(panels.flat, parts, strict=True):
        if rows.empty or predictions.empty:
            style.notice(axes, f"no data: the table of {name} or of predictions has no rows")
        else:
            panel(axes, rows, predictions[predictions["part"] == name])
    style.legend_below(figure, panels[1][1], prediction=False, title="buckets and norms", ncols=2)
    return figure


def _noise(axes: Axes, noise: pd.DataFrame, lines: pd.DataFrame) -> None:
    for series, rows in noise.groupby("series", sort=False):
        label, colour, mark = _LOOKS[str(series)]
        ratios.points(axes, rows["noise_std"], rows, color=colour, marker=mark, label=f"{label}, measured")
        line = lines[lines["series"] == series]
        style.predicted(axes, line["x"], line["y"])
    stds = noise["noise_std"].unique()
    axes.set(xlabel=r"standard deviation of the noise", ylabel="mean squared relative\nerror at rest")
    axes.set(xscale="log", yscale="log", title="label noise, both at the same step")
    axes.set_xticks(stds, [f"{std:g}" for std in stds])
    axes.xaxis.minorticks_off()
    style.legend(axes, loc="lower right")


def _steps(axes: Axes, steps: pd.DataFrame, lines: pd.DataFrame) -> None:
    for series, rows in steps.groupby("series", sort=False):
        label, colour, mark = _LOOKS[str(series)]
        line = lines[lines["series"] == series]
        ratios.points(axes, rows["factor"], 100 * rows[["mean", "low", "high"]], color=colour, marker=mark, label=label)
        style.predicted(axes, line["x"], 100 * line["y"])
    axes.set(xlabel="step over the best one", ylabel=r"fall of $\ln$ error$^2$ in 100 iterations", xlim=(0, 2))
    axes.set(title="length of the step", ylim=(0, None))


def _inputs(axes: Axes, inputs: pd.DataFrame, lines: pd.DataFrame) -> None:
    places = pd.Series(range(len(inputs)))
    bars = [inputs["mean"] - inputs["low"], inputs["high"] - inputs["mean"]]
    axes.errorbar(inputs["mean"], places, xerr=bars, fmt="o", color="black", markersize=4, elinewidth=1, capsize=2)
    for y, predicted in zip(places, inputs["predicted"], strict=True):
        style.predicted(axes, pd.Series([predicted, predicted]), pd.Series([y - 0.4, y + 0.4]))
    axes.set_yticks(places, [_INPUTS[name] for name in inputs["inputs"]])
    axes.invert_yaxis()
    axes.set(xlabel="rate of SGD over the prediction for Gaussian", title="inputs", xlim=(0, None))


def _buckets(axes: Axes, buckets: pd.DataFrame, lines: pd.DataFrame) -> None:
    for norm, colour in _NORMS.items():
        for quantity, (label, mark) in _QUANTITIES.items():
            rows = buckets[(buckets["norm"] == norm) & (buckets["quantity"] == quantity)]
            if rows.empty:
                continue
            ratios.points(axes, rows["bucket_size"], rows, color=colour, marker=mark, label=f"{label}, {norm} norm")
            line = lines[lines["series"] == f"{norm} {quantity}"]
            style.predicted(axes, line["x"], line["y"])
    sizes = sorted(buckets["bucket_size"].unique())
    axes.set(xscale="log", yscale="log", xlabel="coordinates of a bucket", ylabel="ratio", title="buckets and norms")
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.xaxis.minorticks_off()
    low, high = axes.get_ylim()
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50) if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.minorticks_off()
