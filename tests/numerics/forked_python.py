"""Programs that use compiled loops, in processes forked from one that has imported numba, and nothing of relufit."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

#: Imports what relufit imports; loads what numba needs for the first loop of a process; then forks for each request.
_PROGRAM = """
import json, os, sys, tempfile
import numba, numpy, scipy.special, threadpoolctl
from numba.core import config
from numba.core.registry import cpu_target
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
for line in sys.stdin:
    program, arguments, folder, environment, mask, outputs = json.loads(line)
    child = os.fork()
    if child == 0:
        assert not any(name.partition(".")[0] == "relufit" for name in sys.modules)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        os.umask(mask)
        for number, path in enumerate(outputs, start=1):
            os.dup2(os.open(path, os.O_WRONLY), number)
        # What the interpreter and numba have taken from the environment when they started.
        sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
        sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
        sys.argv = ["-c", *arguments]
        tempfile.tempdir = None
        config.reload_config()
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class _Server:
    """The process that is forked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *request: object) -> subprocess.CompletedProcess[str]:
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.NamedTemporaryFile("r+") as out, tempfile.NamedTemporaryFile("r+") as err:
            self._process.stdin.write(f"{json.dumps([*request, [out.name, err.name]])}\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
            return subprocess.CompletedProcess("python", status, out.read(), err.read())

    def close(self) -> None:
        self._process.communicate()


_servers: list[_Server] = []


def run(
    program: str, arguments: list[str], folder: Path, environment: Mapping[str, str], mask: int
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, with an environment and a umask of its own."""
    if not _servers:
        _servers.append(_Server())
    return _servers[0].run(program, arguments, str(folder), dict(environment), mask)


def close() -> None:
    """End the process that is forked, if it was started."""
    while _servers:
        _servers.pop().close()
