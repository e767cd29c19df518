"""Every figure, drawn from small tables that are kept beside this file, is honest and can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text

from relufit.figures import FIGURES, draw, style

TABLES = Path(__file__).parent / "tables"
#: Words that say how a result came out; a title says what is plotted.
CLAIMS = """achieve any beat better cheaper confirm enough faster fewer gain geometric improve keep less match need
outperform prove quick require save saturate saving shorter slower sooner speed-up suffice win worse"""
#: The least font size, in points.
LEAST = 7.0
#: What a marker may reach over the edge of its panel, in pixels.
EDGE = 1.0


def _tables(name: str) -> list[pd.DataFrame]:
    return [pd.read_csv(TABLES / f"{table}.csv") for table in FIGURES[name].tables]


def _function(name: str) -> Any:
    return import_module(f"relufit.figures.{name.removesuffix('.timing')}").draw


@cache
def _drawn(name: str) -> Figure:
    with style.in_house():
        figure: Figure = _function(name)(_tables(name))
        style.explain(figure)
        figure.draw_without_rendering()
    return figure


def _panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def _legends(figure: Figure) -> list[Legend]:
    own = (axes.get_legend() for axes in _panels(figure))
    return [*figure.legends, *(legend for legend in own if legend is not None)]


def _shown(figure: Figure) -> Iterator[Text]:
    hidden = {id(text) for axes in figure.axes if not axes.get_visible() for text in axes.findobj(Text)}
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden:
            yield text


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+(?:-[a-z]+)?", text.lower()))


every_figure = pytest.mark.parametrize("name", FIGURES)


@every_figure
def test_a_title_names_what_is_plotted_and_claims_nothing(name: str) -> None:
    figure = _drawn(name)
    titles = [FIGURES[name].title, *(axes.get_title(loc=loc) for axes in _panels(figure) for loc in ("left", "center"))]
    stems = CLAIMS.split()
    for title in titles:
        assert not [word for word in _words(title) if any(word in (stem, f"{stem}s", f"{stem}d") for stem in stems)]


def test_the_titles_that_claimed_something_would_be_found() -> None:
    stems = CLAIMS.split()
    for title in ("2d samples suffice", "QSGD keeps the speed", "any number of ranks", "large batches saturate"):
        assert any(word in (stem, f"{stem}s") for word in _words(title) for stem in stems)


@every_figure
def test_every_text_is_large_enough_to_be_read(name: str) -> None:
    small = {text.get_text(): text.get_fontsize() for text in _shown(_drawn(name)) if text.get_fontsize() < LEAST}
    assert not small


@every_figure
def test_every_panel_has_data_or_says_why_not_and_its_axes_have_names(name: str) -> None:
    for axes in _panels(_drawn(name)):
        assert style.has_data(axes) or any(text.get_gid() == style.NOTICE for text in axes.texts)
        at = axes.get_subplotspec()
        assert at is not None
        ticks = [label.get_text() for label in axes.get_yticklabels() if label.get_visible()]
        # Names of settings, where they are the ticks, need no name of the axis.
        assert axes.get_ylabel() or not at.is_first_col() or any(text[:1].isalpha() for text in ticks)
        assert axes.get_xlabel() or not at.is_last_row()


def _is_marked(line: Line2D) -> bool:
    return str(line.get_marker()).lower() not in ("none", "", " ")


def _same(entry: Line2D, line: Line2D) -> bool:
    """Tell whether a line of a legend looks like one of a panel: grey ones stand for lines of any colour."""
    colour = to_rgba(entry.get_color())
    grey = max(colour[:3]) == min(colour[:3]) and max(colour[:3]) > 0
    marked = _is_marked(entry)
    alike = entry.get_marker() == line.get_marker() if marked else entry.get_linestyle() == line.get_linestyle()
    return alike and (grey or np.allclose(colour[:3], to_rgba(line.get_color())[:3]))


@every_figure
def test_every_entry_of_a_legend_is_drawn(name: str) -> None:
    figure = _drawn(name)
    lines = [line for axes in _panels(figure) for line in axes.lines if np.isfinite(_points(line)).any()]
    for legend in _legends(figure):
        entries = [line for line in legend.findobj(Line2D) if _is_marked(line) or line.get_linestyle() != "None"]
        assert entries or legend.get_patches()
        for entry in entries:
            assert any(_same(entry, line) for line in lines), [text.get_text() for text in legend.get_texts()]


def _points(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xydata(), float).reshape(-1, 2)


def _ends(axes: Axes) -> Iterator[np.ndarray]:
    """Yield the points of lines and marks, and the ends of intervals, that are in coordinates of the data."""
    for line in axes.lines:
        if line.get_transform() == axes.transData:
            yield _points(line)
    for bars in axes.collections:
        if isinstance(bars, LineCollection):
            yield from (np.asarray(segment, float) for segment in bars.get_segments())


@every_figure
def test_all_points_and_intervals_are_inside_of_their_panel(name: str) -> None:
    for axes in _panels(_drawn(name)):
        left, bottom, right, top = axes.bbox.extents
        for points in _ends(axes):
            x, y = axes.transData.transform(points[np.isfinite(points).all(axis=1)]).T
            assert ((x >= left - EDGE) & (x <= right + EDGE)).all(), axes.get_title()
            assert ((y >= bottom - EDGE) & (y <= top + EDGE)).all(), axes.get_title()


@every_figure
def test_a_legend_in_a_panel_hides_no_mark(name: str) -> None:
    for axes in _panels(_drawn(name)):
        legend = axes.get_legend()
        if legend is None:
            continue
        box = legend.get_window_extent()
        for line in axes.lines:
            if not _is_marked(line) or line.get_marker() in ("|", "_") or line.get_transform() != axes.transData:
                continue
            points = axes.transData.transform(_points(line)[:: max(1, len(_points(line)) // 200)])
            assert not [xy for xy in points if np.isfinite(xy).all() and box.contains(*xy)], axes.get_title()


@every_figure
def test_titles_and_labels_of_panels_do_not_lie_over_each_other(name: str) -> None:
    figure = _drawn(name)
    texts = [text for axes in _panels(figure) for text in (axes.title, axes._left_title, axes.xaxis.label)]
    texts += [text for axes in _panels(figure) for text in axes.texts if text.get_gid() != style.NOTICE]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    for (one, box), (other, another) in combinations(boxes, 2):
        assert not box.padded(-2).overlaps(another.padded(-2)), (one, other)


@every_figure
def test_without_rows_a_figure_says_so(name: str, tmp_path: Path) -> None:
    for table in FIGURES[name].tables:
        pd.read_csv(TABLES / f"{table}.csv").iloc[:0].to_csv(tmp_path / f"{table}.csv", index=False)
    draw(name, tmp_path, tmp_path)
    written = (tmp_path / f"{name}.svg").read_text()
    assert "no" in _words(re.sub(r"<[^>]*>", " ", written))
    assert "table" in written
    assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_a_table_without_columns_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "worker_scaling.iterations.csv").write_text("\n")
    draw("worker_scaling", tmp_path, tmp_path)
    assert "worker_scaling.iterations has no rows" in re.sub(r"\s+", " ", _text_of(tmp_path / "worker_scaling.svg"))


def _text_of(path: Path) -> str:
    return re.sub(r"<[^>]*>", " ", path.read_text())


def test_a_panel_without_a_finite_value_says_so() -> None:
    with style.in_house():
        figure, (one, other) = style.canvas(1, 2)
        one.plot([1, 2], [np.nan, np.nan], "o")
        other.plot([1, 2], [1, 2], "o")
        style.explain(figure)
    assert [len(axes.texts) for axes in (one, other)] == [1, 0]


@pytest.mark.parametrize(
    "table", ["geometric_convergence.curves", "worker_scaling.iterations", "bits_to_accuracy.codings"]
)
def test_the_page_of_six_panels_says_of_one_alone_that_it_has_no_rows(table: str) -> None:
    tables = _tables("summary")
    index = FIGURES["summary"].tables.index(table)
    tables[index] = tables[index].iloc[:0]
    with style.in_house():
        figure = _function("summary")(tables)
    notices = [any(text.get_gid() == style.NOTICE for text in axes.texts) for axes in figure.axes]
    assert sum(notices) == 1


def test_links_that_were_not_timed_are_the_model_alone() -> None:
    measured, model = _tables("link_speed.timing")
    with style.in_house():
        figure = _function("link_speed.timing")([measured.iloc[:0], model])
        figure.draw_without_rendering()
    assert all([text.get_text() for text in axes.texts] == ["not timed"] for axes in figure.axes)
    (legend,) = figure.legends
    assert not [text for text in legend.get_texts() if "measured" in text.get_text()]


def test_of_an_exchange_that_a_cell_does_not_have_there_is_no_panel() -> None:
    measured, model = _tables("link_speed.timing")
    whole, exchanges = (
        len(model.groupby(["cell", "exchange"])),
        [name for name in style.EXCHANGES if name in set(model["exchange"])],
    )
    cell = model["cell"].iloc[0]
    left = model[(model["cell"] != cell) | (model["exchange"] == exchanges[0])]
    with style.in_house():
        figure = _function("link_speed.timing")([measured, left])
        figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == whole - len(exchanges) + 1
    assert sum(bool(axes.get_title()) for axes in panels) == model["cell"].nunique()
    assert sum(bool(axes.get_xlabel()) for axes in panels) == model["cell"].nunique()
    assert sum(bool(axes.get_ylabel()) for axes in panels) == len(exchanges)


def test_points_above_the_ratio_of_the_bytes_are_open() -> None:
    measured, model = _tables("link_speed.timing")
    slow = measured["compressor"] == "sgd-fp32"
    measured.loc[slow, "seconds"] *= 100
    with style.in_house():
        figure = _function("link_speed.timing")([measured, model])
    marks = [line for axes in figure.axes for line in axes.lines if line.get_marker() in ("o", "^")]
    assert marks
    assert all(line.get_markerfacecolor() == "white" for line in marks)
    assert any("open" in text.get_text() for text in figure.legends[0].get_texts())


def test_a_series_has_the_same_colour_in_every_figure() -> None:
    def colours(name: str) -> dict[str, Any]:
        by_label = {}
        for axes in _panels(_drawn(name)):
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                line = handle if isinstance(handle, Line2D) else handle.lines[0]
                by_label[label.replace("$", "")] = mpl.colors.to_hex(line.get_color())
        return by_label

    for one, other in combinations(
        [
            colours(name)
            for name in ("qsgd_convergence", "error_against_bytes", "worker_scaling", "time_to_accuracy.timing")
        ],
        2,
    ):
        shared = {label for label in one if label in other and (label.startswith("SGD, fp") or label.count(",") == 1)}
        shared = {label for label in shared if "relay" not in label}
        assert {label: one[label] for label in shared} == {label: other[label] for label in shared}
    assert style.level_colour(16) != style.level_colour(32)
    assert style.ratio_colour(3) != style.ratio_colour(4)


def test_the_residual_of_a_trajectory_is_measured_less_predicted() -> None:
    (curves,) = _tables("trajectory")
    first = curves[curves["setting"] == curves["setting"].iloc[0]]
    expected = 2 * np.log(first["relative_error"] / first["predicted"])
    lower = next(axes for axes in _panels(_drawn("trajectory")) if "residual" in axes.get_ylabel())
    measured, zero = lower.lines
    assert np.asarray(measured.get_ydata()) == pytest.approx(expected)
    assert not np.asarray(zero.get_ydata()).any()


def test_the_parts_of_an_iteration_have_their_intervals() -> None:
    (parts,) = _tables("iteration_time.timing")
    sums, each = _panels(_drawn("iteration_time.timing"))
    assert len(sums.patches) == len(parts)
    bars = [segment for collection in each.collections for segment in collection.get_segments()]
    assert len(bars) == (parts["mean"] > 0).sum()
    right = sorted(segment[:, 0].max() for segment in bars)
    assert right == pytest.approx(sorted(1e3 * parts.loc[parts["mean"] > 0, "high"]))
