"""A run of the workflow that is interrupted shows one line, whatever Snakemake leaves unfinished while it ends."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import warnings
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from relufit.interrupts import deliver, interrupt

if TYPE_CHECKING:
    from relufit.terminal.handler import Handler


def tell_interrupts(handler: Handler) -> None:
    """Tell the handler of an interrupt before the jobs, which are interrupted too, are seen to fail."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        return

    def noted(number: int, frame: FrameType | None) -> None:
        handler.progress.interrupted = True
        # While Snakemake is torn down its logger has no handler any more: what it says then would go to stderr.
        logging.lastResort = logging.NullHandler()  # type: ignore[assignment]
        warnings.simplefilter("ignore")  # of coroutines that nobody awaits any more
        interrupt()

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            handler.end_interrupted()
        else:
            sys.__excepthook__(kind, error, trace)

    of_finalisers, of_threads = sys.unraisablehook, threading.excepthook

    def unraisable(arguments: Any) -> None:  # noqa: ANN401 - of a type that only stubs have
        if not handler.progress.interrupted:
            of_finalisers(arguments)

    def in_thread(arguments: Any) -> None:  # noqa: ANN401
        if not handler.progress.interrupted:
            of_threads(arguments)

    signal.signal(signal.SIGINT, noted)
    sys.excepthook, sys.unraisablehook, threading.excepthook = uncaught, unraisable, in_thread
    deliver()
