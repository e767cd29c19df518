"""What a command makes of the process that it finds itself in: closed streams, narrow encodings, warnings as errors."""

from __future__ import annotations

import io
import os
import sys
import warnings


def prepare_process() -> None:
    """Have three open streams that take every character, and warnings that end nothing."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        _open(descriptor, name)
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal's encoding lacks are written as their numbers.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    # For workers too, which this process starts.
    if "error" in os.environ.pop("PYTHONWARNINGS", "") or "error" in sys.warnoptions:
        warnings.simplefilter("default")


def _open(descriptor: int, name: str) -> None:
    """Open a standard stream that is closed, on nothing: the next file would get its number, and what is printed."""
    try:
        os.fstat(descriptor)
    except OSError:
        # The lowest number that is free is the one, since those before it are open.
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if getattr(sys, name) is None:
        setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
