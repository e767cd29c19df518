"""What tests of several kinds of clusters share."""

from __future__ import annotations

from collections.abc import Callable

import kernel
import psutil
import pytest


@pytest.fixture(scope="session")
def assert_on_loopback() -> Callable[[list[psutil.Process]], None]:
    """Hold that some processes listen, and nowhere but on loopback."""
    return kernel.assert_on_loopback
