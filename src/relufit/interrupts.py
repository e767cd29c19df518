"""Interrupts that Python would lose, or that would have it wait for good.

Python raises `KeyboardInterrupt` wherever the main thread is. Where that is a callback of the garbage collector or of a
weak reference, or a ``__del__``, it is only printed, and the program goes on: Dask watches the garbage collector in
every process that has a scheduler or a worker, and a Ctrl-C at such a moment would do nothing. Where it is the loop of
asyncio, which has just taken a callback, the task of that callback is never woken again, and whoever cancels it and
waits for its end waits for good.
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
    import asyncio
    from sys import UnraisableHookArgs

_T = TypeVar("_T")
#: What interrupts a program, the first of them unless it is ignored.
_SIGNALS = signal.SIGINT, signal.SIGTERM
#: Seconds until an interrupt that was lost comes again: by then the callback has ended.
_SECONDS = 0.05


#: Loops of asyncio that are about to raise an interrupt, with the callback that does.
_ASKED: dict[asyncio.AbstractEventLoop, asyncio.Handle] = {}


def interrupt() -> None:
    """Raise `KeyboardInterrupt`, for handlers of signals; in a loop of asyncio that runs, between two of its callbacks.

    asyncio does so by itself as long as SIGINT has Python's own handler. Where a callback takes long, a second
    interrupt is raised at once.
    """
    loop = _running_loop()
    if loop is None:
        raise KeyboardInterrupt
    if loop in _ASKED:
        _ASKED.pop(loop).cancel()
        raise KeyboardInterrupt
    _ASKED[loop] = loop.call_soon_threadsafe(_end, loop)


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
            _thread.start_new_thread(_send_again, ())
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


def _running_loop() -> asyncio.AbstractEventLoop | None:
    if "asyncio" not in sys.modules:
        return None
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks of a loop and end it; they end when it runs again, which is when it is closed."""
    import asyncio

    _ASKED.pop(loop, None)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    raise KeyboardInterrupt


def _send_again() -> None:
    """Interrupt the main thread as it was, by a signal that raises: SIGINT is ignored in the background of a shell."""
    time.sleep(_SECONDS)
    for number in _SIGNALS:
        if callable(signal.getsignal(number)):
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            return
