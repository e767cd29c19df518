"""The state of a run on disk, so that a run that was stopped goes on: versioned, checksummed, all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from relufit.errors import DataError
from relufit.files import replacing
from relufit.reuse import code_digest
from relufit.training.loop import Reporter, Run, Snapshot, Watcher
from relufit.training.spec import Plan

if TYPE_CHECKING:
    from relufit.training.trace import Row

_MAGIC, _VERSION = b"relufit checkpoint\n", 1
_MOST_HEADER = 1 << 20
#: Seconds between two checkpoints.
EVERY = 10.0


def identity(plan: Plan, w_star: np.ndarray) -> dict[str, Any]:
    """Return what a checkpoint must have been made by: the same run of the same code on the same data."""
    return {
        "spec": json.loads(json.dumps(plan.spec.describe())),
        "n": plan.n,
        "d": plan.d,
        "step_size": plan.step,
        "w_star": hashlib.sha256(w_star.astype("<f8").tobytes()).hexdigest(),
        "code": code_digest("trials"),
    }


def write(path: str | os.PathLike[str], snapshot: Snapshot, made_by: dict[str, Any]) -> None:
    """Write a snapshot; when this returns it is on the disk, and until then the one before is.

    Raises
    ------
    OSError
        Where the file system refuses; what was there is as it was.
    """
    rows = np.array(snapshot.rows, np.float64).reshape(len(snapshot.rows), -1)
    counts = np.array([row[3:] for row in snapshot.rows], np.int64).reshape(len(snapshot.rows), 2)
    seconds = np.array(snapshot.seconds, np.float64).reshape(len(snapshot.seconds), -1)
    parts = [snapshot.weights.astype("<f8"), rows[:, :3].astype("<f8"), counts.astype("<i8"), seconds.astype("<f8")]
    body = b"".join(part.tobytes() for part in parts)
    about = {
        "version": _VERSION,
        "made_by": made_by,
        "iteration": snapshot.iteration,
        "first_error": float(snapshot.first_error).hex(),
        "uplink": snapshot.uplink,
        "downlink": snapshot.downlink,
        "shapes": [part.shape for part in parts],
    }
    header = json.dumps(about, sort_keys=True).encode()
    whole = len(header).to_bytes(8, "little") + header + body
    with replacing(path) as fresh, fresh.open("wb") as file:
        file.write(_MAGIC + hashlib.sha256(whole).digest() + whole)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: str | os.PathLike[str], made_by: dict[str, Any]) -> Snapshot | None:
    """Return the snapshot at `path`, None if there is no file.

    Raises
    ------
    DataError
        If the file is damaged, of another version, or of another run, data or code: it is not used then.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error})") from error
    start = len(_MAGIC) + 32
    whole = content[start:]
    if not content.startswith(_MAGIC):
        raise _refusal(path, "is no checkpoint")
    if hashlib.sha256(whole).digest() != content[len(_MAGIC) : start]:
        raise _refusal(path, "is damaged: its checksum is wrong")
    size = int.from_bytes(whole[:8], "little")
    about = json.loads(whole[8 : 8 + size])
    if about["version"] != _VERSION:
        raise _refusal(path, f"is of version {about['version']}, not {_VERSION}")
    for key, value in made_by.items():
        if about["made_by"].get(key) != value:
            raise _refusal(path, f"belongs to another run: another {_NAMES.get(key, key)}")
    return _snapshot(about, memoryview(whole)[8 + size :])


_NAMES = {"code": "version of the code", "w_star": "data set", "spec": "specification"}


def _snapshot(about: dict[str, Any], body: memoryview) -> Snapshot:
    parts, at = [], 0
    for shape, kind in zip(about["shapes"], ("<f8", "<f8", "<i8", "<f8"), strict=True):
        count = int(np.prod(shape))
        parts.append(np.frombuffer(body, kind, count, at).reshape(shape))
        at += 8 * count
    weights, rows, counts, seconds = parts
    table: list[Row] = [
        (int(row[0]), float(row[1]), float(row[2]), int(count[0]), int(count[1]))
        for row, count in zip(rows, counts, strict=True)
    ]
    return Snapshot(
        about["iteration"],
        weights.astype(np.float64),
        float.fromhex(about["first_error"]),
        about["uplink"],
        about["downlink"],
        table,
        [(int(row[0]), *(float(value) for value in row[1:])) for row in seconds],
    )


def _refusal(path: str | os.PathLike[str], what: str) -> DataError:
    return DataError(f"the checkpoint {what}", where=str(path), remedy="delete it, and the run begins anew")


class Keeper:
    """Keeps the checkpoint of one run.

    Parameters
    ----------
    path : path
    plan : Plan
    w_star : (d,) float64
    every : float
        Seconds between two checkpoints.
    """

    def __init__(self, path: str | os.PathLike[str], plan: Plan, w_star: np.ndarray, every: float = EVERY) -> None:
        self.path, self.every = Path(path), every
        self._made_by, self._last = identity(plan, w_star), monotonic()
        #: What went wrong when one was last to be written: a full disk does not end a run.
        self.trouble = ""

    def load(self) -> Snapshot | None:
        """Return where to go on, None at the beginning; a file that is none of this run's is a `DataError`."""
        self._sweep()
        return read(self.path, self._made_by)

    def due(self) -> bool:
        """Tell whether it is time for the next."""
        return monotonic() - self._last > self.every

    def write(self, snapshot: Snapshot) -> None:
        """Write a checkpoint; if the disk refuses, the one before stays, and `trouble` says why."""
        try:
            write(self.path, snapshot, self._made_by)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"no checkpoint could be written to {self.path} ({error})"
        self._last = monotonic()

    def remove(self) -> None:
        """Remove the checkpoint: the run has ended."""
        self.path.unlink(missing_ok=True)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what a process that was killed while writing has left."""
        for part in self.path.parent.glob(f".{self.path.name}.*.part"):
            shutil.rmtree(part, ignore_errors=True)


class Observer(Watcher):
    """Tells the news of a run, and keeps its checkpoint.

    Parameters
    ----------
    reporter : Reporter, optional
    keeper : Keeper, optional
    told : callable, optional
        Told once if no checkpoint can be written.
    """

    def __init__(
        self, reporter: Reporter | None, keeper: Keeper | None, told: Callable[[str], None] | None = None
    ) -> None:
        self._reporter, self._keeper, self._told, self._silent = reporter, keeper, told, False

    def iterated(self, run: Run) -> None:
        """Look whether it is time for either."""
        if self._reporter:
            self._reporter.look(run)
        if self._keeper and self._keeper.due():
            self.keep(run)

    def keep(self, run: Run) -> None:
        """Write a checkpoint."""
        if self._keeper:
            self._keeper.write(run.snapshot())
            if self._keeper.trouble and self._told and not self._silent:
                self._silent = True
                self._told(self._keeper.trouble)
