"""Commands of the system."""

from __future__ import annotations

import subprocess

from relufit.errors import ClusterError

_SECONDS = 20


def run(*command: str, stdin: str = "") -> str:
    """Run a command and return what it prints.

    Raises
    ------
    ClusterError
        If it fails, or takes too long.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"`{' '.join(command)}` failed ({error})", where="cluster.emulated") from error
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise ClusterError(f"`{' '.join(command)}` failed ({reason})", where="cluster.emulated")
    return done.stdout
