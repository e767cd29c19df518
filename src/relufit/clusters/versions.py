"""Whether a cluster's processes run what this one runs: the same Python, the same packages, the same relufit.

Weights are the same bit for bit only where the code is. `python -m relufit.clusters.versions FILE...` says what a
machine has, before anything of Dask runs there, and which of some files cannot be read.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from relufit.clusters.workers import ask_workers, reached, some
from relufit.errors import ClusterError
from relufit.sources import code_digest

if TYPE_CHECKING:
    from distributed import Client

_PACKAGES = ("dask", "distributed", "numpy", "numba", "relufit")
#: What the code of relufit is called in tables.
CODE = "code of relufit"
_SHOWN = 12
_REMEDY = "install the same everywhere, and restart what runs already"


@cache
def running_code() -> str:
    """Return the digest of the code that this process runs.

    It is taken once: what is changed on disk later does not change a process that has imported it.
    """
    return code_digest("trials")[:_SHOWN]


def here() -> dict[str, str]:
    """Return what this process runs, by name."""
    versions = {"python": _minor(sys.version_info[0], sys.version_info[1])}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return {**versions, CODE: running_code()}


def differences(places: Mapping[str, Mapping[str, str]]) -> str:
    """Return a table of what differs from this process, empty if nothing does.

    Parameters
    ----------
    places : dict of dict
        What other processes run, by the name of the process; what one does not tell is not compared.
    """
    mine, mismatches = here(), dict[tuple[str, str], list[str]]()
    for place, theirs in places.items():
        for name, value in theirs.items():
            if value != mine.get(name):
                mismatches.setdefault((name, value), []).append(place)
    if not mismatches:
        return ""
    rows = [("", "here", "there", "where")]
    rows += [(name, mine.get(name, "none"), value, some(where)) for (name, value), where in sorted(mismatches.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = (
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    )
    return "\n".join(f"  {line}".rstrip() for line in lines)


def check_versions(client: Client, *, where: str, seconds: float) -> None:
    """Refuse a cluster whose scheduler or workers run something else than this process.

    The scheduler is asked too: it unpickles every task before it passes it on, so that it needs relufit as well.

    Parameters
    ----------
    where : str
        What of the configuration an error is about.
    seconds : float
        How long an answer may take.

    Raises
    ------
    ClusterError
        With a table of what differs, and where; or if somebody does not answer in time.
    """
    # First by what Dask itself can tell, since no function can be sent to another Python.
    ask = {"packages": list(_PACKAGES)}
    message = {"op": "versions", **ask}
    with reached(where):
        scheduler = client.sync(client.scheduler.versions, **ask, callback_timeout=seconds)
    workers = ask_workers(
        client,
        lambda which: client.scheduler.broadcast(msg=message, workers=which, on_error="return"),
        seconds=seconds,
        where=where,
    )
    _refuse({place: _told(answer) for place, answer in _places(scheduler, workers).items()}, where)
    probe = _probe()
    with reached(where):
        scheduler = client.sync(client.run_on_scheduler, probe, callback_timeout=seconds)
    workers = ask_workers(
        client, lambda which: client.run(probe, workers=which, on_error="return"), seconds=seconds, where=where
    )
    _refuse({place: {CODE: str(code)} for place, code in _places(scheduler, workers).items()}, where)


def _places(scheduler: Any, workers: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - what they say
    return {"scheduler": scheduler, **{f"worker {address}": answer for address, answer in workers.items()}}


def refusal(table: str, where: str) -> ClusterError:
    """Return the error that a table of differences is worth."""
    return ClusterError("versions differ from those of this program", where=where, remedy=f"{_REMEDY}:\n{table}")


def _refuse(places: Mapping[str, Mapping[str, str]], where: str) -> None:
    table = differences(places)
    if table:
        raise refusal(table, where)


def _told(answer: Any) -> dict[str, str]:  # noqa: ANN401 - what Dask says, or an exception
    if isinstance(answer, BaseException):
        return {"python": f"no answer ({type(answer).__name__})"}
    packages = answer["packages"]
    # Dask gives Python's version with as many dots as it happens to have parts.
    return {
        "python": _minor(*packages["python"].split(".")[:2]),
        **{package: packages[package] or "none" for package in _PACKAGES},
    }


def _minor(major: object, minor: object) -> str:
    return f"{major}.{minor}"


def _probe() -> Callable[[], str]:
    """Return a function that travels by value, since relufit may be missing where it arrives."""

    def probe() -> str:
        try:
            from relufit.clusters import versions  # noqa: PLW0406 - there it is another process's

            return versions.running_code()
        except Exception as error:
            return f"cannot be imported ({type(error).__name__}: {error})"

    return probe


if __name__ == "__main__":
    print(json.dumps({"versions": here(), "unreadable": [p for p in sys.argv[1:] if not os.access(p, os.R_OK)]}))
