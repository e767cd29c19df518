"""Label noise, other inputs, buckets and norms, and the length of the step, a panel each."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
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
    "saving": ("bytes of SGD in fp32 over those of QSGD", "^"),
    "slower": ("iterations over those of SGD", "o"),
}


def draw(tables: list[pd.DataFrame]) -> Figure:
    """Draw the figure from the tables of noise, inputs, buckets, steps and predictions."""
    noise, inputs, buckets, steps, predictions = tables
    figure, ((first, second), (third, fourth)) = plt.subplots(2, 2, figsize=(7.0, 6.2))
    _noise(first, noise, predictions[predictions["part"] == "noise"])
    _steps(second, steps, predictions[predictions["part"] == "steps"])
    _inputs(third, inputs)
    _buckets(fourth, buckets, predictions[predictions["part"] == "buckets"])
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
    style.legend(axes, loc="lower right", fontsize="small")


def _steps(axes: Axes, steps: pd.DataFrame, lines: pd.DataFrame) -> None:
    for series, rows in steps.groupby("series", sort=False):
        label, colour, mark = _LOOKS[str(series)]
        line = lines[lines["series"] == series]
        ratios.points(axes, rows["factor"], 100 * rows[["mean", "low", "high"]], color=colour, marker=mark, label=label)
        style.predicted(axes, line["x"], 100 * line["y"])
    axes.set(xlabel="step over the best one", ylabel=r"fall of $\ln$ error$^2$ in 100 iterations", xlim=(0, 2))
    axes.set(title="length of the step", ylim=(0, None))


def _inputs(axes: Axes, inputs: pd.DataFrame) -> None:
    places = pd.Series(range(len(inputs)))
    bars = [inputs["mean"] - inputs["low"], inputs["high"] - inputs["mean"]]
    axes.errorbar(inputs["mean"], places, xerr=bars, fmt="o", color="black", markersize=4, elinewidth=1, capsize=2)
    for place, predicted in zip(places, inputs["predicted"], strict=True):
        style.predicted(axes, pd.Series([predicted, predicted]), pd.Series([place - 0.4, place + 0.4]))
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
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize="small")
