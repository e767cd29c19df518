"""The tests themselves: none asserts what a clock says, so that they hold on a machine that is slow, busy or fast."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from longest import LONGEST

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))
#: Functions that read a clock, and what is measured with one.
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "thread_time", "time_ns"}
MEASURED = {"timing", "timings", "timed", "waited"}
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def _is_clock(node: ast.AST) -> bool:
    """Tell whether a node is the call of a clock: `monotonic()`, `time.perf_counter()`, `time.time()`."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Name):
        return called.id in CLOCKS
    if not isinstance(called, ast.Attribute):
        return False
    of = called.value.id if isinstance(called.value, ast.Name) else ""
    return called.attr in CLOCKS or (of, called.attr) in {("time", "time"), ("datetime", "now")}


class _Scope:
    """A function of a module, with the functions in it, and which of its names come from a clock."""

    def __init__(self, function: ast.AST, returning: set[str]) -> None:
        self._function, self._returning, self.names = function, returning, set[str]()
        before = -1
        while len(self.names) > before:  # until nothing more is found
            before = len(self.names)
            for node in ast.walk(function):
                self._follow(node)

    def comes_from_a_clock(self, node: ast.AST) -> bool:
        for part in ast.walk(node):
            if _is_clock(part) or (isinstance(part, ast.Name) and part.id in self.names | MEASURED):
                return True
            if isinstance(part, ast.Attribute) and part.attr in MEASURED:
                return True
            if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id in self._returning:
                return True
        return False

    def returns_it(self) -> bool:
        returns = [node.value for node in ast.walk(self._function) if isinstance(node, ast.Return) and node.value]
        return any(isinstance(value, ast.BinOp) and self.comes_from_a_clock(value) for value in returns)

    def _follow(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(target, node.value)
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and node.value:
            self._assign(node.target, node.value)
        elif isinstance(node, ast.Call) and any(_is_clock(argument) for argument in node.args):
            kept = node.func
            if isinstance(kept, ast.Attribute) and kept.attr == "append" and isinstance(kept.value, ast.Name):
                self.names.add(kept.value.id)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        """Follow numbers, and not what was computed by a function from some."""
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            pairs = list(zip(target.elts, value.elts, strict=True))
        for name, node in pairs:
            numeric = _is_clock(node) or (isinstance(node, (ast.BinOp, ast.Name)) and self.comes_from_a_clock(node))
            if isinstance(name, ast.Name) and numeric:
                self.names.add(name.id)


def clocks_in(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each assertion about a time: one that orders it, except beside zero, or says it nearly."""
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    returning = {node.name for node in functions if _Scope(node, set()).returns_it()}
    for function in functions:
        scope = _Scope(function, returning)
        for node in ast.walk(function):
            if isinstance(node, ast.Assert):
                for part in ast.walk(node.test):
                    if isinstance(part, ast.Compare) and _is_about_time(part, scope):
                        yield node.lineno, ast.unparse(part)


def _is_about_time(compared: ast.Compare, scope: _Scope) -> bool:
    sides = [compared.left, *compared.comparators]
    nearly = any("approx" in ast.dump(side) for side in sides)
    if not nearly and not any(isinstance(operator, _ORDER) for operator in compared.ops):
        return False
    others = [side for side in sides if not (isinstance(side, ast.Constant) and side.value == 0)]
    if len(others) == 1:  # that something took no negative time holds on every machine
        return False
    return any(scope.comes_from_a_clock(side) for side in others)


def marks_in(source: str) -> Iterator[tuple[int, float]]:
    """Yield line and seconds of every limit that a test sets for itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.timeout":
            (seconds,) = node.args
            assert isinstance(seconds, ast.Constant)
            yield node.lineno, float(seconds.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_asserts_what_a_clock_says(path: Path) -> None:
    """Assert order or cause, wait with `waiting.until`, or give the code a clock that the test sets."""
    assert list(clocks_in(path.read_text())) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_gives_itself_less_time_than_all_have(path: Path, pytestconfig: pytest.Config) -> None:
    most = float(pytestconfig.getini("timeout"))
    assert most >= 1800
    assert [line for line, seconds in marks_in(path.read_text()) if seconds < most] == []


def test_the_longest_modules_are_there_and_named_once() -> None:
    assert set(LONGEST) <= {path.relative_to(TESTS).as_posix() for path in FILES}
    assert len(set(LONGEST)) == len(LONGEST)


def test_no_two_modules_have_the_same_name() -> None:
    """One of them would not be collected."""
    names = Counter(path.name for path in FILES if path.name != "conftest.py" and "example_package" not in path.parts)
    assert [name for name, count in names.items() if count > 1] == []


def test_examples_may_take_as_long_as_they_need() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check


SEEN = {
    "a difference": "began = monotonic()\n    work()\n    assert monotonic() - began < 5",
    "a name for it": "began = time.perf_counter()\n    took = time.perf_counter() - began\n    assert took < 5",
    "two at once": "x, began = 1, time.monotonic()\n    assert 0.1 <= time.monotonic() - began",
    "a deadline": "end = time.time() + 5\n    while not done():\n        assert time.time() < end",
    "a list": "seen = []\n    seen.append(monotonic())\n    assert seen[1] - seen[0] > 1",
    "a callback": "seen = []\n    call(lambda: seen.append(monotonic()))\n    assert seen[1] - seen[0] > 1",
    "what a run measured": "assert trace.timing['elapsed'].iloc[-1] < 5",
    "nearly": "took = monotonic() - 1\n    assert took == pytest.approx(1.0)",
    "what a function measured": "assert elapsed() < 5",
}
TAKEN = {
    "no negative time": "assert (trace.timing['elapsed'] >= 0).all()",
    "a clock that the test sets": "clock.seconds += 40\n    assert clock.seconds >= 300",
    "columns": "assert list(trace.timing.columns) == ['elapsed']",
    "a wait": "until(lambda: done())",
    "a count": "assert len(times) > 10",
}
_MEASURING = "def elapsed():\n    began = monotonic()\n    return monotonic() - began\n\n\n"


@pytest.mark.parametrize("body", SEEN)
def test_an_assertion_about_a_time_is_seen(body: str) -> None:
    assert list(clocks_in(f"{_MEASURING}def test_it():\n    {SEEN[body]}\n"))


@pytest.mark.parametrize("body", TAKEN)
def test_what_holds_at_any_speed_is_taken(body: str) -> None:
    assert not list(clocks_in(f"{_MEASURING}def test_it():\n    {TAKEN[body]}\n"))
