"""Dask's configuration: clusters that relufit starts have Dask's defaults, whatever is in files and variables."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from relufit.errors import ClusterError

_PREFIX = "DASK_"
#: The variable in which Dask sends its configuration to processes that it starts; it counts more than files there.
INHERITED = "DASK_INTERNAL_INHERIT_CONFIG"
#: Nothing is served over HTTP, which has no TLS, and which every user of a machine can read on its loopback.
WITHOUT_HTTP: dict[str, Any] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
#: Dask's processes wake up fifty times a second to see whether they are late, and look a hundred times a second where a
#: task is: work of the processors, and of the interpreter's lock, beside that of the ranks.
QUIET: dict[str, Any] = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
}
#: Sections that processes of Dask read while they run.
_SECTIONS = ("distributed", "scheduler-address", "temporary-directory")


def import_dask() -> None:
    """Import Dask, which reads its configuration as it is imported.

    Raises
    ------
    ClusterError
        If it cannot be imported.
    """
    try:
        import distributed  # noqa: F401 - only to know
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ClusterError(
            f"Dask cannot be imported ({reason})",
            where="cluster",
            remedy="mend or move away Dask's configuration: files in ~/.config/dask and $DASK_CONFIG, DASK_* variables",
        ) from error


def default_settings() -> dict[str, Any]:
    """Return Dask's defaults, without what files and variables of this user and machine say."""
    import dask
    import distributed  # noqa: F401 - has defaults of its own

    return dict(copy.deepcopy(dask.config.merge(*dask.config.defaults)))


def use_defaults(settings: Mapping[str, Any], sent: str = "") -> None:
    """Give this process Dask's defaults for good, `QUIET`, then what another process has sent, then some settings."""
    import dask

    whole: dict[str, Any] = dask.config.config
    defaults = default_settings()
    whole.clear()
    whole.update(defaults)
    dask.config.set(QUIET)
    if sent:
        dask.config.update(whole, dask.config.deserialize(sent))
    dask.config.set(settings)


@contextmanager
def defaults_of_dask() -> Iterator[None]:
    """Set Dask's whole configuration to its defaults and `QUIET` for a while.

    A cluster that is started on other machines sends all of it there, where nothing of this machine belongs; and
    some of Dask's own leave their certificates in it.
    """
    import dask

    whole: dict[str, Any] = dask.config.config
    defaults, before = default_settings(), copy.deepcopy(whole)
    try:
        whole.clear()
        whole.update(defaults)
        dask.config.set(QUIET)
        yield
    finally:
        whole.clear()
        whole.update(before)


@contextmanager
def defaults_while_open() -> Iterator[None]:
    """Have the clients of this process follow Dask's defaults while a cluster that we have started is open."""
    import dask

    defaults = default_settings()
    with dask.config.set({section: defaults.get(section) for section in _SECTIONS}):
        yield


def serialized(settings: Mapping[str, Any]) -> str:
    """Return settings as the variable `INHERITED` has them."""
    import dask

    return str(dask.config.serialize(_nested(settings)))


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for name, value in settings.items():
        *sections, last = name.split(".")
        section = whole
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = value
    return whole


def environment_without_dask(**more: str) -> dict[str, str]:
    """Return the environment of this process without Dask's variables, for processes that we start, and some more."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)} | more
