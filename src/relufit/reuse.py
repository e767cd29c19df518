"""Taking over from other runs what they made already: the same content, hard-linked instead of made again."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from relufit.files import replacing

_PACKAGE = Path(__file__).parent

#: The source files, below the package, that each stage of the workflow depends on.
SOURCES = {
    "dataset": ("dataset.py", "stores.py", "planted.py", "streams.py", "kernels.py", "simd/*.py"),
    "trials": (
        "training/*.py",
        "compression/**/*.py",
        "transport/*.py",
        "clusters/*.py",
        "clusters/emulated/*.py",
        "experiments/base.py",
        "experiments/links.py",
        "experiments/plan_costs.py",
        "experiments/procedures.py",
        "experiments/spread.py",
        "experiments/trials.py",
        "planning/*.py",
        "solvers/*.py",
        "records.py",
        "theory/*.py",
        "dataset.py",
        "stores.py",
        "planted.py",
        "streams.py",
        "kernels.py",
        "simd/*.py",
    ),
    "claims": ("claims/*.py", "compression/**/*.py", "experiments/*.py", "theory/*.py", "planted.py", "records.py"),
    "figures": ("figures/*.py",),
    "report": ("report/*.py", "report/*.j2", "report/*.css", "claims/*.py", "figures/__init__.py", "records.py"),
    "manifest": ("manifest.py",),
}


def sources(stage: str) -> list[str]:
    """Return the source files that a stage depends on, sorted."""
    return sorted(str(path) for pattern in SOURCES[stage] for path in _PACKAGE.glob(pattern))


def code_digest(stage: str) -> str:
    """Return the SHA-256 of the source files that a stage depends on."""
    total = hashlib.sha256()
    for path in sources(stage):
        total.update(Path(path).read_bytes())
    return total.hexdigest()


def elsewhere(target: Path, *, depth: int) -> Iterable[Path]:
    """Yield the paths that `target`, `depth` folders below its run's, has in the runs beside its own."""
    run = target.absolute().parents[depth]
    inner = target.absolute().relative_to(run)
    for other in sorted(run.parent.iterdir()) if run.parent.is_dir() else ():
        if other != run and (other / inner).exists():
            yield other / inner


def take_over(source: Path, target: Path) -> None:
    """Make `target` the same as `source`, a file or a folder, by hard links where the file system has them."""
    with replacing(target) as fresh:
        if source.is_dir():
            shutil.copytree(source, fresh, copy_function=_link)
        else:
            _link(source, fresh)
    os.utime(target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
