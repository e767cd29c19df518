"""Snakemake in processes that begin at once, forked from one that has imported it and what the workflow imports.

Imports are most of what a dry run takes. A process that is to have other packages, or to be interrupted from its
beginning, is started on its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_PROGRAM = """
import json, os, sys
import snakemake.cli
import relufit.doctor, relufit.figures, relufit.pipeline.reuse, relufit.terminal
snakemake.cli.get_argument_parser()
for line in sys.stdin:
    arguments, folder, environment, outputs = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(outputs, start=1):
            os.dup2(os.open(path, os.O_WRONLY), number)
        sys.argv = ["snakemake", *arguments]
        snakemake.cli.main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Launcher:
    """Runs Snakemake as often as it is asked, and ends with the last of them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run it in a folder, in the environment of this process."""
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.NamedTemporaryFile("r+") as out, tempfile.NamedTemporaryFile("r+") as err:
            request = [list(arguments), str(folder), dict(os.environ), [out.name, err.name]]
            self._process.stdin.write(f"{json.dumps(request)}\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(["snakemake", *arguments], status, out.read(), err.read())

    def close(self) -> None:
        """End the process that they are forked from."""
        self._process.communicate()


_launchers: list[Launcher] = []


def snakemake_here(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder, forked from the process that the tests of a module share."""
    if not _launchers:
        _launchers.append(Launcher())
    return _launchers[0].run(folder, arguments)


def close() -> None:
    """End that process, if it was started."""
    while _launchers:
        _launchers.pop().close()
