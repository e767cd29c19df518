"""Paths where they enter: absolute from then on, so that they mean the same in every working folder and process."""

from __future__ import annotations

import os
from pathlib import Path

from relufit.errors import ConfigError

_IN_FULL = "write the path in full; a name that begins with ~ is given as ./~name"


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path as it is called in every working folder, with ``~`` and ``~user`` as the home folders they are.

    Raises
    ------
    ConfigError
        If it is empty or no path, a home folder is not known, or the working folder is gone.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError("is no path", where=repr(path), remedy="give the path of a file or a folder")
    if text.startswith("~"):
        text = _at_home(text)
    try:
        return Path(text).absolute()
    except OSError as error:
        raise ConfigError(
            f"the working folder cannot be told ({error.strerror})",
            where=text,
            remedy="write the path in full, or change to a folder that is there",
        ) from error


def location(place: str | os.PathLike[str]) -> str | Path:
    """Return an address such as ``s3://bucket/prefix`` as it is, and a path as `absolute` does."""
    text = os.fspath(place) if isinstance(place, (str, os.PathLike)) else ""
    return text if "://" in text else absolute(place)


def _at_home(text: str) -> str:
    user = text.partition("/")[0]
    expanded = os.path.expanduser(text)  # noqa: PTH111 - pathlib has forgotten whether the text began with `./`
    if expanded.startswith("~") or (user == "~" and os.environ.get("HOME") == ""):
        whose = f"user {user[1:]!r}" if user != "~" else "this user"
        raise ConfigError(f"no home folder of {whose} is known", where=text, remedy=_IN_FULL)
    return expanded
