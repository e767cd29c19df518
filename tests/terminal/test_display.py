"""Lines, the line that is rewritten, and streams that are awkward."""

from __future__ import annotations

import io

import pytest

from relufit.terminal.display import WIDTH, Display, shorten


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize("width", range(30))
def test_text_is_shortened_to_exactly_the_width_and_keeps_both_ends(width: int) -> None:
    assert len(shorten("abcdefghijklmnopqrstuvwxyz", width)) == min(width, 26)
    if width >= 6:
        assert shorten("abcdefghijklmnopqrstuvwxyz", width)[0] == "a"
        assert shorten("abcdefghijklmnopqrstuvwxyz", width)[-1] == "z"


def test_a_pipe_is_sent_lines_alone() -> None:
    out = io.StringIO()
    display = Display(out)
    display.status("half way")
    display.line("x" * 500)
    display.full("y" * 500)
    first, second = out.getvalue().splitlines()
    assert len(first) == WIDTH
    assert second == "y" * 500


def test_on_a_terminal_a_line_is_written_above_the_status_which_fits_into_the_width() -> None:
    out = Terminal()
    display = Display(out)
    display.status("s" * 300)
    display.line("a line")
    display.status("")
    status, line, again, end = out.getvalue().replace("\r\x1b[K", "|").replace("\n", "|").split("|")[1:]
    assert status == again
    assert len(status) == 79
    assert line == "a line"
    assert end == ""


def test_a_dumb_terminal_is_sent_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not Display(Terminal()).rewrites


def test_characters_that_the_stream_does_not_have_are_replaced() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Display(stream).line("s ≥ √d …")
    stream.seek(0)
    assert stream.read() == "s ? ?d ?\n"


def test_a_reader_who_has_gone_is_no_error() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    display = Display(Gone())
    display.line("nobody reads this")
    display.line("nor this")
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        Display(stream).line("nobody reads this")
