"""What is written down of a cluster that outlives the command that started it: a folder that its owner alone reads."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from relufit.clusters.certificates import Files
from relufit.errors import ClusterError, ConfigError
from relufit.files import replacing

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_STATE, _SCHEDULER, _CONFIG = "cluster.json", "scheduler.json", "address.yaml"


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

    def create(self, state: State) -> None:
        """Make the folder anew, with the state in it.

        Raises
        ------
        ConfigError
            If there is a folder with something else in it.
        """
        self.remove()
        if self.path.exists() and any(self.path.iterdir()):
            raise ConfigError("holds something else", where=str(self.path), remedy="choose another --name or --state")
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        self.write(state)

    def remove(self) -> None:
        """Remove the folder and all in it, if a state is there."""
        if (self.path / _STATE).exists():
            shutil.rmtree(self.path, ignore_errors=True)

    def tls(self) -> Files:
        """Return where the certificates are."""
        return Files(*(self.path / name for name in ("ca.pem", "cert.pem", "key.pem")))

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


def names(base: Path) -> list[str]:
    """Return the names of the clusters that are written down in a folder."""
    return sorted(path.parent.name for path in base.glob(f"*/{_STATE}"))


def write_private(path: Path, text: str) -> None:
    """Write a text that its owner alone can read, all of it or nothing."""
    with (
        replacing(path) as fresh,
        os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
