"""Lines on a terminal, with one below them that is rewritten; in a pipe or a file, lines alone."""

from __future__ import annotations

import os
import shutil
from typing import TextIO

#: The longest line that is written, in characters, unless it is an error.
WIDTH = 120
_ERASE = "\r\x1b[K"


class Display:
    """A stream that a person reads.

    Parameters
    ----------
    stream : text file or None
        Where lines go; None, or a stream that has been closed, takes all and shows nothing.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._status = ""
        self.rewrites = _is_terminal(stream)

    def line(self, text: str) -> None:
        """Write a line of at most `WIDTH` characters; a longer one is cut in its middle."""
        self.full(shorten(text, WIDTH))

    def full(self, text: str) -> None:
        """Write text of any length, above the status line."""
        status = f"{_ERASE}{text}\n{self._status}" if self._status else f"{text}\n"
        self._write(status)

    def status(self, text: str) -> None:
        """Put `text`, or nothing, in place of the status line. Only where the display `rewrites`."""
        if self.rewrites:
            text = shorten(text, min(WIDTH, shutil.get_terminal_size().columns - 1))
            if text != self._status:
                self._status = text
                self._write(f"{_ERASE}{text}")

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):
            # Whoever read this has gone, as `| head` does; the workflow goes on without a reader.
            self._stream = None
            self.rewrites = False


def shorten(text: str, width: int) -> str:
    """Return `text` in at most `width` characters, with its middle left out if need be."""
    if len(text) <= width:
        return text
    tail = max(0, width // 3)
    head = max(0, width - tail - 1)
    return f"{text[:head]}…{text[len(text) - tail :]}"[:width]


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False
