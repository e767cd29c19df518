"""Taking over from other runs what they made already: the same content, linked or copied instead of made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from relufit.files.atomic import replacing
from relufit.planted.stores import foreign_part


def elsewhere(target: Path, *, depth: int) -> Iterable[Path]:
    """Yield the paths that `target`, `depth` folders below its run's, has in the runs beside its own."""
    run = target.absolute().parents[depth]
    inner = target.absolute().relative_to(run)
    try:
        runs = sorted(run.parent.iterdir())
    except OSError:
        return
    for other in runs:
        if other != run and os.path.exists(other / inner):  # noqa: PTH110 - which is false where it cannot be told
            yield other / inner


def take_over(source: Path, target: Path, accepts: Callable[[Path], bool]) -> bool:
    """Make `target` the same as `source`, and tell whether that was done.

    The files of a folder are linked where the file system has hard links, so that damage done to one shows in the
    other too: whoever reads a data set holds it against its checksums. A single file is copied.

    Parameters
    ----------
    source, target : Path
        Files or folders.
    accepts : callable
        Told the link or copy before it takes the place of `target`. If it returns False, or there is any error, as
        with a source that is damaged, cannot be read, or vanishes, the source is passed over.
    """
    try:
        with replacing(target, directory=source.is_dir(), foreign=foreign_part) as fresh:
            if source.is_dir():
                shutil.copytree(source, fresh, copy_function=_link, ignore=_not_of_the_content, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, fresh)
            if not accepts(fresh):
                raise _RefusedError
        os.utime(target)
    except Exception:
        return False
    return True


class _RefusedError(Exception):
    """What was found elsewhere is not the same."""


def _not_of_the_content(folder: str, names: list[str]) -> set[str]:
    """Return what is in the folder for others: Snakemake writes to its mark, which must not be a link."""
    return {".snakemake_timestamp"} & set(names)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
