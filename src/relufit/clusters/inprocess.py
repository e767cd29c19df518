"""No cluster: all ranks take turns in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class InProcess:
    """The cluster ``inprocess``."""

    client: None = None

    def describe(self) -> dict[str, Any]:
        """Return what the cluster is."""
        return {"kind": "inprocess"}

    def counters(self) -> dict[str, dict[str, int]]:
        """Return nothing: no interface is used."""
        return {}


@contextmanager
def open_inprocess(options: Mapping[str, Any], workers: int) -> Iterator[InProcess]:
    """Open nothing."""
    yield InProcess()
