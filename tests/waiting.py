"""Waiting for what must happen, on a machine of any speed; `test_tests.py` refuses other clocks."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

#: Seconds after which what must happen is taken for never happening. No result depends on them.
LONG = 300.0


def until(met: Callable[[], object], what: str = "what is awaited", seconds: float = LONG) -> None:
    """Wait for a condition; the test fails if it is never met."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)
