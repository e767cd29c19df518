"""Damaged payloads in great number, with all indices checked; and that the machinery which tries them finds faults."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile import DEADLINE, Corpus, Guarded, attack
from references import Array, Case

from relufit.compression import make_compressor
from relufit.errors import PayloadError
from relufit.sources import code_digest

COUNT = 200_000


@pytest.fixture(scope="module")
def checked(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which compiled loops check every index. Loops without checks are cached elsewhere."""
    cache = getattr(pytestconfig, "cache", None)
    # A loop on disk is not compiled again when another that it calls has changed.
    name = f"numba-boundscheck-{code_digest('trials')[:16]}"
    folder = cache.mkdir(name) if cache else tmp_path_factory.mktemp(name)
    return {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder)}


def test_damaged_payloads_are_refused_or_decoded_and_nothing_else(checked: dict[str, str]) -> None:
    script = Path(__file__).with_name("hostile.py")
    done = subprocess.run(
        [sys.executable, script, "--count", str(COUNT), "--seed", "1"],
        env=os.environ | checked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-20_000:]
    counts = {outcome: int(number) for number, outcome in re.findall(r"(\d+) (refused|decoded|failed)", done.stdout)}
    assert sum(counts.values()) == COUNT
    assert counts["failed"] == 0
    # Damage to a norm or a number cannot be noticed, so that some are decoded.
    assert min(counts["refused"], counts["decoded"]) > COUNT // 100


OUT_OF_BOUNDS = """
import numpy as np
from numba import njit

@njit(nogil=True, cache=True)
def inner(a, i):
    return a[i]

@njit(nogil=True, cache=True)
def outer(a, i):
    return inner(a, i) + 1.0

@njit(nogil=True, cache=True)
def write(a, i):
    a[i:][0] = 1.0

for function in (inner, outer, write):
    try:
        function(np.zeros(3), 3)
    except IndexError:
        print("checked", end=" ")
"""


def test_indices_are_checked_in_cached_loops_and_in_what_they_call(
    checked: dict[str, str], tmp_path: Path, run_python: Callable[..., str]
) -> None:
    (tmp_path / "out_of_bounds.py").write_text(OUT_OF_BOUNDS)
    program = "import sys; sys.path.insert(0, sys.argv[1]); import out_of_bounds"
    for _ in ("compiled", "from the cache"):
        assert run_python(program, tmp_path, **checked).split() == ["checked"] * 3


def misbehaving(what: Callable[[int], object]) -> Case:
    """A compressor that does something else, given the size, where it should refuse."""
    honest = make_compressor("fp64")

    class Broken:
        encode = staticmethod(honest.encode)

        @staticmethod
        def decode(payload: bytes, size: int, out: Array | None = None) -> object:
            try:
                decoded = honest.decode(payload, size)
            except PayloadError:
                decoded = what(size)
            if out is None:
                return decoded
            out[:] = decoded
            return out

    class Stub:
        compressor = Broken()

        def __str__(self) -> str:
            return "broken"

    return Stub()  # type: ignore[return-value]


def raising(_: int) -> Array:
    raise ValueError("buffer is smaller than requested size")


def endless(_: int) -> Array:
    while True:
        time.sleep(1)


def touching_a_guard(_: int) -> object:
    room = Guarded(100).room(8, at_the_end=True)
    one_past = np.lib.stride_tricks.as_strided(np.frombuffer(room, np.uint8), (9,), (1,))
    return float(one_past[8])


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (raising, "ValueError: buffer is smaller"),
        (lambda size: np.full(size, np.nan), "not finite"),
        (lambda size: np.zeros(size + 1), "shape|broadcast"),
        (lambda size: np.zeros(size, np.float32), "float32"),
        (lambda size: [0.0] * size, "decoded to <class 'list'>"),
        (lambda size: np.zeros(100 * size + 100_000)[:size], "bytes of memory"),
        (lambda size: np.zeros(2**29)[:size], "MemoryError|Unable to allocate"),
        (lambda size: os.abort(), "ended with -6"),
        (touching_a_guard, "ended with -11"),
        (endless, "not decoded within"),
    ],
)
def test_whatever_else_a_decoder_does_is_found_and_told_with_the_bytes(
    what: Callable[[int], object], message: str
) -> None:
    counts, failures = attack([misbehaving(what)], seed=0, count=300, deadline=0.5 if what is endless else DEADLINE)
    assert counts["failed"] > 0
    assert re.search(message, "\n".join(failures))
    match = re.match(r"payload (\d+) of seed 0, broken, size (\d+): ", failures[-1])
    assert match is not None
    _, payload, size = Corpus((misbehaving(what),)).damaged(0, int(match[1]))
    assert failures[-1].endswith(payload.hex() or "(empty)")
    assert size == int(match[2])


def test_an_honest_decoder_passes() -> None:
    counts, failures = attack([misbehaving(np.zeros)], seed=0, count=3000)
    assert not failures
    assert counts["refused"] == counts["failed"] == 0
    assert counts["decoded"] == 3000
