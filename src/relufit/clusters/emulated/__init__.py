"""A network of hosts on this machine, without root: namespaces, links with a rate, a delay and a loss, and Dask on it.

See docs/emulated.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relufit.clusters.emulated.findings import Findings, probe
    from relufit.clusters.emulated.kind import Emulated, Refused, open_emulated, open_kind

__all__ = ["Emulated", "Findings", "Refused", "open_emulated", "open_kind", "probe"]

_FINDINGS = ("Findings", "probe")


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class or a function
    """Import on first use, so that processes inside the network, which need none of it, start quickly."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "findings" if name in _FINDINGS else "kind"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
