"""Linear algebra whose bits do not depend on how many threads its library may use.

BLAS libraries divide matrices among threads, and with the division the order of additions changes. How many there are
is a matter of the machine and of variables such as ``OPENBLAS_NUM_THREADS``, which results must not depend on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


class _Limit:
    """The limit in force, and how many blocks are under it: the last one restores what was before."""

    lock = threading.Lock()
    blocks = 0
    limiter = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Have linear algebra use one thread within the block, or within the function that this decorates.

    What other threads compute meanwhile uses one thread too.
    """
    with _Limit.lock:
        if not _Limit.blocks:
            _Limit.limiter = _controller("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas")
        _Limit.blocks += 1
    try:
        yield
    finally:
        with _Limit.lock:
            _Limit.blocks -= 1
            if not _Limit.blocks and _Limit.limiter is not None:
                _Limit.limiter.restore_original_limits()


@cache
def _controller(with_scipy: bool) -> ThreadpoolController:
    """Return what controls the libraries that are loaded; scipy brings one of its own."""
    return ThreadpoolController()
