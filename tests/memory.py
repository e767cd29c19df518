"""How much memory a function takes, measured where nothing else runs."""

from __future__ import annotations

import multiprocessing
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

import cloudpickle


@cache
def _alone() -> ProcessPoolExecutor:
    """A process without the threads of clusters that other tests have started: `tracemalloc` counts all threads."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _measure(pickled: bytes) -> bytes:
    function: Callable[[], Any] = cloudpickle.loads(pickled)
    function()
    tracemalloc.start()
    try:
        result = function()
        return cloudpickle.dumps((tracemalloc.get_traced_memory()[1], result))
    finally:
        tracemalloc.stop()


def peak_memory(function: Callable[[], Any]) -> tuple[int, Any]:
    """Call `function` twice, and return the most bytes in use at a time in the second call, and its result.

    Everything is compiled by the first call. Both calls are made in another process, which gets a copy of whatever
    `function` refers to.
    """
    peak, result = cloudpickle.loads(_alone().submit(_measure, cloudpickle.dumps(function)).result())
    return peak, result
