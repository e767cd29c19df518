"""Where data sets are kept: a folder on a disk, whose files are mapped, or a bucket on S3, whose objects are read."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from relufit.errors import ConfigError, DataError
from relufit.files import paths
from relufit.files.atomic import replacing, scratch
from relufit.files.outputs import resolve

_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>[^/].*)")
#: Bytes of an object that are read or sent at a time.
_PART_BYTES = 32 * 2**20
#: Seconds until a connection to S3 stands, and until it answers.
_CONNECT_SECONDS, _READ_SECONDS = 5, 60
#: The object or file that makes a folder a group: a data set is there once it is.
ROOT = "zarr.json"
#: The files of a data set, and the folders that they lie in.
_PART = re.compile(r"zarr\.json|(x|y|w_star)/(zarr\.json|c/[0-9/]+)")
_PART_FOLDER = re.compile(r"(x|y|w_star)(/c(/[0-9]+)*)?")
#: What Snakemake leaves in a folder that a rule has made.
_TIMESTAMP = ".snakemake_timestamp"

#: Opens a file of the data set that is being written.
Opener = Callable[[str], AbstractContextManager[BinaryIO]]


class Store(Protocol):
    """Where one data set is, or will be."""

    def location(self, name: str = "") -> str:
        """Return what to call the data set, or a part of it."""

    def zarr(self) -> Any:  # noqa: ANN401 - Zarr takes several types
        """Return what Zarr opens."""

    def has_root(self) -> bool:
        """Tell whether there is a data set.

        Raises
        ------
        DataError
            If that cannot be told.
        """

    def size(self, name: str) -> int:
        """Return the bytes of a part.

        Raises
        ------
        DataError
            If it is not there.
        """

    def read(self, name: str) -> bytes:
        """Return a small part.

        Raises
        ------
        DataError
            If it is not there, or cannot be read.
        """

    def array(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return the bytes of a part from `start` to `stop`, (stop - start,) uint8, which the caller may change.

        No others are read.

        Raises
        ------
        DataError
            If they are not there.
        """

    def writing(self, needed: int) -> AbstractContextManager[tuple[Path, Opener]]:
        """Return a folder for what describes a new data set, and what opens its other parts.

        The data set is there when the block has ended well, and not before.

        Parameters
        ----------
        needed : int
            Bytes that will be written.

        Raises
        ------
        DataError
            If there is no space, or it cannot be written there.
        """


def find_store(location: str | os.PathLike[str]) -> Store:
    """Return the store that a path, or an address such as ``s3://bucket/prefix``, stands for.

    Raises
    ------
    ConfigError
        If it is an address that cannot be understood.
    """
    target = paths.location(location)
    if isinstance(target, Path):
        return Disk(target)
    match = _S3.fullmatch(target.rstrip("/"))
    if not match:
        raise ConfigError("is no place for a data set", where=target, remedy="give a path, or s3://bucket/prefix")
    return Bucket(match["bucket"], match["prefix"])


def inside(folder: str | os.PathLike[str], name: str) -> str | Path:
    """Return the location of something in a folder, which may be an address."""
    return f"{str(folder).rstrip('/')}/{name}" if "://" in str(folder) else Path(folder) / name


def foreign_part(folder: Path) -> str | None:
    """Return the first entry of a folder that is no part of a planted data set; None if the folder is one."""
    root = folder / ROOT
    if not (root.is_file() and _is_ours(root.read_bytes())):
        return min((path.name for path in folder.iterdir()), default=None, key=lambda name: (name != ROOT, name))
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        is_folder = path.is_dir() and not path.is_symlink()
        if not (_PART_FOLDER if is_folder else _PART).fullmatch(name) and name != _TIMESTAMP:
            return name
    return None


def _is_ours(root: bytes) -> bool:
    """Tell whether what describes a Zarr group says that relufit made it."""
    try:
        return isinstance(json.loads(root)["attributes"]["relufit"], dict)
    except (ValueError, TypeError, KeyError):
        return False


@dataclass(frozen=True)
class Disk:
    """A folder."""

    path: Path

    def location(self, name: str = "") -> str:
        """Return the path."""
        return str(self.path / name)

    def zarr(self) -> Path:
        """Return the path."""
        return self.path

    def has_root(self) -> bool:
        """Tell whether there is a data set."""
        return (self.path / ROOT).is_file()

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        with self._told(name):
            status = (self.path / name).stat()
            if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
                raise OSError(errno.EINVAL, "no regular file")
            return status.st_size

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        self.size(name)
        with self._told(name):
            return (self.path / name).read_bytes()

    def array(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a part of the file, mapped; the map goes to the end of the file, as `files.mapped` needs it."""
        with self._told(name):
            mapped = np.memmap(self.path / name, np.uint8, "c", offset=start)
            if len(mapped) < stop - start:
                raise ValueError("it was cut")
            return mapped[: stop - start].view(np.ndarray)

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Turn what the system refuses within the block into an error of ours."""
        try:
            yield
        except FileNotFoundError as error:
            if not self.path.is_dir():
                raise DataError(
                    f"there is no such folder on {socket.gethostname()}",
                    where=self.location(),
                    remedy="put the data set there too, under the same path, or where every host sees it",
                ) from error
            raise DataError("it is missing", where=self.location(name), remedy=_again(self.path)) from error
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else error
            raise DataError(
                f"it cannot be read ({what})", where=self.location(name), remedy=_again(self.path)
            ) from error

    @contextmanager
    def writing(self, needed: int) -> Iterator[tuple[Path, Opener]]:
        """Write to a folder beside it that takes its place."""
        for parent in resolve(self.path).parents:
            if (parent / ROOT).is_file() and _is_ours((parent / ROOT).read_bytes()):
                raise ConfigError(
                    f"lies inside the data set {parent}", where=str(self.path), remedy="choose another folder"
                )
        parent = next(p for p in [self.path, *self.path.absolute().parents] if p.is_dir())
        free = shutil.disk_usage(parent).free
        if needed > free:
            raise DataError(
                f"the data set takes {needed / 1e9:.3g} GB and the disk has {free / 1e9:.3g} GB left",
                where=str(self.path),
                remedy="free some space or choose fewer rows",
            )
        try:
            with replacing(self.path, directory=True, foreign=foreign_part) as folder:
                yield folder, lambda name: _synced(folder / name)
        except OSError as error:
            raise DataError(
                f"the data set cannot be written ({error.strerror or error})",
                where=str(self.path),
                remedy="free some space there or choose another folder",
            ) from error


@contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True)
class Bucket:
    """A prefix in a bucket on S3. Credentials are found as AWS's own tools find them, and never pass through here."""

    bucket: str
    prefix: str

    def location(self, name: str = "") -> str:
        """Return the address."""
        return "/".join(filter(None, [f"s3://{self.bucket}/{self.prefix}", name]))

    def zarr(self) -> str:
        """Return the address."""
        return self.location()

    def has_root(self) -> bool:
        """Tell whether there is a data set."""
        with self._told():
            if self._files().exists(self._key(ROOT)):
                return True
            self._check_bucket()
            return False

    def size(self, name: str) -> int:
        """Return the bytes of an object."""
        with self._told(name):
            return int(self._files().info(self._key(name))["size"])

    def read(self, name: str) -> bytes:
        """Return an object."""
        with self._told(name):
            return bytes(self._files().cat_file(self._key(name)))

    def array(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return a part of the object, read into memory."""
        values, files = np.empty(stop - start, np.uint8), self._files()
        with self._told(name):
            for first in range(start, stop, _PART_BYTES):
                last = min(first + _PART_BYTES, stop)
                part = files.cat_file(self._key(name), start=first, end=last)
                if len(part) != last - first:
                    raise FileNotFoundError("it was replaced by another")
                values[first - start : last - start] = np.frombuffer(part, np.uint8)
        return values

    @contextmanager
    def writing(self, needed: int) -> Iterator[tuple[Path, Opener]]:
        """Send what describes the data set last; a data set that was there is replaced."""
        files, written = self._files(), set[str]()

        def sent(name: str) -> AbstractContextManager[BinaryIO]:
            written.add(self._key(name))
            return self._sent(files, name)

        with self._told():
            self._check_bucket()
            before = self._parts(files)
            if self._key(ROOT) in before:
                if not _is_ours(files.cat_file(self._key(ROOT))):
                    raise ConfigError(
                        "is another Zarr group, and is not replaced",
                        where=self.location(),
                        remedy="choose another prefix, or remove it yourself",
                    )
                files.rm_file(self._key(ROOT))
            try:
                with scratch() as folder:
                    yield folder, sent
                    small = [path for path in folder.rglob("*") if path.is_file()]
                    for path in sorted(small, key=lambda path: path == folder / ROOT):
                        name = path.relative_to(folder).as_posix()
                        with sent(name) as file:
                            file.write(path.read_bytes())
                for stale in before - written:
                    files.rm_file(stale)
            except BaseException:
                for key in written:
                    with suppress(Exception):  # what was the matter comes first
                        files.rm_file(key)
                raise

    @contextmanager
    def _sent(self, files: Any, name: str) -> Iterator[BinaryIO]:  # noqa: ANN401
        file = files.open(self._key(name), "wb", block_size=_PART_BYTES)
        try:
            yield file
        except BaseException:
            with suppress(Exception):
                file.discard()  # or closing it would leave its beginning there
            file.closed = True
            raise
        file.close()

    def _parts(self, files: Any) -> set[str]:  # noqa: ANN401
        """Return the objects below the prefix that are parts of a data set."""
        start = self._key("")
        return {key for key in files.find(start) if _PART.fullmatch(key.removeprefix(start))}

    def _key(self, name: str) -> str:
        return f"{self.bucket}/{self.prefix}/{name}"

    def _files(self) -> Any:  # noqa: ANN401 - s3fs has no types
        try:
            import s3fs
        except ImportError as error:
            raise ConfigError(
                "data on S3 need s3fs", where=self.location(), remedy="install it with `pip install 'relufit[s3]'`"
            ) from error
        config = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _READ_SECONDS, "retries": {"max_attempts": 3}}
        return s3fs.S3FileSystem(use_listings_cache=False, config_kwargs=config)

    def _check_bucket(self) -> None:
        try:
            self._files().call_s3("head_bucket", Bucket=self.bucket)
        except FileNotFoundError as error:
            raise DataError(
                f"there is no bucket {self.bucket}", where=self.location(), remedy="make it, or choose another"
            ) from error

    @contextmanager
    def _told(self, name: str = "") -> Iterator[None]:
        """Turn what S3 refuses within the block into an error of ours."""
        self._files()  # which tells if a package is missing
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        where = self.location(name)
        try:
            yield
        except FileNotFoundError as error:
            raise DataError(f"it is missing ({error})", where=where, remedy=_again(self.location())) from error
        except (PermissionError, NoCredentialsError) as error:
            raise DataError(
                f"S3 refuses permission ({error})",
                where=where,
                remedy="log in to AWS, or let the instance profile reach the bucket",
            ) from error
        except (OSError, BotoCoreError, ClientError) as error:
            raise DataError(
                f"S3 does not do it ({error})", where=where, remedy="check the network, and retry"
            ) from error


def _again(location: str | Path) -> str:
    return f"delete the folder {location} and make the data set again"
