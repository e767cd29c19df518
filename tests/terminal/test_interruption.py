"""Whatever is left unfinished when a run is interrupted, one line is shown; without an interrupt all is told."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging, signal, sys, threading
from types import SimpleNamespace
from relufit.terminal.interruption import tell_interrupts

signal.signal(signal.SIGINT, signal.default_int_handler)
handler = SimpleNamespace(progress=SimpleNamespace(interrupted=False), end_interrupted=lambda: print("interrupted"))
tell_interrupts(handler)

async def prepare():
    pass

class Finalised:
    def __del__(self):
        raise ValueError("in a finaliser")

def fail():
    raise ValueError("in a thread")

if sys.argv[1] == "interrupted":
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        pass
prepare()
Finalised()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
logging.getLogger("asyncio").error("task was destroyed")
if sys.argv[1] == "interrupted":
    raise KeyboardInterrupt
"""
TOLD = ("was never awaited", "in a finaliser", "in a thread", "task was destroyed")


@pytest.mark.parametrize("how", ["interrupted", "ended"])
def test_what_is_left_unfinished_is_told_unless_the_run_was_interrupted(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=False)
    if how == "interrupted":
        assert (done.stdout, done.stderr) == ("interrupted\n", "")
    else:
        assert all(told in done.stderr for told in TOLD), done.stderr
        assert done.stdout == ""
