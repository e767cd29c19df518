"""Compiled loops, kept on disk between runs and recognised by content.

numba's own cache asks for the content of the file that a function is in, and not for that of the functions that it
calls, which are compiled into it. Here an entry belongs to the digest of all source files with loops, to what the
function reaches in memory, and to the settings that change code. Dates and names decide nothing.

An entry is pickled code. Only folders are used that nobody but this user and root can write to.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dis import opmap
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from relufit.errors import ConfigError

_PACKAGE = Path(__file__).parent.parent
#: The modules and packages with loops, and with what loops are made of.
ROOMS = ("numerics", "compression", "solvers", "training/fused_sums.py")

#: Settings of numba that leave the code of a loop as it is, and may differ between processes. All others count.
_HARMLESS = {
    "CACHE_DIR",
    "CACHE_LOCATOR_CLASSES",
    "COLOR_SCHEME",
    "DEBUG_CACHE",
    "FULL_TRACEBACKS",
    "NUMBA_DEFAULT_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RUNNING_UNDER_PROFILER",
    "THREADING_LAYER",
    "THREADING_LAYER_PRIORITY",
}
#: How many versions of the sources have their loops kept in a folder.
_KEPT = 4
_DIGEST_BYTES = 32
_NOTHING = opmap["NOP"]


def compiled(function: Any) -> Any:  # noqa: ANN401 - numba's dispatchers are untyped
    """Return `function` compiled on first use, without the interpreter's lock, and kept on disk.

    With ``NUMBA_DISABLE_JIT`` set the result raises `ConfigError` when it is called: the loops consist of instructions
    for vector units, which Python cannot execute.
    """
    if config.DISABLE_JIT:
        return _refuse_to_interpret
    _source_digest()
    dispatcher = numba.njit(nogil=True)(function)
    dispatcher._cache = LoopCache(function)
    return dispatcher


def load_descriptions() -> None:
    """Load what the first loop of a process needs of numba: its descriptions of numpy, which take as long as numba."""
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def _refuse_to_interpret(*arguments: object) -> None:
    raise ConfigError(
        "is set, but the loops of relufit run only compiled",
        where="NUMBA_DISABLE_JIT",
        remedy="unset it: `unset NUMBA_DISABLE_JIT`",
    )


class LoopCache(_Cache):  # type: ignore[misc]  # numba is untyped
    """The compiled forms of one function on disk, one file each, as numba's dispatchers ask for them.

    A file's name is derived from everything that it depends on, so that processes that write at the same time write
    the same.
    """

    def __init__(self, function: FunctionType) -> None:
        self._function = function
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        """The first folder that may be used; None if there is none."""
        return next(map(str, _private_folders()), None)

    def enable(self) -> None:
        """Use the files."""
        self._enabled = True

    def disable(self) -> None:
        """Pass the files over."""
        self._enabled = False

    def flush(self) -> None:
        """Do nothing: no entry is ever out of date."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:  # noqa: ANN401 - numba's protocol
        """Return the compiled form for a signature, or None if no sound file has it."""
        target_context.refresh()
        if not self._enabled:
            return None
        key = self._key(sig, target_context.codegen())
        for folder in _private_folders():
            if (content := _read(folder / self._name(key))) and content[0] == key:
                return CompileResult._rebuild(target_context, *content[1])
        return None

    def save_overload(self, sig: Any, data: Any) -> None:  # noqa: ANN401
        """Write a compiled form to the first folder that takes it, if any does."""
        if not self._enabled or data.library.has_dynamic_globals or not all(it.can_cache for it in data.lifted):
            return
        # A process that imported its modules before the sources were edited runs, and compiles, what was there before.
        if _digest_of_files() != _source_digest():
            return
        key = self._key(sig, data.codegen)
        content = dumps((key, data._reduce()))
        for base, parents_matter in _candidates():
            with suppress(OSError):
                if _write(base, parents_matter, self._name(key), content):
                    return

    def _key(self, sig: Any, codegen: Any) -> str:  # noqa: ANN401
        """Return what a compiled form depends on besides the source files."""
        return repr((sig, codegen.magic_tuple(), _reached_digest(self._function), sys.version, _settings()))

    def _name(self, key: str) -> str:
        function = self._function
        digest = hashlib.sha256(f"{function.__module__}.{function.__qualname__}\0{key}".encode()).hexdigest()
        return f"{function.__module__.rpartition('.')[2]}.{function.__name__}-{digest[:32]}.loop"


def _settings() -> str:
    """Return the versions and the settings that change what a loop is compiled to."""
    names = sorted(name for name in vars(config) if name.isupper() and not name.startswith("CUDA_"))
    settings = [(name, getattr(config, name)) for name in names if name not in _HARMLESS]
    return repr((numba.__version__, llvmlite.__version__, np.__version__, settings))


@cache
def _source_digest() -> str:
    """Return the digest of the source files with loops as they were when the first of them was imported."""
    return _digest_of_files()


def _digest_of_files() -> str:
    total = hashlib.sha256()
    for room in ROOMS:
        path = _PACKAGE / room
        for file in [path] if path.suffix else sorted(path.rglob("*.py")):
            content = file.read_bytes()
            total.update(f"{file.relative_to(_PACKAGE).as_posix()}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


@cache
def _reached_digest(function: FunctionType) -> str:
    """Return the digest of the code and the constants of a function and of all compiled ones that it calls.

    It is that of the functions in memory: Python itself runs an older file of bytecode if the source has kept its size
    and its second, and a module may be edited between the imports of two others.
    """
    reached, waiting = {function}, [function]
    total = hashlib.sha256()
    while waiting:
        current = waiting.pop(0)
        code = _code(current.__code__, current.__doc__)
        total.update(repr((current.__module__, current.__qualname__, code)).encode())
        cells = [cell.cell_contents for cell in current.__closure__ or ()]
        names = [name for name in current.__code__.co_names if name in current.__globals__]
        for value in [*cells, *(current.__globals__[name] for name in names)]:
            callee = getattr(value, "py_func", None)
            if callee is not None and callee not in reached:
                reached.add(callee)
                waiting.append(callee)
            elif isinstance(value, np.ndarray):
                total.update(value.tobytes())
            elif isinstance(value, (bool, int, float, complex, str, bytes, tuple, np.generic)):
                total.update(repr(value).encode())
    return total.hexdigest()


def _code(code: CodeType, doc: str | None = None) -> tuple[Any, ...]:
    """Return what a function does, without its docstring, which Python itself may leave out (``-OO``)."""
    constants = [_code(value) if isinstance(value, CodeType) else value for value in code.co_consts]
    if doc is not None and constants[0] == doc:
        constants[0] = None
    # In the place of a docstring that is left out stands an instruction that does nothing.
    does = [code.co_code[at : at + 2] for at in range(0, len(code.co_code), 2) if code.co_code[at] != _NOTHING]
    return b"".join(does), constants, code.co_names, code.co_varnames


def _candidates() -> Iterator[tuple[Path, bool]]:
    """Yield the folders that may hold loops, the preferred one first, and whether their parents are to be checked."""
    digest, checkout = _source_digest()[:32], hashlib.sha256(os.fsencode(_PACKAGE)).hexdigest()[:16]
    shared = f"relufit-loops-{checkout}"
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR).absolute() / shared / digest, True
    # Whoever can replace a folder beside the sources can replace the sources.
    yield _PACKAGE / "__pycache__" / "loops" / digest, False
    for base in (os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")):  # noqa: PTH111 - no exception
        if base.startswith("/"):
            yield Path(base) / "relufit" / shared / digest, True
    with suppress(OSError):
        yield Path(tempfile.gettempdir()) / f"relufit-{os.geteuid()}" / shared / digest, True


def _private_folders() -> Iterator[Path]:
    """Yield the folders with loops that nobody else can have written to."""
    for folder, parents_matter in _candidates():
        with suppress(OSError):
            if _is_private(folder, parents_matter):
                yield folder


def _is_private(folder: Path, parents_matter: bool) -> bool:
    """Tell whether nobody but this user and root can write to a folder or put another one in its place."""
    if not all(_is_ours(path.lstat()) for path in (folder, folder.parent)):
        return False
    return not parents_matter or all(_is_kept(path.stat()) for path in folder.parent.resolve().parents)


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def _is_kept(status: os.stat_result) -> bool:
    """Tell whether others cannot rename what is in a folder that is neither theirs nor open to them, or sticky."""
    mode, group_is_ours = status.st_mode, status.st_gid in (0, os.geteuid())  # a group of one has its user's number
    closed = not mode & stat.S_IWOTH and (group_is_ours or not mode & stat.S_IWGRP)
    return status.st_uid in (0, os.geteuid(), *_unmapped()) and (closed or bool(mode & stat.S_ISVTX))


@cache
def _unmapped() -> tuple[int, ...]:
    """Return the number that stands for all users whom this process's user namespace does not know, if there are any.

    Root is one of them, and owns the folders above everybody's home.
    """
    with suppress(OSError, ValueError):
        if [int(number) for number in Path("/proc/self/uid_map").read_text().split()] != [0, 0, 2**32 - 1]:
            return (int(Path("/proc/sys/kernel/overflowuid").read_text()),)
    return ()


def _read(path: Path) -> Any:  # noqa: ANN401 - what was written
    """Return the content of an entry; None if it is missing or damaged."""
    with suppress(OSError):
        content = path.read_bytes()
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(body).digest() == digest:
            return pickle.loads(body)
    return None


def _write(folder: Path, parents_matter: bool, name: str, content: bytes) -> bool:
    """Write an entry, all of it or nothing, if the folder is there or can be made and is nobody else's; tell whether.

    Raises
    ------
    OSError
        Where the file system refuses.
    """
    fresh = not folder.exists()
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(0o755, exist_ok=True)
    if not _is_private(folder, parents_matter):
        return False
    temporary = folder / f"{name}.{secrets.token_hex(8)}.part"
    try:
        # Whatever the umask is, nobody else may write to it.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        temporary.replace(folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    if fresh:
        _tidy(folder.parent)
    return True


def _tidy(checkout: Path) -> None:
    """Remove the loops of all versions of the sources but the last ones that were compiled."""
    with suppress(OSError):
        versions = sorted(checkout.iterdir(), key=lambda version: version.stat().st_mtime)
        for version in versions[:-_KEPT]:
            shutil.rmtree(version, ignore_errors=True)
