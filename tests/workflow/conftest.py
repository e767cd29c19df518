"""What the tests of the workflow share."""

from __future__ import annotations

from collections.abc import Iterator

import launcher
import pytest


@pytest.fixture(scope="module", autouse=True)
def _launcher() -> Iterator[None]:
    """The process that runs of Snakemake are forked from ends with the tests of a module."""
    yield
    launcher.close()
