"""What a process may open: checked before processes start, which would not say why they fail."""

from __future__ import annotations

import resource
from contextlib import suppress

from relufit.errors import ClusterError

#: Descriptors that the process needs which keeps the others: for itself, and for each of them.
_ITSELF, _EACH = 40, 16


def raise_descriptors() -> int:
    """Let this process open as many files as it may at all, and return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


def check_descriptors(processes: int, where: str) -> None:
    """Refuse to start more processes than one that keeps them can have files open for.

    Raises
    ------
    ClusterError
        If the limit of this machine is too low.
    """
    needed = _ITSELF + _EACH * processes
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        raise ClusterError(
            f"{processes} processes need about {needed} open files, and `ulimit -Hn` allows {most}",
            where=where,
            remedy=f"raise it (`ulimit -n {needed}`, or nofile in limits.conf), or ask for fewer ranks",
        )
