"""One thing that was looked at, and what follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Sign(StrEnum):
    """What a line means for a run: it is all right, it lacks something, or it does not bear on it."""

    GOOD = "good"
    MISSING = "missing"
    NOTE = "note"


_LETTERS = {Sign.GOOD: "+", Sign.MISSING: "-", Sign.NOTE: "."}


@dataclass(frozen=True)
class Line:
    """What was found.

    Parameters
    ----------
    topic : str
        A word for programs.
    sign : Sign
        `Sign.MISSING` only where what the configuration asks for will not come out in full.
    found : str
    follows : str
        What follows from it, where something does.
    command : str
        The one command, or step, that helps.
    """

    topic: str
    sign: Sign
    found: str
    follows: str = ""
    command: str = ""

    def sentence(self) -> str:
        """Return all of it as one sentence: what was found, what follows, what helps."""
        return "; ".join(
            part for part in (f"{self.found}: {self.follows}" if self.follows else self.found, self.command) if part
        )

    def text(self) -> str:
        """Return it for a terminal, without colours and in ASCII: the sign and what was found, the rest below."""
        rest = [f"    {part}" for part in (self.follows, self.command) if part]
        return "\n".join([f"{_LETTERS[self.sign]} {self.found}", *rest])

    def as_json(self) -> dict[str, Any]:
        """Return it, JSON-ready."""
        return asdict(self)
