"""Snakemake, and the commands of its jobs, in processes that begin at once: imports are most of what they would take.

Each is forked from a process that has imported what it imports. A run that is to be interrupted or killed, or is about
the machine or the user, is started as by hand instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

#: What the workflow imports, and what it imports of others: for a checkout that has another relufit.
_OWN = "import relufit.doctor, relufit.figures, relufit.pipeline.reuse, relufit.terminal"
_OTHERS = "import cloudpickle, google_crc32c, numba, numpy, pandas, pyarrow, scipy.special, threadpoolctl, xxhash, yaml"
_SNAKEMAKE = """
import json, os, sys
import snakemake.cli
snakemake.cli.get_argument_parser()
for line in sys.stdin:
    arguments, folder, environment, programs, outputs = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(outputs, start=1):
            os.dup2(os.open(path, os.O_WRONLY), number)
        sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
        sys.argv = ["snakemake", *arguments]
        if programs:  # beside the interpreter jobs find the command that they call
            sys.executable = f"{programs}/python"
        snakemake.cli.main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
#: Runs `relufit` for whoever asks over a socket, with the streams, the folder and the environment of who asks.
_RELUFIT = """
import json, os, signal, socket, sys
import relufit.cli, relufit.figures.style, relufit.pipeline.reuse, relufit.report, relufit.training.preload
from relufit.experiments import CATALOGUE
from relufit.figures import FIGURES, module_of
import importlib
relufit.cli.parser()
list(CATALOGUE.values())
for name in FIGURES:
    importlib.import_module(f"relufit.{module_of(name)}")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    if os.fork():
        connection.close()
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listener.close()
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as stream:
        arguments, folder, environment = json.loads(stream.read(int.from_bytes(length, "big")))
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["relufit", *arguments]
    status = relufit.cli.main()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([status]))
    sys.exit(status)
"""
_ASK = """
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
request = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
connection.sendall(request)
answer = connection.recv(1)
sys.exit(answer[0] if answer else 70)
"""


class _Commands:
    """A folder with a `relufit` that begins at once, and an interpreter beside it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="relufit-commands-")
        self.path = Path(self._folder.name)
        address = self.path / "socket"
        (self.path / "ask.py").write_text(_ASK)
        asking = f"{sys.executable} -IS {self.path}/ask.py {address}"
        for name, command in (("python", sys.executable), ("relufit", asking)):
            (self.path / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (self.path / name).chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RELUFIT, str(address)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()
        self._folder.cleanup()


class _Snakemake:
    """Runs Snakemake as often as it is asked, and ends with the last of them."""

    def __init__(self, imports: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{imports}\n{_SNAKEMAKE}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, folder: Path, arguments: Sequence[str], environment: dict[str, str], programs: Path | None
    ) -> subprocess.CompletedProcess[str]:
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.NamedTemporaryFile("r+") as out, tempfile.NamedTemporaryFile("r+") as err:
            where = str(programs) if programs else ""
            request = [list(arguments), str(folder), environment, where, [out.name, err.name]]
            self._process.stdin.write(f"{json.dumps(request)}\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(["snakemake", *arguments], status, out.read(), err.read())

    def close(self) -> None:
        self._process.communicate()


_servers: dict[str, _Snakemake] = {}
_commands: list[_Commands] = []


def snakemake_here(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder, in the environment of this process and what is added to it.

    With a PYTHONPATH it plans by the relufit that is there; what jobs would then run is not looked for.
    """
    other = "PYTHONPATH" in environment
    imports = _OTHERS if other else _OWN
    if imports not in _servers:
        _servers[imports] = _Snakemake(imports)
    programs = None if other else commands()
    return _servers[imports].run(folder, arguments, {**os.environ, **environment}, programs)


def commands() -> Path:
    """Return a folder with a `relufit` that begins at once."""
    if not _commands:
        _commands.append(_Commands())
    return _commands[0].path


def close() -> None:
    """End the processes that others are forked from."""
    while _servers:
        _servers.popitem()[1].close()
    while _commands:
        _commands.pop().close()
