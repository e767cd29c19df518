"""A command between the start and the end of a cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relufit.clusters.persistent.commands import down, up
from relufit.clusters.persistent.state import Folder, State
from relufit.errors import ClusterError, ConfigError

#: The variable with the path of a configuration file that uses the cluster, for a command that runs on it.
FILE_VARIABLE = "RELUFIT_CLUSTER_FILE"
#: Seconds for a command that was interrupted to end by itself, after an interrupt, and after it was told to.
_ENDING_SECONDS = ((None, 1.0), (signal.SIGINT, 20.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))


@contextmanager
def _standing(section: Mapping[str, Any], ranks: int, name: str, base: Path) -> Iterator[State]:
    state = up(section, ranks, name, base)
    try:
        yield state
    finally:
        down(name, base, state.kind, state.place)


def run(section: Mapping[str, Any], ranks: int, name: str, base: Path, command: Sequence[str]) -> int:
    """Run a command while a cluster stands, end the cluster whatever happens, and return the command's exit status.

    The command finds the path of a configuration file that uses the cluster in the variable `FILE_VARIABLE`;
    Snakemake is given it as its configuration.

    Raises
    ------
    ConfigError
        If there is no such command; nothing has been started then.
    ClusterError
        If the cluster does not start, or a member of it is left.
    """
    if not command or not shutil.which(command[0]):
        raise ConfigError(
            f"no command {command[0]!r}" if command else "no command",
            where="cluster run",
            remedy="give one after --, such as `relufit cluster run --workers 2 -- snakemake --cores all`",
        )
    folder = Folder(base, name)
    with _standing(section, ranks, name, base):
        words = pointed(command, folder.section())
        process = subprocess.Popen(words, env={**os.environ, FILE_VARIABLE: str(folder.config_file)})
        try:
            status = process.wait()
        except BaseException:
            _end(process)
            raise
    return status if status >= 0 else 128 - status


def pointed(command: Sequence[str], section: Mapping[str, Any]) -> list[str]:
    """Return a command that uses the cluster: Snakemake takes values of its configuration on the command line."""
    words = list(command)
    if Path(words[0]).name != "snakemake":
        return words
    value = f"cluster={json.dumps(section)}"
    end = words.index("--") if "--" in words else len(words)
    for index, word in enumerate(words[:end]):
        if word in ("--config", "-C"):
            return [*words[: index + 1], value, *words[index + 1 :]]
    return [words[0], f"--config={value}", *words[1:]]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command, gently at first; a terminal has told it of an interrupt already."""
    for number, seconds in _ENDING_SECONDS:
        try:
            if number is not None:
                process.send_signal(number)
            process.wait(seconds)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    raise ClusterError(f"the process {process.pid} does not end", where="cluster run", remedy="end it by hand")
