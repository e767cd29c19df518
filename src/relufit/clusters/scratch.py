"""Private folders for Dask's processes.

Dask puts its own folder on the import path of every scheduler, nanny and worker, so that whoever can write there runs
code in them.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relufit.errors import ClusterError

_PREFIX = "relufit-"
#: The longest path of a folder in which `multiprocessing` can bind its sockets: an address has at most 107 bytes, of
#: which ``/pymp-xxxxxxxx/listener-xxxxxxxx`` needs 33.
_LONGEST = 107 - 33
#: Where folders are made if those of the user have longer paths.
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")
#: Waits until its standard input ends and removes the folder of its first word, within ten seconds.
_REMOVE = """
trap '' HUP INT TERM
read -r _
tries=0
while ! rm -rf -- "$1" && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
"""


def make_private_folder() -> Path:
    """Return a new folder that only this user can enter, below the temporary folder if its path is short enough.

    Raises
    ------
    ClusterError
        If there is no place for one.
    """
    reason = ""
    for base in dict.fromkeys((*_own_temporary(), *_SHORT, os.environ.get("XDG_RUNTIME_DIR", ""))):
        if not base or len(os.fsencode(base)) + len(f"/{_PREFIX}xxxxxxxx") > _LONGEST:
            continue
        try:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        except OSError as error:
            reason = f" ({error.strerror}: {base})"
            continue
        check_private(path)
        return path
    raise ClusterError(
        f"no temporary folder with a short path can be written{reason}",
        where="TMPDIR",
        remedy="set TMPDIR to a folder of yours with a path of at most 50 characters",
    )


def _own_temporary() -> tuple[str, ...]:
    try:
        return (tempfile.gettempdir(),)
    except OSError:
        return ()


def check_private(path: Path) -> None:
    """Refuse a folder that others than this user could write, read or have put there.

    Raises
    ------
    ClusterError
        If it is one.
    """
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
        raise ClusterError(
            "is not a folder of this user alone, and code in it would be run",
            where=str(path),
            remedy="remove it, or set TMPDIR to another folder",
        )


def remove_private_folder(path: Path) -> None:
    """Remove a folder that `make_private_folder` has made; what a process still writes there does not disturb."""
    if path.name.startswith(_PREFIX):
        shutil.rmtree(path, ignore_errors=True)


class TemporaryFolder:
    """A new private folder that does not outlive this process, however that ends.

    A shell of its own session waits for the end of a pipe that only this process holds, and then removes the folder;
    it tries for some seconds, since workers that are just ending may still write there.

    Attributes
    ----------
    path : Path
        The folder.
    """

    def __init__(self) -> None:
        self.path = make_private_folder()
        self._remover = subprocess.Popen(
            ["/bin/sh", "-c", _REMOVE, "sh", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def remove(self) -> None:
        """Remove it now, and return when that is done or has failed for some seconds."""
        assert self._remover.stdin is not None
        self._remover.stdin.close()
        self._remover.wait()


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a private folder, and remove it in the end."""
    folder = TemporaryFolder()
    try:
        yield folder.path
    finally:
        folder.remove()
