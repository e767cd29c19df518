"""Hostile payloads: valid ones, damaged in the ways that a broken or malicious peer would, and what came of them.

    python tests/compression/hostile.py --count 1000000 --seed 0

Every damaged payload must be refused with PayloadError or decoded to finite numbers, within seconds and little
memory. Payload i of a seed is always the same. Decoding goes on in a child process, which tells in shared memory
where it is, so that a crash, a payload that never ends and an error are all reported with the bytes that caused them.

With NUMBA_BOUNDSCHECK=1 and a NUMBA_CACHE_DIR of its own, every index in the compiled loops is checked as well. Loops
that use pointers are beyond that: half of the payloads lie, and are decoded, against pages that may not be touched.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import mmap
import multiprocessing
import random
import resource
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from references import Array, Case, every_compressor

from relufit import streams
from relufit.errors import PayloadError
from relufit.testing.hostile import PEAK, peak_memory

SIZES = (1, 5, 100, 300, 700)
OUTCOMES = ("refused", "decoded", "failed")
#: Bytes that the process may add.
ADDRESS_SPACE = 2**30
#: Seconds after which the decoding of one payload, which takes microseconds, is taken for endless.
DEADLINE = 120.0
_EDGES = (0.0, -0.0, -1.0, float("nan"), float("inf"), -float("inf"), 5e-324, 1.7976931348623157e308, 1e-300, 2.0**1000)


def _vectors(size: int, rng: np.random.Generator) -> list[Array]:
    """Vectors whose payloads differ in kind: dense, sparse, all alike, of one number, of all magnitudes, of none."""
    dense, hot = rng.standard_normal(size), np.zeros(size)
    hot[size // 2] = -1.0
    wide = dense * np.logspace(0, -15, size)
    return [dense, dense * (rng.random(size) < 0.1), np.full(size, 0.5), hot, wide, np.zeros(size)]


Mutation = Callable[[bytearray, random.Random, "Corpus"], None]


def _truncate(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    del payload[rng.randrange(len(payload) + 1) :]


def _cut_a_little(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    del payload[max(0, len(payload) - rng.randrange(1, 9)) :]


def _extend(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    payload += rng.choice((bytes, rng.randbytes, lambda count: b"\xff" * count))(rng.choice((1, 2, 4, 8, 100, 3000)))


def _remove(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    start = rng.randrange(len(payload) + 1)
    del payload[start : start + rng.randrange(1, 9)]


def _insert(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    start = rng.randrange(len(payload) + 1)
    payload[start:start] = rng.randbytes(rng.randrange(1, 9))


def _flip_bits(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    for _flip in range(rng.choice((1, 1, 1, 2, 5, 40))):
        if payload:
            payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)


def _flip_late_bits(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    """Past the header, where damage is less often noticed at once."""
    if len(payload) > 4:
        payload[rng.randrange(4, len(payload))] ^= 1 << rng.randrange(8)


def _set_bytes(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    for _set in range(rng.choice((1, 1, 2, 8))):
        if payload:
            payload[rng.randrange(len(payload))] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))


def _fill_a_run(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    """Runs of one byte: the largest counts that a field can declare, and the longest runs of zeros in a code."""
    start = rng.randrange(len(payload) + 1)
    count = min(rng.choice((2, 4, 8, 16, 64, 4000)), len(payload) - start)
    payload[start : start + count] = rng.choice((b"\0", b"\xff", b"\x80", b"\x7f")) * count


def _fill_the_front(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    """The fields after the header: counts, exponents, norms, tables."""
    count = min(rng.choice((1, 2, 4, 8, 10, 12)), max(0, len(payload) - 4))
    payload[4 : 4 + count] = rng.choice((b"\0", b"\xff", b"\x80", b"\x7f")) * count


def _randomise_the_rest(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    start = rng.choice((0, 4, 6, 12, 14, 20, rng.randrange(len(payload) + 1)))
    payload[start:] = rng.randbytes(max(0, len(payload) - start))


def _replace(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    payload[:] = rng.randbytes(rng.choice((0, 1, 3, 4, 5, 12, 13, 40, 300)))


def _change_the_header(payload: bytearray, rng: random.Random, corpus: Corpus) -> None:
    """Another kind, version or parameter, most often one that exists."""
    if len(payload) < 4:
        return
    kind, version, parameter = struct.unpack_from("<BBH", payload)
    field = rng.randrange(3)
    if field == 0:
        kind = rng.choice(corpus.kinds)
    elif field == 1:
        version = rng.choice((0, 2, 255))
    else:
        parameter = rng.choice((0, 1, 2, parameter ^ 1, parameter // 2, 2098, 2099, 0x7FFF, 0x8000, 0xFFFF))
    struct.pack_into("<BBH", payload, 0, kind, version, parameter)


def _change_a_norm(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    """A float64 or an int16 where norms and exponents are."""
    if rng.random() < 0.7:
        if (places := (len(payload) - 4) // 8) > 0:
            offset = 4 + 8 * rng.choice((0, rng.randrange(places)))
            struct.pack_into("<d", payload, offset, rng.choice(_EDGES))
    elif len(payload) >= 6:
        struct.pack_into("<h", payload, 4, rng.choice((-1075, -1074, -1022, 0, 1022, 1023, 1024, 32767, -32768)))


def _splice(payload: bytearray, rng: random.Random, corpus: Corpus) -> None:
    """The front of one payload and the rest of another, of the same compressor or of any."""
    other = corpus.any_payload(rng)
    if rng.random() < 0.5:
        payload[rng.randrange(len(payload) + 1) :] = other[rng.randrange(len(other) + 1) :]
    else:
        payload[4:] = other[4:]


def _repeat(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    payload += payload[rng.choice((0, 4, len(payload) // 2)) :]


def _leave(payload: bytearray, rng: random.Random, _: Corpus) -> None:
    """Only the size will be another."""


MUTATIONS: tuple[Mutation, ...] = (
    _truncate,
    _cut_a_little,
    _extend,
    _remove,
    _insert,
    _flip_bits,
    _flip_bits,
    _flip_late_bits,
    _flip_late_bits,
    _set_bytes,
    _fill_a_run,
    _fill_the_front,
    _randomise_the_rest,
    _replace,
    _change_the_header,
    _change_a_norm,
    _splice,
    _repeat,
    _leave,
)


@dataclass(frozen=True)
class Corpus:
    """Valid payloads of all compressors under attack."""

    cases: tuple[Any, ...]

    @cached_property
    def valid(self) -> list[list[tuple[bytes, int]]]:
        """Payloads with their sizes, for each compressor."""
        made: list[list[tuple[bytes, int]]] = []
        for case in self.cases:
            rng = np.random.default_rng(0)
            vectors = [(vector, size) for size in SIZES for vector in _vectors(size, rng)]
            made.append([(case.compressor.encode(v, streams.key(i)), size) for i, (v, size) in enumerate(vectors)])
        return made

    @cached_property
    def kinds(self) -> list[int]:
        """First bytes that payloads have, and some that they have not."""
        return sorted({0, 255} | {payload[0] for payloads in self.valid for payload, _ in payloads})

    def any_payload(self, rng: random.Random) -> bytes:
        """One of all valid payloads."""
        return rng.choice(rng.choice(self.valid))[0]

    def damaged(self, seed: int, index: int) -> tuple[Any, bytes, int]:
        """Return the compressor that is to decode payload `index`, its bytes, and the size that it is told."""
        rng = random.Random(seed << 48 | index)
        case_index = index % len(self.cases)
        valid, size = rng.choice(self.valid[case_index])
        payload = bytearray(valid)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            rng.choice(MUTATIONS)(payload, rng, self)
        if rng.random() < 0.2:
            size = rng.choice((1, 2, size + 1, max(1, size - 1), 256, 257, rng.randrange(1, 2001)))
        return self.cases[case_index], bytes(payload), size


class Guarded:
    """Memory between two pages that may not be touched: to read or write past an end is a crash."""

    def __init__(self, size: int = 2**20) -> None:
        page = mmap.PAGESIZE
        self._size = -(-size // page) * page
        self._memory = mmap.mmap(-1, self._size + 2 * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        for edge in (start, start + page + self._size):
            if protect(ctypes.c_void_p(edge), ctypes.c_size_t(page), ctypes.c_int(0)) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self._inside = memoryview(self._memory)[page : page + self._size]

    def room(self, size: int, at_the_end: bool) -> memoryview:
        """So many bytes against one of the two ends."""
        assert size <= self._size
        return self._inside[self._size - size :] if at_the_end else self._inside[:size]


@dataclass(frozen=True)
class Guards:
    """Guarded memory for payloads and for what they are decoded to."""

    payload: Guarded = field(default_factory=Guarded)
    vector: Guarded = field(default_factory=Guarded)

    def decode(self, compressor: Any, payload: bytes, size: int, at_the_end: bool) -> Array:
        """Decode a payload that lies in guarded memory into guarded memory."""
        view = self.payload.room(len(payload), at_the_end)
        view[:] = payload
        vector = np.frombuffer(self.vector.room(8 * size, at_the_end), np.float64)
        vector[:] = np.nan
        decoded = compressor.decode(view.toreadonly(), size, out=vector)
        assert decoded is vector, "decoded to another array than the one that was given"
        return vector


def outcome_of(decode: Callable[[], Array], size: int) -> str:
    """Return ``"refused"`` or ``"decoded"``; AssertionError or whatever decoding raised is a failure."""
    try:
        vector = decode()
    except PayloadError:
        return "refused"
    assert isinstance(vector, np.ndarray), f"decoded to {type(vector)}"
    assert vector.shape == (size,), f"decoded to an array of shape {vector.shape}"
    assert vector.dtype == np.float64, f"decoded to {vector.dtype}"
    assert np.isfinite(vector).all(), "decoded to numbers that are not finite"
    return "decoded"


def measured(decode: Callable[[], Array], size: int) -> str:
    """The same, and AssertionError if more memory was used at a time than such a vector needs."""
    outcome = "failed"

    def decoded() -> None:
        nonlocal outcome
        outcome = outcome_of(decode, size)

    allowed = PEAK[0] * size + PEAK[1]
    peak = peak_memory(decoded, allowed)
    assert peak <= allowed, f"{outcome} with {peak} bytes of memory, and not {allowed}"
    return outcome


def try_payload(compressor: Any, payload: bytes, size: int, index: int, guards: Guards) -> str:
    """Decode in one of the ways that take turns: measured, plainly, or with guards at the end or at the start."""
    if index % 2:
        return outcome_of(lambda: guards.decode(compressor, payload, size, index % 4 == 1), size)
    return (measured if index % 10 == 0 else outcome_of)(lambda: compressor.decode(payload, size), size)


def describe(corpus: Corpus, seed: int, index: int, what: str) -> str:
    """Tell what is needed to see a failure again."""
    case, payload, size = corpus.damaged(seed, index)
    return f"payload {index} of seed {seed}, {case}, size {size}: {what}\n  {payload.hex() or '(empty)'}"


def _attack(corpus: Corpus, seed: int, count: int, progress: Any, reports: Any) -> None:
    """The child's work: `progress` is the index of the payload in hand, and the number of each outcome."""
    faulthandler.enable()
    # What a payload declares is not to be allocated, whoever allocates it.
    used = mmap.PAGESIZE * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, resource.RLIM_INFINITY))
    guards = Guards()
    warnings.simplefilter("error", RuntimeWarning)
    for index in range(count):
        progress[0] = index
        case, payload, size = corpus.damaged(seed, index)
        try:
            outcome = try_payload(case.compressor, payload, size, index, guards)
        except Exception as error:
            outcome = "failed"
            where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
            if progress[1 + OUTCOMES.index("failed")] < 10:
                reports.send(describe(corpus, seed, index, f"{type(error).__name__}: {error}\n  {where}"))
        progress[1 + OUTCOMES.index(outcome)] += 1


def attack(cases: Sequence[Any], seed: int, count: int, deadline: float = DEADLINE) -> tuple[dict[str, int], list[str]]:
    """Decode damaged payloads `0` to `count - 1` in a child process.

    Parameters
    ----------
    cases : sequence
        Objects with a ``compressor``, whose text names them.
    seed, count : int
        Which payloads.
    deadline : float
        Seconds after which decoding one payload has failed.

    Returns
    -------
    counts, failures
        How many payloads had each of `OUTCOMES`, and descriptions of the first failures.
    """
    corpus, guards = Corpus(tuple(cases)), Guards()
    # All loops are compiled before memory is measured and time is taken.
    for case, payloads in zip(cases, corpus.valid, strict=True):
        for index, (payload, size) in enumerate(payloads):
            outcomes = [try_payload(case.compressor, payload, size, way, guards) for way in (1, 2)]
            assert outcomes == ["decoded", "decoded"], f"{case} refuses its own payload {index}"
    context = multiprocessing.get_context("fork")
    progress = context.RawArray("q", 1 + len(OUTCOMES))
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_attack, args=(corpus, seed, count, progress, sender), daemon=True)
    child.start()
    sender.close()
    failures: list[str] = []
    seen, since, overdue = -1, time.monotonic(), False
    while child.is_alive():
        child.join(0.1)
        failures += _received(receiver)
        if progress[0] != seen:
            seen, since = progress[0], time.monotonic()
        elif time.monotonic() - since > deadline:
            child.kill()
            child.join()
            overdue = True
    failures += _received(receiver)
    counts = dict(zip(OUTCOMES, progress[1:], strict=True))
    if child.exitcode != 0:
        what = f"not decoded within {deadline:g} seconds" if overdue else f"the process ended with {child.exitcode}"
        failures.append(describe(corpus, seed, progress[0], what))
        counts["failed"] += 1
    return counts, failures


def _received(pipe: Any) -> list[str]:
    messages = []
    try:
        while pipe.poll():
            messages.append(pipe.recv())
    except EOFError:
        pass
    return messages


def main() -> int:
    """Attack all registered compressors and print the outcomes."""
    parser = argparse.ArgumentParser(description="Decode damaged payloads of every compressor.")
    parser.add_argument("--count", type=int, default=1_000_000, help="number of payloads")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cases: list[Case] = list(every_compressor())
    counts, failures = attack(cases, options.seed, options.count)
    if failures:
        print(*failures, sep="\n", file=sys.stderr)
    print(f"{len(cases)} compressors:", ", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    return 1 if failures or sum(counts.values()) != options.count else 0


if __name__ == "__main__":
    sys.exit(main())
