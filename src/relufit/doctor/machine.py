"""The machine: processors, memory, disk, limits, and folders that are written to."""

from __future__ import annotations

import locale
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from relufit.doctor.line import Line, Sign
from relufit.errors import RelufitError
from relufit.experiments import CATALOGUE
from relufit.files.outputs import check_writable

_OLDEST, _NEWEST = (3, 11), (3, 13)
_GIB = 1 << 30
#: Below it processes of the default reproduction may be killed; and what traces, figures and the report take.
_LEAST_MEMORY, _LEAST_DISK = _GIB, _GIB // 4
_LEAST_FILES = 256
#: The path of a socket has at most 107 bytes, of which the name of Dask's takes some.
_LONGEST_FOLDER = 80
_CGROUP = Path("/sys/fs/cgroup")


def machine_lines(config: Mapping[str, Any] | None) -> list[Line]:
    """Return what there is of the machine.

    Parameters
    ----------
    config : dict, optional
        A checked configuration, which says how much disk is needed and where.
    """
    results = Path(config["results"]) / config["run"] if config else Path("results")
    return [
        _python(),
        _cores(),
        _memory(),
        *_folders(results, _bytes_on_disk(config)),
        _temporary(),
        _open_files(),
        _compiled_loops(),
        _text(),
    ]


def _python() -> Line:
    finding = f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}"
    if _OLDEST <= sys.version_info[:2] <= _NEWEST:
        return Line("python", Sign.GOOD, finding)
    return Line(
        "python",
        Sign.MISSING,
        finding,
        "the packages of the lock are those of Python 3.11 to 3.13",
        "make PYTHON=/path/to/python3.12 setup",
    )


def _cores() -> Line:
    usable, whole, quota = len(os.sched_getaffinity(0)), os.cpu_count() or 1, _processor_quota()
    limits = [f"{usable} of {whole} by affinity"] if usable < whole else []
    limits += [f"{quota:g} by the control group"] if quota else []
    cores = min(usable, quota or usable)
    finding = f"{cores:g} core{'s' if cores != 1 else ''}{f' ({chr(44).join(limits)})' if limits else ''}"
    if cores >= 2:
        return Line("cores", Sign.GOOD, finding)
    return Line("cores", Sign.NOTE, finding, "it takes about twice as long, and seconds between hosts are less even")


def _memory() -> Line:
    available = _available_memory()
    finding = f"{available / _GIB:.1f} GiB of memory available"
    if available >= _LEAST_MEMORY:
        return Line("memory", Sign.GOOD, finding)
    return Line(
        "memory", Sign.MISSING, finding, "processes may be killed by the system", "free some, or use a larger one"
    )


def _folders(results: Path, needed: int) -> Iterator[Line]:
    """Yield whether the folder of the results can be written to, and whether it and the temporary one have room."""
    try:
        check_writable(results)
        yield Line("results", Sign.GOOD, f"{results} can be written to")
    except RelufitError as error:
        yield Line("results", Sign.MISSING, f"{error.where} {error.what}", "nothing can be written", error.remedy)
    for topic, folder, least in (("disk", results, needed), ("temporary disk", _temporary_folder(), _LEAST_DISK)):
        if folder is None:
            continue
        free = shutil.disk_usage(_nearest(folder)).free
        finding = f"{free / _GIB:.1f} GiB free at {folder}"
        if free >= least:
            yield Line(topic, Sign.GOOD, finding)
        else:
            yield Line(
                topic,
                Sign.MISSING,
                finding,
                f"about {least / _GIB:.1f} GiB are needed; the run ends where the disk is full",
                f"df -h {_nearest(folder)}",
            )


def _temporary() -> Line:
    folder = _temporary_folder()
    if folder is None:
        return Line(
            "TMPDIR", Sign.MISSING, "there is no temporary folder that can be written to", "no cluster starts",
            "export TMPDIR=/folder/that/can/be/written",
        )  # fmt: skip
    length = len(os.fsencode(folder))
    if length <= _LONGEST_FOLDER:
        return Line("TMPDIR", Sign.GOOD, f"{folder} has a path of {length} bytes")
    follows = f"sockets under it may not have their {length} bytes and a name: at most {_LONGEST_FOLDER} are safe"
    return Line("TMPDIR", Sign.NOTE, f"{folder} has a long path", follows, "export TMPDIR=/tmp")


def _open_files() -> Line:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    finding = f"{'any number of' if soft == resource.RLIM_INFINITY else soft} files may be open at once"
    if soft == resource.RLIM_INFINITY or soft >= _LEAST_FILES:
        return Line("open files", Sign.GOOD, finding)
    enough = hard == resource.RLIM_INFINITY or hard >= _LEAST_FILES
    command = f"ulimit -n {_LEAST_FILES if hard == resource.RLIM_INFINITY else min(hard, 4096)}"
    return Line(
        "open files",
        Sign.MISSING,
        finding,
        f"clusters of some ranks need {_LEAST_FILES}: they do not start",
        command if enough else f"raise the hard limit of {hard} (limits.conf, or the container's --ulimit)",
    )


def _compiled_loops() -> Line:
    """Tell whether compiled loops can be kept beside the package."""
    package = Path(__file__).parent.parent
    if os.access(package, os.W_OK):
        return Line("compiled loops", Sign.GOOD, "compiled loops are kept beside the package")
    return Line(
        "compiled loops",
        Sign.NOTE,
        f"{package} cannot be written to",
        "compiled loops are kept elsewhere, or compiled again by each process, which takes about a minute",
    )


def _text() -> Line:
    chosen = os.environ.get("LC_ALL") or os.environ.get("LANG") or "C"
    encoding, names = locale.getpreferredencoding(do_setlocale=False), sys.getfilesystemencoding()
    finding = f"text is {encoding}, names of files are {names}, in the locale {chosen}"
    return Line("locale", Sign.GOOD, finding)


def _bytes_on_disk(config: Mapping[str, Any] | None) -> int:
    """Return about how many bytes a run leaves: its data sets, and what comes from them."""
    if not config:
        return _LEAST_DISK
    sizes: dict[str, int] = {}
    for name in config["experiments"]:
        for setting in CATALOGUE[name].settings(config):
            rows, columns = setting.data.get("n", 0), setting.data.get("d", 0)
            sizes |= dict.fromkeys(setting.datasets, 4 * rows * (columns + 2))
    return _LEAST_DISK + sum(sizes.values())


def _temporary_folder() -> Path | None:
    with suppress(OSError):
        return Path(tempfile.gettempdir())
    return None


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _available_memory() -> int:
    """Return the bytes that are available, of the machine and within the control group."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    available = 1024 * int(meminfo["MemAvailable"].split()[0])
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for folder in _groups("memory"):
            with suppress(OSError, ValueError):
                left = int((folder / limit).read_text(encoding="ascii")) - int((folder / used).read_text("ascii"))
                available = min(available, max(0, left))
    return available


def _processor_quota() -> float | None:
    """Return the cores that the control group leaves, None if it sets no limit."""
    quotas = []
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            quotas.append(int(quota) / int(period))
        with suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{part}_us").read_text("ascii") for part in ("quota", "period"))
            quotas += [int(quota) / int(period)] if int(quota) > 0 else []
    return min(quotas, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, version 2 or 1, the innermost first."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            top = _CGROUP / controller if controllers else _CGROUP
            inner = top / path.lstrip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))
