"""Waiting for what must happen, on a machine of any speed; `test_tests.py` refuses other clocks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

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


def address_in(scheduler_file: Path) -> str:
    """Return the address that a scheduler writes into its file, which is empty for a moment before."""
    addresses: list[str] = []

    def written() -> bool:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            addresses.append(str(json.loads(scheduler_file.read_text())["address"]))
        return bool(addresses)

    until(written, "the scheduler has not started")
    return addresses[0]
