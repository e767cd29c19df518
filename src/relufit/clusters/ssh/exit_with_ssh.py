"""What keeps Dask's processes on other hosts from outliving the program that started them over SSH.

Dask preloads this module there. The standard input of such a process is the SSH connection: when that ends, whichever
way the program ended, so does everything that it started in the same session.
"""

from __future__ import annotations

import os
import signal
import time
from threading import Thread

_LAST_SECONDS = 10.0


def dask_setup(server: object) -> None:
    """Begin to watch the connection."""
    Thread(target=_watch, name="relufit-tether", daemon=True).start()


def _watch() -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    group = os.getpgrp()
    os.killpg(group, signal.SIGTERM)
    time.sleep(_LAST_SECONDS)
    os.killpg(group, signal.SIGKILL)
