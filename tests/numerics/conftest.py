"""What tests of compiled loops on disk share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import forked_python
import pytest
from loop_checkouts import Checkout


@pytest.fixture(scope="session", autouse=True)
def _no_server_stays() -> Iterator[None]:
    """The process that others are forked from ends with the tests."""
    yield
    forked_python.close()


@pytest.fixture
def own(tmp_path: Path) -> Checkout:
    """A copy of the package that keeps its loops beside the sources."""
    return Checkout(tmp_path / "one")
