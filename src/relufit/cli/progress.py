"""Progress for the person at the terminal: a bar where there is one, plain lines where there is not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relufit.training.loop import Progress

_LINE_SECONDS = 5.0


def told(news: Progress) -> str:
    """Return how far a run is, in words."""
    said = (
        f"iteration {news.iteration}, relative error {news.relative_error:.3g}, "
        f"{news.uplink_bytes / 1e6:.3g} MB up, {news.downlink_bytes / 1e6:.3g} MB down"
    )
    return f"{said}, {news.speed:.3g} iterations/s, {news.left:.0f} s left" if isfinite(news.left) else said


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Yield a function to be told how much of `total` is done, and what to say of it; it shows that on stderr."""
    if not sys.stderr.isatty():
        yield _lines(title, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[news]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, news="")

        def tell(done: int, news: str) -> None:
            bar.update(task, completed=done, news=news)

        yield tell


def _lines(title: str, total: int) -> Callable[[int, str], None]:
    began = last = monotonic()

    def tell(done: int, news: str) -> None:
        nonlocal last
        now = monotonic()
        if now - last >= _LINE_SECONDS or done == total:
            last = now
            print(f"{title}: {done}/{total} {news} [{now - began:.0f} s]", file=sys.stderr, flush=True)

    return tell
