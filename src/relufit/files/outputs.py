"""Where outputs go: links, devices and pipes are told apart, and what may not be replaced is refused at once."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from relufit.errors import ConfigError
from relufit.files.paths import absolute

#: Returns the first entry of a folder that an output does not consist of, None if there is none.
Foreign = Callable[[Path], str | None]

_MOST_LINKS = 40
#: A descriptor of a process, such as what ``/dev/stdout`` leads to.
DESCRIPTOR = re.compile(r"/proc/(?P<process>[0-9]+)/(?:task/[0-9]+/)?fd/(?P<number>[0-9]+)")


def is_stream(target: str | os.PathLike[str]) -> bool:
    """Tell whether a path is a device, a pipe or a socket: what is written there cannot be read from there again."""
    path = resolve(target)
    if DESCRIPTOR.fullmatch(str(path)):
        return True
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind))


def resolve(target: str | os.PathLike[str]) -> Path:
    """Return the absolute path of an output: ``~`` is the user's folder, links at its end are followed.

    Raises
    ------
    ConfigError
        If it is no path, the links lead in a circle, or there is no home.
    """
    path = absolute(target)
    if path.name in ("", ".."):
        path = Path(os.path.realpath(path))
    for _ in range(_MOST_LINKS):
        # Parents too, for links that lead upwards from where a linked folder really is.
        path = Path(os.path.realpath(path.parent)) / path.name
        if DESCRIPTOR.fullmatch(str(path)) or not path.is_symlink():
            return path
        path = path.parent / path.readlink()
        if path.name in ("", ".."):
            path = Path(os.path.realpath(path))
    raise ConfigError("is a link that leads in a circle", where=str(target), remedy="remove it or choose another path")


def check_output(
    target: str | os.PathLike[str], *, directory: bool = False, foreign: Foreign | None = None, stream: bool = True
) -> None:
    """Check that an output can be written to `target` and that nothing is lost by it; make nothing.

    A command checks all outputs with it before it computes.

    Parameters
    ----------
    target : path
    directory : bool
        Whether the output is a folder.
    foreign : callable, optional
        As for `replacing`.
    stream : bool
        Whether a device or a pipe is possible: a file that is to be read again cannot be one.

    Raises
    ------
    ConfigError
        If there is a folder where a file is to be written or the other way round, a folder with anything in it that is
        not of such an output, a file that is write-protected, or a folder that cannot be written to.
    """
    path, where = resolve(target), str(target)
    if is_stream(path):
        if directory or not stream:
            remedy = f"give the path of a {'folder' if directory else 'file'}"
            raise ConfigError("is a device or a pipe", where=where, remedy=remedy)
        return
    if path.is_dir():
        if not directory:
            raise ConfigError("is a folder", where=where, remedy="give the path of a file")
        _check_replaceable(path, where, foreign)
    elif path.exists():
        if directory:
            raise ConfigError("is a file", where=where, remedy="give the path of a folder")
        if not os.access(path, os.W_OK):
            raise ConfigError("is write-protected", where=where, remedy="make it writable or choose another path")
    check_writable(path.parent)


def _check_replaceable(folder: Path, where: str, foreign: Foreign | None) -> None:
    if folder == folder.parent:
        raise ConfigError("is the root of the file system", where=where, remedy="choose another folder")
    entries = sorted(path.name for path in folder.iterdir())
    first = (foreign(folder) if foreign else entries[0]) if entries else None
    if first is not None:
        raise ConfigError(
            f"is a folder with something else in it ({first}), and is not replaced",
            where=where,
            remedy="choose another folder, or remove that yourself",
        )


def check_outputs(
    outputs: Mapping[str, str | os.PathLike[str] | None], inputs: Mapping[str, str | os.PathLike[str] | None]
) -> None:
    """Check the files that a command writes, as `check_output` does, and that none of them is another or an input.

    Parameters
    ----------
    outputs, inputs : mapping
        Paths by what they are to be called, such as ``--output``; None for what was not given. An input may be a
        folder, in which no output may lie.

    Raises
    ------
    ConfigError
        If one is.
    """
    places = {name: resolve(path) for name, path in outputs.items() if path is not None}
    for name, file in places.items():
        check_output(outputs[name] or file)
    files = [(name, file) for name, file in places.items() if not is_stream(file)]
    read = [(name, resolve(path)) for name, path in inputs.items() if path is not None and "://" not in str(path)]
    for number, (name, file) in enumerate(files):
        for other, taken in [*files[:number], *read]:
            if _same(file, taken):
                raise ConfigError(f"is the same file as {other}", where=f"{name} {file}", remedy="choose another path")
            if (other, taken) in read and taken in file.parents:
                raise ConfigError(f"lies inside {other}", where=f"{name} {file}", remedy="choose another path")


def _same(one: Path, other: Path) -> bool:
    # Hard links are other files: replacing one of them leaves the others. A file system may ignore the case of letters.
    return one == other or (one.exists() and other.exists() and one.samefile(other) and one.stat().st_nlink == 1)


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Check that a folder can be made, or written to where it is there.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    nearest = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError("is a file, not a folder", where=str(nearest), remedy="move it or choose another folder")
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        raise ConfigError("is on a read-only file system", where=str(nearest), remedy="choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(
            "cannot be written to", where=str(nearest), remedy="make it writable or choose another folder"
        )
