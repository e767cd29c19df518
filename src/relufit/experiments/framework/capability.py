"""What this machine lacks of the hosts that settings can be run without, and which traces are taken over for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from relufit.claims import trace_files
from relufit.clusters.emulated.findings import Findings, Obstacle, probe
from relufit.clusters.emulated.options import Options
from relufit.errors import DataError
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.trials import origin_of
from relufit.pipeline import reuse


@cache
def findings() -> Findings:
    """Return what can be emulated here, found out once in this process."""
    return probe()


def optional_hosts(settings: Sequence[Setting]) -> list[Options]:
    """Return the hosts that settings ask for without needing them."""
    sections = [setting.cluster["emulated"] for setting in settings if _is_emulated(setting) and setting.cluster]
    return [options for options in map(Options.read, sections) if not options.required]


def obstacle(settings: Sequence[Setting]) -> Obstacle | None:
    """Return what is in the way of hosts that settings ask for without needing them, None if nothing is."""
    for options in optional_hosts(settings):
        if blocker := options.obstacle(findings()):
            return blocker
    return None


def take_over(settings: Sequence[Setting], seed: int, path: Path) -> bool:
    """Copy the traces of another run beside this one if they are of the same settings, seed and code, and sound."""
    wanted = origin_of(settings, seed)

    def is_same(copied: Path) -> bool:
        return bool(trace_files.read(copied).about.get("origin") == wanted)

    return any(
        _is_pair(other)
        and reuse.take_over(trace_files.timing_path(other), trace_files.timing_path(path), is_same)
        and reuse.take_over(other, path, is_same)
        for other in _candidates(settings, path)
    )


def measured(settings: Sequence[Setting], seed: int, path: Path) -> bool:
    """Tell whether traces of the same settings, seed and code, not refused, are at `path` or in another run."""
    places = (path, *reuse.elsewhere(path, depth=2))
    return any(_was_measured(place, origin_of(settings, seed)) for place in places)


def _candidates(settings: Sequence[Setting], path: Path) -> Iterator[Path]:
    """Yield the traces of a group in other runs that may be taken over for `path`.

    Those whose hosts were refused come last, and only where this machine would refuse them too.
    """
    refused = []
    for other in reuse.elsewhere(path, depth=2):
        if _was_refused(trace_files.describe(trace_files.timing_path(other))):
            refused.append(other)
        else:
            yield other
    if refused and obstacle(settings):
        yield from refused


def _was_measured(path: Path, origin: Mapping[str, Any]) -> bool:
    """Tell whether there are traces of that origin at `path` whose hosts were not refused."""
    about = trace_files.describe(trace_files.timing_path(path))
    return about is not None and about.get("origin") == origin and not _was_refused(about)


def _was_refused(about: Mapping[str, Any] | None) -> bool:
    return bool(((about or {}).get("cluster") or {}).get("refused"))


def _is_emulated(setting: Setting) -> bool:
    return setting.cluster is not None and setting.cluster["kind"] == "emulated"


def _is_pair(path: Path) -> bool:
    try:
        trace_files.read_pair(path)
    except DataError:
        return False
    return True
