"""The state of a run on disk, so that a run that was stopped goes on: versioned, checksummed, all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from relufit.errors import DataError
from relufit.files.atomic import replacing
from relufit.files.outputs import resolve
from relufit.files.staging import sweep
from relufit.sources import code_digest
from relufit.training.foreign_code import foreign_code
from relufit.training.loop import Callback, Reporter, Run, Snapshot
from relufit.training.master import OUTCOMES
from relufit.training.residuals import Residuals
from relufit.training.spec import Plan
from relufit.training.trace import TIMINGS

if TYPE_CHECKING:
    from relufit.training.trace import Row

_MAGIC, _VERSION = b"relufit checkpoint\n", 3
_SEAL_BYTES, _MOST_HEADER, _MOST_COUNT = 32, 1 << 20, (1 << 63) - 1
#: Which part of a file has counts.
_COUNTS = 2
#: Columns of the seconds of a row.
_SECONDS = 2 + len(TIMINGS)
#: Seconds between two checkpoints.
EVERY = 10.0


def identity(plan: Plan, rows: str) -> dict[str, Any]:
    """Return what a checkpoint must have been made by: the same run of the same code on the same rows.

    `rows` is the digest of the rows, see `relufit.planted.dataset.RowSource`.
    """
    return {
        "spec": json.loads(json.dumps(plan.spec.describe())),
        "n": plan.n,
        "d": plan.d,
        "step_size": plan.step,
        "residuals": Residuals(plan).size,
        **({"learnt": plan.learnt} if plan.learnt else {}),
        "code": code_digest("training") + foreign_code(plan.compressor),
        "rows": rows,
    }


def write(path: str | os.PathLike[str], snapshot: Snapshot, made_by: dict[str, Any]) -> None:
    """Write a snapshot; when this returns it is on the disk, and until then the one before is.

    Raises
    ------
    OSError
        Where the file system refuses; what was there is as it was.
    """
    values, counts = [(*row[:3], *row[5:]) for row in snapshot.rows], [row[3:5] for row in snapshot.rows]
    parts = [snapshot.weights.astype("<f8")]
    tables = (values, counts, snapshot.seconds)
    for table, width, kind in zip(tables, _widths(made_by), ("<f8", "<i8", "<f8"), strict=True):
        parts.append(np.array(table, kind).reshape(-1, width))
    parts.append(snapshot.residuals.astype("<f8"))
    if _averages(made_by):
        parts.append(snapshot.mean.astype("<f8"))
    if _delay(made_by):
        parts.append(snapshot.past.astype("<f8"))
    if "learnt" in made_by:
        parts.append(snapshot.learnt.astype("<f8"))
    body = b"".join(part.tobytes() for part in parts)
    about = {
        "version": _VERSION,
        "made_by": made_by,
        "iteration": snapshot.iteration,
        "first_error": float(snapshot.first_error).hex(),
        "uplink": snapshot.uplink,
        "downlink": snapshot.downlink,
        "outcome": snapshot.outcome,
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
        If the file is damaged, makes no sense, is of another version, or of another run, data or code.
    """
    try:
        content = _content(path, _limit(made_by))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error})") from error
    start = len(_MAGIC) + _SEAL_BYTES
    whole = content[start:]
    if not content.startswith(_MAGIC):
        raise _refusal(path, "is no checkpoint")
    if hashlib.sha256(whole).digest() != content[len(_MAGIC) : start]:
        raise _refusal(path, "is damaged: its checksum is wrong")
    try:
        about, body = _split(whole)
        if about["version"] != _VERSION:
            raise _refusal(path, f"is of version {about['version']!r:.20}, not {_VERSION}")
        for key, value in made_by.items():
            if about["made_by"].get(key) != value:
                raise _refusal(path, f"belongs to another run: another {_NAMES.get(key, key)}")
        return _snapshot(about, body, made_by)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        # Whoever has sealed it can write anything.
        raise _refusal(path, f"makes no sense ({type(error).__name__}: {' '.join(str(error).split()):.80})") from error


_NAMES = {"code": "version of the code", "rows": "data set", "spec": "specification"}


def discard(path: str | os.PathLike[str], made_by: dict[str, Any]) -> str:
    """Remove the checkpoint of a run that has ended; return why not, empty if none is left.

    A file that is none of this run's is left alone.
    """
    try:
        if read(path, made_by) is not None:
            Path(path).unlink(missing_ok=True)
    except DataError as refusal:
        return str(refusal)
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def _limit(made_by: dict[str, Any]) -> int:
    """Return the most bytes of a checkpoint."""
    weights = made_by["d"] * (1 + _averages(made_by) + _delay(made_by))
    vectors = weights + made_by["residuals"] + made_by.get("learnt", 0)
    body: int = 8 * (vectors + _most_rows(made_by) * sum(_widths(made_by)))
    return len(_MAGIC) + _SEAL_BYTES + 8 + _MOST_HEADER + body


def _averages(made_by: dict[str, Any]) -> bool:
    """Tell whether weights are averaged: rows have the error of the mean then, and the mean is part of the state."""
    return "average_from" in made_by["spec"]


def _delay(made_by: dict[str, Any]) -> int:
    """Return the delay of gradients: so many weights of iterations before are part of the state."""
    return int(made_by["spec"].get("delay", 0))


def _widths(made_by: dict[str, Any]) -> tuple[int, int, int]:
    """Return the columns of the parts that have a row for each row of the trace: floats, counts, seconds."""
    return 3 + _averages(made_by), 2, _SECONDS


def _most_rows(made_by: dict[str, Any]) -> int:
    spec = made_by["spec"]
    return int(spec["iterations"] // spec["record_every"] + 2)


def _content(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the bytes of a file, at most one more than the limit: its checksum is wrong then."""
    with Path(path).open("rb") as file:
        return file.read(min(limit + 1, os.fstat(file.fileno()).st_size))


def _split(whole: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header and the body of what is sealed."""
    size = int.from_bytes(whole[:8], "little")
    if not 0 < size <= min(_MOST_HEADER, len(whole) - 8):
        raise ValueError(f"a header of {size} bytes")
    about: dict[str, Any] = json.loads(whole[8 : 8 + size])
    return about, memoryview(whole)[8 + size :]


def _snapshot(about: dict[str, Any], body: memoryview, made_by: dict[str, Any]) -> Snapshot:
    """Return the snapshot of a header and a body.

    Raises
    ------
    ValueError, KeyError, TypeError
        If they are not those of a run as `made_by` says.
    """
    iteration, rows = _count(about, "iteration", made_by["spec"]["iterations"]), about["shapes"][1][0]
    if type(rows) is not int or not 0 < rows <= _most_rows(made_by):
        raise ValueError(f"{rows!r:.20} rows")
    # A run that has ended needs none.
    residuals = 0 if about["outcome"] else made_by["residuals"]
    shapes = [[made_by["d"]], *([rows, width] for width in _widths(made_by)), [residuals]]
    if _averages(made_by):
        shapes.append([made_by["d"]])
    if _delay(made_by):
        shapes.append([_delay(made_by), made_by["d"]])
    if "learnt" in made_by:
        shapes.append([made_by["learnt"]])
    kinds = ["<i8" if number == _COUNTS else "<f8" for number in range(len(shapes))]
    if about["shapes"] != shapes or len(body) != 8 * sum(map(math.prod, shapes)):
        raise ValueError("shapes that do not fit")
    parts, at = [], 0
    for shape, kind in zip(shapes, kinds, strict=True):
        parts.append(np.frombuffer(body, kind, math.prod(shape), at).reshape(shape))
        at += parts[-1].nbytes
    weights, values, counts, seconds, left, *more = parts
    mean = more.pop(0) if _averages(made_by) else np.empty(0)
    past = more.pop(0) if _delay(made_by) else np.empty(0)
    learnt = more.pop() if more else np.empty(0)
    if not np.isfinite(learnt).all():
        raise ValueError("numbers that are not finite")
    outcome, first_error = about["outcome"], float.fromhex(about["first_error"])
    _check_rows(values[:, 0], seconds[:, 0], counts, iteration, outcome)
    if first_error < 0:
        raise ValueError("an error below zero")
    table: list[Row] = [
        (int(value[0]), float(value[1]), float(value[2]), int(count[0]), int(count[1]), *map(float, value[3:]))
        for value, count in zip(values, counts, strict=True)
    ]
    return Snapshot(
        iteration,
        weights.astype(np.float64),
        first_error,
        _count(about, "uplink", _MOST_COUNT),
        _count(about, "downlink", _MOST_COUNT),
        table,
        [(int(row[0]), *(float(value) for value in row[1:])) for row in seconds],
        outcome,
        left.astype(np.float64),
        mean.astype(np.float64),
        past.astype(np.float64),
        learnt.astype(np.float64),
    )


def _count(about: dict[str, Any], key: str, most: int) -> int:
    value = about[key]
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{key} {value!r:.20}")
    return value


def _check_rows(recorded: np.ndarray, timed: np.ndarray, counts: np.ndarray, iteration: int, outcome: object) -> None:
    """Check that rows go from iteration 0 up to the present one, where a run that has ended has its last row."""
    if outcome not in (None, *OUTCOMES):
        raise ValueError(f"outcome {outcome!r:.20}")
    rising = recorded[0] == 0 and (np.diff(recorded) > 0).all() and (recorded % 1 == 0).all()
    if not (rising and recorded[-1] <= iteration and np.array_equal(recorded, timed) and (counts >= 0).all()):
        raise ValueError("rows out of order")
    if outcome and recorded[-1] != iteration:
        raise ValueError("an end without a row")


def _refusal(path: str | os.PathLike[str], what: str) -> DataError:
    return DataError(f"the checkpoint {what}", where=str(path), remedy="delete it, and the run begins anew")


class CheckpointManager:
    """Keeps the checkpoint of one run: while it goes on, and its end until the trace is where it is wanted.

    Parameters
    ----------
    path : path
    plan : Plan
    rows : str
        The digest of the rows.
    every : float
        Seconds between two checkpoints.
    """

    def __init__(self, path: str | os.PathLike[str], plan: Plan, rows: str, every: float = EVERY) -> None:
        self.path, self.every = Path(path), every
        self.made_by, self._last = identity(plan, rows), monotonic()
        #: What went wrong when one was last to be written: a full disk does not end a run.
        self.trouble = ""

    def load(self) -> Snapshot | None:
        """Return where to go on, None at the beginning; a file that is none of this run's is a `DataError`."""
        self._sweep()
        return read(self.path, self.made_by)

    def due(self) -> bool:
        """Tell whether it is time for the next."""
        return monotonic() - self._last > self.every

    def write(self, snapshot: Snapshot) -> None:
        """Write a checkpoint; if the disk refuses, the one before stays, and `trouble` says why."""
        try:
            write(self.path, snapshot, self.made_by)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"no checkpoint could be written to {self.path} ({error})"
        self._last = monotonic()

    def keep(self, run: Run) -> None:
        """Write a checkpoint of the last state from which another process could go on, if there is one."""
        if (snapshot := run.resumable()) is not None:
            self.write(snapshot)

    def remove(self) -> None:
        """Remove the checkpoint: the run has ended, and its trace is where it is wanted; `trouble` says why not."""
        self.trouble = discard(self.path, self.made_by)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what a process that was killed while writing has left."""
        sweep(resolve(self.path).parent)


class Observer(Callback):
    """Tells the news of a run, and keeps its checkpoint.

    Parameters
    ----------
    reporter : Reporter, optional
    manager : CheckpointManager, optional
    told : callable, optional
        Told once if no checkpoint can be written.
    """

    def __init__(
        self, reporter: Reporter | None, manager: CheckpointManager | None, told: Callable[[str], None] | None = None
    ) -> None:
        self._reporter, self._manager, self._told, self._silent = reporter, manager, told, False

    def iterated(self, run: Run) -> None:
        """Look whether it is time for either."""
        if self._reporter:
            self._reporter.look(run)
        if self._manager and self._manager.due():
            self.keep(run)

    def keep(self, run: Run) -> None:
        """Write a checkpoint."""
        if self._manager:
            self._manager.keep(run)
            if not self._silent:
                self.complain()

    def complain(self) -> None:
        """Tell what went wrong with the checkpoint, if anything did."""
        if self._manager and self._manager.trouble and self._told:
            self._silent = True
            self._told(self._manager.trouble)
