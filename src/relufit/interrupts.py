"""Interrupts that Python would lose.

Python raises `KeyboardInterrupt` wherever the main thread is. Where that is a callback of the garbage collector or of a
weak reference, or a ``__del__``, it is only printed, and the program goes on: Dask watches the garbage collector in
every process that has a scheduler or a worker, and a Ctrl-C at such a moment would do nothing.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_T = TypeVar("_T")
#: What interrupts a program, the first of them unless it is ignored.
_SIGNALS = signal.SIGINT, signal.SIGTERM
#: Seconds until an interrupt that was lost comes again: by then the callback has ended.
_SECONDS = 0.05


def deliver() -> Callable[[], None]:
    """Have interrupts of the main thread that are lost come again, in the whole process.

    Returns
    -------
    undo : callable
        Takes it back.
    """
    before = sys.unraisablehook

    def hook(unraisable: UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            _thread.start_new_thread(_interrupt, ())
        else:
            before(unraisable)

    def undo() -> None:
        if sys.unraisablehook is hook:
            sys.unraisablehook = before

    sys.unraisablehook = hook
    return undo


@contextmanager
def delivered() -> Iterator[None]:
    """Have interrupts that are lost within the block come again, if it is one of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    undo = deliver()
    try:
        yield
    finally:
        undo()


def shielded(function: Callable[[], _T]) -> _T:
    """Return what a function returns that must not be interrupted; an interrupt comes when it has ended."""
    if threading.current_thread() is not threading.main_thread():
        return function()
    asked: list[int] = []
    handlers = {number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, lambda number, _: asked.append(number))
        return function()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if asked:
            signal.raise_signal(asked[0])


def _interrupt() -> None:
    """Interrupt the main thread as it was, by a signal that raises: SIGINT is ignored in the background of a shell."""
    time.sleep(_SECONDS)
    for number in _SIGNALS:
        if callable(signal.getsignal(number)):
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            return
