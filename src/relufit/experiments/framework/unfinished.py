"""What a job keeps of its trials while others are still to be run, so that it can be stopped and go on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from relufit.claims import trace_files
from relufit.claims.trace_files import Record
from relufit.errors import DataError
from relufit.experiments.framework.base import Outcome
from relufit.files.staging import sweep

#: Lists the files that were made in a folder, a line each, written before the file is.
_LIST = "files"


class UnfinishedTrials:
    """The trials that have ended of a job that has not, and the checkpoint of the one that is run.

    They are in a folder beside the traces of the job. The folder has a list of the files that were made in it; when it
    is no longer needed these are removed, and nothing else.

    Parameters
    ----------
    traces : Path
        Where the traces of the job will be.
    """

    def __init__(self, traces: Path) -> None:
        self.folder = traces.with_name(f".{traces.stem}.unfinished")

    def trial(self, name: str, origin: dict[str, str]) -> UnfinishedTrial:
        """Return the trial of that name, which is made from `origin`."""
        return UnfinishedTrial(self.folder, name, origin)

    def remove(self) -> None:
        """Remove all files that were made, and the folder if there is nothing else in it."""
        listed = self.folder / _LIST
        with suppress(OSError):
            # The folder of another process that does the same may vanish at any time.
            for name in filter(None, listed.read_text(encoding="utf-8").splitlines()):
                if name == Path(name).name:
                    (self.folder / name).unlink(missing_ok=True)
            sweep(self.folder)
            listed.unlink()
            self.folder.rmdir()


class UnfinishedTrial:
    """One trial of a job: its checkpoint while it is run, its traces when it has ended.

    Parameters
    ----------
    folder : Path
    name : str
    origin : dict
        What it must have been made from.
    """

    def __init__(self, folder: Path, name: str, origin: dict[str, str]) -> None:
        self._folder, self._name, self._origin = folder, name, origin
        self.saved = False

    def checkpoint(self) -> Path:
        """Return where its checkpoint is to be kept."""
        return self._listed(f"{self._name}.checkpoint")

    def read(self) -> Outcome | None:
        """Return what it has left, None if it is not there, damaged, or of something else: then it is run again."""
        try:
            results, timings = trace_files.read_pair(self._folder / f"{self._name}.parquet")
            if results.about["origin"] != self._origin:
                return None
            return Outcome(results.table, results.about["summary"], timings.table, timings.about["measured"])
        except (DataError, KeyError):
            return None

    def save(self, outcome: Outcome) -> None:
        """Write what it leaves."""
        path = self._listed(f"{self._name}.parquet")
        self._listed(trace_files.timing_path(path).name)
        results = Record(outcome.table, {"origin": self._origin, "summary": outcome.summary})
        trace_files.write_pair(path, results, Record(outcome.timing, {"measured": outcome.measured}))
        self.saved = True

    def _listed(self, name: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _LIST).open("a", encoding="utf-8") as file:
            # On a line of its own even if a process was killed within the line before.
            file.write(f"\n{name}\n")
        return self._folder / name
