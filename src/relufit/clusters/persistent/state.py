"""What is written down of a cluster that outlives the command that started it: a folder that its owner alone reads."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from relufit.clusters.certificates import Files
from relufit.errors import ClusterError, ConfigError
from relufit.files.atomic import replacing

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_STATE, _SCHEDULER, _CONFIG, _SCRATCH = "cluster.json", "scheduler.json", "address.yaml", "scratch"
_TLS = ("ca.pem", "cert.pem", "key.pem")
#: The file by which we know a folder that we have made.
_MARK, _MARK_TEXT = ".relufit-cluster", "made by `relufit cluster`, which removes it\n"
#: The files that we put into a folder, and all that is ours in it.
_FILES = (_STATE, _SCHEDULER, _CONFIG, *_TLS, "dask_scheduler.log", "dask_worker.log")
_OURS = frozenset({*_FILES, _SCRATCH, _MARK})
#: What a process that was killed leaves of a file that it was writing.
_PART = re.compile(rf"\.({'|'.join(map(re.escape, _FILES))})\.[0-9a-f]{{16}}\.part")


@dataclass(frozen=True)
class State:
    """A cluster, as far as it is written down.

    Parameters
    ----------
    kind, name : str
        What it is, and what its members are tagged with.
    place : mapping
        Where its kind finds it, such as a region.
    began : float
        When it was started, in seconds since 1970.
    address : str
        Of its scheduler; empty while it is starting.
    workers : int
        Members besides the scheduler.
    prices : mapping
        USD an hour of a member, by its type.
    """

    kind: str
    name: str
    place: Mapping[str, Any]
    began: float
    address: str = ""
    workers: int = 0
    prices: Mapping[str, float] = field(default_factory=dict)


def default_folder() -> Path:
    """Return where states are kept: ``relufit`` below the user's folder for such things."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "relufit"


class Folder:
    """Where the state of one cluster is kept, its certificates beside it.

    Raises
    ------
    ConfigError
        If the name is impossible.
    """

    def __init__(self, base: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is no name of a cluster", where="--name", remedy="use a to z, 0 to 9 and -, at most 40"
            )
        self.path = base.absolute() / name
        self.scheduler_file = self.path / _SCHEDULER
        self.config_file = self.path / _CONFIG
        #: What processes on this machine write while they run.
        self.scratch = self.path / _SCRATCH

    def create(self, state: State) -> None:
        """Make the folder anew, with the state in it.

        Raises
        ------
        ConfigError
            If there is a folder with something else in it.
        """
        if foreign := self.foreign():
            raise ConfigError(
                f"holds something else ({', '.join(foreign)})",
                where=str(self.path),
                remedy="choose another --name or --state, or move it away",
            )
        self.remove()
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        # At once, not by another name: without it the folder would be nobody's.
        with os.fdopen(os.open(self.path / _MARK, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(_MARK_TEXT)
        self.write(state)

    def foreign(self) -> list[str]:
        """Return the names of what is in the folder and not ours; without our mark that is all."""
        try:
            names = sorted(path.name for path in self.path.iterdir())
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            return [self.path.name]
        return [name for name in names if not _is_ours(name)] if self._marked() else names

    def remove(self) -> list[str]:
        """Remove what we have put into the folder, by its names, and the folder if nothing else is in it.

        Returns
        -------
        left : list of str
            The names of what is not ours, and stays.
        """
        if self.path.is_dir() and self._marked():
            for name in _FILES:
                with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                    (self.path / name).unlink()
            for path in list(self.path.iterdir()):
                if (path.name == _SCRATCH or _PART.fullmatch(path.name)) and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
            left = [path for path in self.path.iterdir() if path.name != _MARK]
            if not left:
                (self.path / _MARK).unlink()
                with suppress(OSError):
                    self.path.rmdir()
            return sorted(path.name for path in left)
        return self.foreign()

    def _marked(self) -> bool:
        """Tell whether we have made the folder."""
        mark = self.path / _MARK
        try:
            return not mark.is_symlink() and mark.read_text(encoding="utf-8") == _MARK_TEXT
        except (OSError, ValueError):
            return False

    def tls(self) -> Files:
        """Return where the certificates are."""
        return Files(*(self.path / name for name in _TLS))

    def read(self) -> State | None:
        """Return the state, None if there is none.

        Raises
        ------
        ClusterError
            If it cannot be understood.
        """
        path = self.path / _STATE
        try:
            return State(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ClusterError(
                f"is damaged ({error})", where=str(path), remedy="name the cluster by --kind and --name"
            ) from error

    def write(self, state: State) -> None:
        """Write the state, and how the cluster is reached, all of it or nothing."""
        if state.address:
            write_private(self.scheduler_file, json.dumps({"type": "Scheduler", "address": state.address}) + "\n")
            write_private(self.config_file, yaml.safe_dump({"cluster": self.section()}, sort_keys=False))
        write_private(self.path / _STATE, json.dumps(asdict(state), indent=2) + "\n")

    def section(self) -> dict[str, Any]:
        """Return the section ``cluster`` of a configuration that uses this cluster."""
        options = {"scheduler_file": str(self.scheduler_file), "tls": self.tls().options()}
        return {"kind": "address", "address": options}


def _is_ours(name: str) -> bool:
    return name in _OURS or bool(_PART.fullmatch(name))


def names(base: Path) -> list[str]:
    """Return the names of the clusters that are written down in a folder."""
    return sorted(path.parent.name for path in base.glob(f"*/{_STATE}"))


def write_private(path: Path, text: str) -> None:
    """Write a text that its owner alone can read, all of it or nothing."""
    with (
        replacing(path, mode=0o600) as fresh,
        os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
