"""Whether the members of a cluster run the same versions as this program."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from relufit.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

#: What must be the same for results to be the same bits, or for messages to be understood.
PACKAGES = ("relufit", "distributed", "dask", "numpy", "numba")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def check_versions(client: Client, *, where: str) -> None:
    """Refuse a cluster with other versions.

    Raises
    ------
    ClusterError
        If a worker has another version of something; it says which.
    """
    here = versions()
    try:
        found = client.run(versions)
    except Exception as error:  # whatever a worker that cannot even import this raises
        raise ClusterError(
            f"a worker cannot run relufit ({type(error).__name__}: {error})",
            where=where,
            remedy=f"install relufit {here['relufit']} there, for Python {here['python']}",
        ) from error
    for address, there in found.items():
        wrong = [f"{name} {there.get(name)}, here {its}" for name, its in here.items() if there.get(name) != its]
        if wrong:
            raise ClusterError(f"{address} has {'; '.join(wrong)}", where=where, remedy="give both the same versions")
