"""How all figures look: one palette that colour-blind readers can tell apart, one size, the same bits each time."""

from __future__ import annotations

import logging
import math
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from relufit import exchange as registry
from relufit.errors import ConfigError, DataError
from relufit.files.atomic import replacing

# What others have set up for matplotlib is neither used nor complained of: an unknown backend in the environment would
# end the import, and so would a file of settings in another encoding.
_backend = os.environ.pop("MPLBACKEND", None)
logging.getLogger("matplotlib").setLevel(logging.ERROR)
try:
    import matplotlib as mpl
    import seaborn as sns
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator
except (OSError, UnicodeError, ValueError) as error:
    raise ConfigError(
        f"matplotlib cannot start ({error})", where="figure", remedy="look into matplotlibrc, here and in your home"
    ) from error
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend

_SETTINGS: Any = {
    "svg.hashsalt": "relufit",
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "axes.titlesize": "medium",
    "axes.labelsize": "medium",
    "legend.fontsize": "small",
    "legend.title_fontsize": "small",
    "legend.frameon": False,
    "font.size": 9,
}
#: Settings that are not about looks, and options of a figure that are about its panels.
_NO_STYLE = ("backend", "backend_fallback", "interactive", "toolbar")
_OF_PANELS = ("sharex", "sharey", "squeeze", "width_ratios", "height_ratios", "subplot_kw", "gridspec_kw")
#: What marks a text that says why a panel has no data.
NOTICE = "notice"
#: Exchanges as readers know them, those in which the weights travel last.
EXCHANGES = {name: exchange.label for name, exchange in reversed(registry.EXCHANGES.items())}
#: Their colours, which are Okabe and Ito's, and marks.
EXCHANGE_LOOKS = dict(
    zip(
        registry.EXCHANGES,
        (("#000000", "s"), ("#D55E00", "^"), ("#0072B2", "o"), ("#009E73", "D"), ("#CC79A7", "v")),
        strict=False,
    )
)
#: Okabe and Ito's colours, with marks that can be told apart without colour, of the codings of levels.
CODINGS = {"packed": ("#009E73", "^"), "elias": ("#D55E00", "s"), "rans": ("#0072B2", "o"), "auto": ("#CC79A7", "D")}
#: SGD without quantization, in every figure: colour by the number format.
PLAIN = {"fp64": "black", "fp32": "0.55", "fp16": "#E69F00", "sign": "#CC79A7"}
#: What compressors are called in a word or two.
_WAYS = {
    "qsgd": "QSGD", "eden": "EDEN", "sign": "signs", "one_bit": "one bit", "top_k": "values", "top_k_sign": "signs",
    "rand_k": "random",
}  # fmt: skip
#: QSGD with the max norm, which is not on the scale of the levels of the l2 norm.
MAX_NORM = "#B2182B"
#: Marks of curves that are told apart by them, in this order.
MARKS = "osD^vP"
ERROR = r"relative error $\|w - w^*\| / \|w^*\|$"
#: Marks along a curve, in parts of the diagonal of its panel: where the first is, how much later on a next curve, and
#: how far they are apart.
_FIRST_MARK, _LATER, _MARK_EVERY = 0.04, 0.045, 0.15
_MOST_LEVELS, _LEAST_RATIO = 64, 3
_PREDICTED: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.0}


@contextmanager
def in_house() -> Iterator[None]:
    """Apply the style within the block, over matplotlib's own defaults and not over the user's settings."""
    with mpl.rc_context():
        # Without the backend, which is no matter of style: changing it would close the user's figures.
        mpl.rcParams.update({name: value for name, value in mpl.rcParamsDefault.items() if name not in _NO_STYLE})
        with sns.axes_style("ticks"), sns.plotting_context("paper"), mpl.rc_context(_SETTINGS):
            yield


def canvas(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:  # noqa: ANN401 - as pyplot's
    """Return a figure and its panels as ``pyplot.subplots`` does, which belongs to no window and no backend."""
    panels = {name: options.pop(name) for name in _OF_PANELS if name in options}
    figure = Figure(**options)
    return figure, figure.subplots(rows, columns, **panels)


def rate(bits: float) -> str:
    """Return a rate in bit/s with its unit as a prefix: ``500M``, ``1G``."""
    size, unit = (1e9, "G") if bits >= 1e9 else (1e6, "M")
    return f"{bits / size:g}{unit}"


def thousands(number: int) -> str:
    """Return a number with thin spaces between its thousands."""
    return f"{number:,}".replace(",", "\u2009")


def read(path: Path) -> pd.DataFrame:
    """Return a table.

    Raises
    ------
    DataError
        If it is missing.
    """
    if not path.is_file():
        raise DataError("there is no table", where=str(path), remedy="make it with `relufit judge`")
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def level_colour(levels: float) -> tuple[float, float, float, float]:
    """Return the colour of QSGD with so many levels, the same in every figure."""
    return _on_scale(math.log(max(1, levels)) / math.log(_MOST_LEVELS))


def ratio_colour(ratio: float) -> tuple[float, float, float, float]:
    """Return the colour of data sets with so many samples for each dimension, the same in every figure."""
    return _on_scale(1 - _LEAST_RATIO / ratio)


def _on_scale(place: float) -> tuple[float, float, float, float]:
    # Without the yellow end, which is hardly seen on white.
    red, green, blue, alpha = mpl.colormaps["viridis"](0.82 * min(1.0, max(0.0, place)))
    return float(red), float(green), float(blue), float(alpha)


def colour_of(setting: str) -> object:
    """Return the colour of a setting such as ``sgd-fp32`` or ``qsgd-s16-packed``, the same in every figure."""
    kind, value, *_ = setting.split("-")
    if value == "max":
        return MAX_NORM
    return level_colour(float(value[1:])) if kind == "qsgd" else PLAIN[value]


def way(compressor: str, coding: Any) -> str:  # noqa: ANN401 - NaN where there is none
    """Return a compressor and its coding, if it has one, as readers know them: ``QSGD rans``, ``5% signs``."""
    kind, _, parameter = compressor.partition("-")
    key, _, value = parameter.partition("=")
    name = _WAYS.get(kind, kind)
    if key == "fraction":
        name = f"{100 * float(value):g}% {name}"
    elif key == "bits":
        name += f" {value} bits"
    return f"{name} {coding}" if isinstance(coding, str) and coding else name


def colours(count: int) -> Sequence[tuple[float, float, float]]:
    """Return colours for an ordered series: they differ in lightness, so also without colour."""
    palette: Sequence[tuple[float, float, float]] = sns.color_palette("viridis", count + 1)[:count]
    return palette


def name(setting: str) -> str:
    """Return the legend of a setting: ``qsgd-s16-packed`` is QSGD with s = 16, packed."""
    kind, value, *coding = setting.split("-")
    if value == "max":
        return ", ".join([f"QSGD, max norm, s = {coding[0][1:]}", *coding[1:]])
    more = [EXCHANGES.get(word, word.replace("_", " ")) for word in coding]
    return ", ".join([f"QSGD, s = {value[1:]}" if kind == "qsgd" else f"SGD, {value}", *more])


def band(
    axes: Axes,
    x: pd.Series,
    curve: pd.DataFrame,
    colour: object,
    label: str,
    *,
    mark: str = "",
    nth: int = 0,
    dashes: str = "-",
) -> None:
    """Draw a measured curve with its interval; where a mark is given also that, later on the nth of close curves."""
    every = (_FIRST_MARK + nth * _LATER % _MARK_EVERY, _MARK_EVERY)
    look: dict[str, Any] = {"marker": mark, "markevery": every, "markersize": 4} if mark else {}
    axes.plot(x, curve["relative_error"], color=colour, linewidth=1.6, linestyle=dashes, label=label, **look)
    axes.fill_between(x, curve["low"], curve["high"], color=colour, alpha=0.2, linewidth=0)


def predicted(axes: Axes, x: pd.Series, y: pd.Series) -> None:
    """Draw a predicted curve."""
    axes.plot(x, y, **_PREDICTED)


def prediction_line() -> Line2D:
    """Return a line as predictions are drawn, for a legend."""
    return Line2D([], [], **_PREDICTED)


def notice(axes: Axes, words: str) -> None:
    """Say in the middle of a panel why it has no data, or not all."""
    lines = "\n".join(textwrap.wrap(words, 30))
    middle: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, lines, color="0.35", fontsize="small", fontstyle="italic", gid=NOTICE, **middle)


def blank(words: str) -> Figure:
    """Return a figure that says why there is nothing to draw."""
    figure, axes = canvas(figsize=(5.0, 1.6))
    axes.set_axis_off()
    notice(axes, words)
    return figure


def explain(figure: Figure) -> None:
    """Give a notice to every visible panel that has neither data nor a notice."""
    for axes in figure.axes:
        if axes.get_visible() and not has_data(axes) and not any(text.get_gid() == NOTICE for text in axes.texts):
            notice(axes, "no data: the tables have no finite value for this panel")


def has_data(axes: Axes) -> bool:
    """Return whether a panel shows a finite value, in coordinates of its own data."""
    lines = [line.get_xydata() for line in axes.lines if line.get_transform() == axes.transData]
    return bool(axes.patches) or any(bool(np.isfinite(np.asarray(xy, float)).all(axis=1).any()) for xy in lines)


def thin_ticks(axes: Axes, values: Iterable[float], *, axis: str = "x") -> None:
    """Label an axis at some values and nowhere else."""
    at = sorted({float(value) for value in values})
    {"x": axes.set_xticks, "y": axes.set_yticks}[axis](at, [f"{value:g}" for value in at])
    {"x": axes.xaxis, "y": axes.yaxis}[axis].minorticks_off()


def plain_ticks(axes: Axes) -> None:
    """Label a logarithmic axis of heights that spans a few decades with plain numbers: 1, 2, 5, and so on."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}".replace(",", "\u2009"))
    axes.yaxis.minorticks_off()


def legend(axes: Axes, *, title: str | None = None, prediction: bool = True, **options: Any) -> None:  # noqa: ANN401 - matplotlib's own
    """Add a legend that explains the prediction too."""
    handles: list[Any]
    handles, labels = axes.get_legend_handles_labels()
    if prediction:
        handles.append(prediction_line())
        labels.append("predicted, nothing fitted")
    axes.legend(handles, labels, title=title, **options)


def legend_below(
    figure: Figure,
    *panels: Axes,
    prediction: bool = True,
    more: Sequence[tuple[Any, str]] = (),
    **options: Any,  # noqa: ANN401 - matplotlib's own
) -> None:
    """Add one legend below all panels, of the labels that some of them have, each once, and of more handles."""
    shown: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    shown |= {label: handle for handle, label in more}
    if prediction:
        shown["predicted, nothing fitted"] = prediction_line()
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", **options)


def save(figure: Figure, stem: Path) -> None:
    """Write ``{stem}.svg`` and ``{stem}.png``; the same figure gives the same bytes."""
    sns.despine(figure)
    for ending, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        with replacing(stem.with_name(f"{stem.name}.{ending}")) as path:
            figure.savefig(path, format=ending, dpi=200, metadata=metadata)
