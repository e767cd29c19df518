"""The exceptions that relufit raises for mistakes that its user can mend."""

from __future__ import annotations

_SHOWN = 60


def shown(value: object) -> str:
    """Return a value as messages show it, long ones in part."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of more digits than Python writes
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 20]}... ({len(text)} characters)"


class RelufitError(Exception):
    """A mistake of the user or of the machine, told in one message.

    Parameters
    ----------
    what : str
        What is wrong.
    where : str
        The key, the argument or the file it concerns.
    remedy : str
        What to do about it.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what, where, remedy)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip between processes with keyword arguments intact."""
        return _rebuild, (type(self), self.what, self.where, self.remedy)

    def __str__(self) -> str:
        """Join the three parts: ``where: what; remedy``."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.remedy}" if self.remedy else text


def _rebuild(cls: type[RelufitError], what: str, where: str, remedy: str) -> RelufitError:
    return cls(what, where=where, remedy=remedy)


class ConfigError(RelufitError):
    """A key of the configuration or a parameter is unknown, mistyped or impossible."""


class DataError(RelufitError):
    """A data set is missing, damaged, or not the one that was asked for."""


class PayloadError(RelufitError):
    """Bytes that were to be decoded are not a valid payload."""


class TransportError(RelufitError):
    """A peer misbehaved, went away or did not answer within its deadline."""


class ClusterError(RelufitError):
    """The cluster cannot carry the run."""
