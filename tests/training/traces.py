"""Traces held against each other."""

from __future__ import annotations

from relufit.training import Trace


def assert_same(one: Trace, other: Trace) -> None:
    """The weights have the same bits, their mean too where there is one; tables and summaries are the same."""
    assert one.weights.tobytes() == other.weights.tobytes()
    assert one.table.equals(other.table)
    assert one.summary == other.summary
    assert (one.average is None) == (other.average is None)
    assert one.average is None or other.average is None or one.average.tobytes() == other.average.tobytes()
