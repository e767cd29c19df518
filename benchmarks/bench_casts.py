"""Casts as an iteration has them, against copying as many coordinates and against an iteration with fp64.

A gradient in double precision is encoded to memory that is used again. Payloads are decoded, or summed and applied to
the weights, from where they were received. One thread; all take turns, and medians are compared.

Run it as ``python benchmarks/bench_casts.py``; it takes less than a minute once the loops are compiled.
"""

from __future__ import annotations

from rounds import Candidate, medians

# isort: split
# numpy reads its number of threads when it is imported, and `rounds` has set it.

import argparse

import numpy as np

from relufit.compression import Compressor, make_compressor
from relufit.compression.base import Pieces, ScratchBuffer, joined
from relufit.numerics import kernels
from relufit.training.fused_sums import Descent, sum_and_step

#: Coordinates, and how many rounds are taken.
ROUNDS = {1: 300, 100: 300, 2000: 300, 10_000: 200, 100_000: 60, 1_000_000: 15}
FORMATS = ("fp64", "fp32", "fp16")
RANKS = 4
#: Short vectors take less time than a clock can tell: as many coordinates are gone through between two readings.
COORDINATES = 20_000
MOST_CALLS = 10


def received(payload: Pieces) -> memoryview:
    """Return a payload in memory whose numbers are aligned, as links receive it."""
    content = bytes(joined(payload))
    memory = np.empty(len(content) + 64, np.uint8)
    skipped = -(memory.ctypes.data + 4) % 64
    view = memory.data.cast("B")[skipped : skipped + len(content)]
    view[:] = content
    return view


def iterate(compressor: Compressor, payloads: list[memoryview], w: np.ndarray, total: np.ndarray) -> None:
    """Add up and apply the payloads as the engine does."""
    fused, fresh, held, scratch = compressor.max_fused_payloads(w.size), True, list[Pieces](), total
    for payload in payloads:
        if len(held) == fused:
            compressor.sum(held, total, fresh=fresh, scratch=scratch)
            held, fresh = [], False
        held.append(payload)
    sum_and_step(compressor, held, total, Descent(w, 0.5, w), fresh=fresh, scratch=scratch)


def candidates_of(name: str, vector: np.ndarray) -> dict[str, Candidate]:
    compressor, scratch, out = make_compressor(name), ScratchBuffer(), np.empty_like(vector)
    squares, w, total = kernels.energy(vector), np.zeros_like(vector), np.zeros_like(vector)
    payloads = [received(compressor.pieces(vector, 0)) for _ in range(RANKS)]

    def iteration(number: int) -> None:
        compressor.pieces(vector, 0, scratch, squares)
        iterate(compressor, payloads, w, total)

    return {
        f"{name} encode": lambda number: compressor.pieces(vector, 0, scratch, squares),
        f"{name} decode": lambda number: compressor.decode(payloads[0], vector.size, out=out),
        f"{name} iteration": iteration,
    }


def repeated(candidate: Candidate, calls: int) -> Candidate:
    def run(number: int) -> None:
        for _ in range(calls):
            candidate(number)

    return run


def bench(d: int) -> None:
    vector = np.random.default_rng(0).standard_normal(d)
    copy, calls = np.empty_like(vector), max(1, min(MOST_CALLS, COORDINATES // d))
    candidates: dict[str, Candidate] = {"copyto": lambda number: np.copyto(copy, vector)}
    for name in FORMATS:
        candidates |= candidates_of(name, vector)
    seconds = medians({name: repeated(candidate, calls) for name, candidate in candidates.items()}, ROUNDS[d])
    for name in FORMATS:
        encode, decode, iteration = (seconds[f"{name} {part}"] for part in ("encode", "decode", "iteration"))
        taken = " ".join(f"{1e6 * part / calls:9.2f}" for part in (encode, decode, iteration))
        ratios = " ".join(f"{part / seconds['copyto']:7.2f}" for part in (encode, decode))
        print(f"{d:8} {name:5} | {taken} | {ratios} | {iteration / seconds['fp64 iteration']:7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dimensions", nargs="+", type=int, default=[*ROUNDS], choices=ROUNDS)
    arguments = parser.parse_args()
    print(f"Microseconds to encode, to decode, and to encode one and sum and apply {RANKS} payloads; encoding and")
    print("decoding as a ratio to np.copyto of as many float64; and the iteration as a ratio to that of fp64")
    print(
        f"{'d':>8} {'':5} | {'encode':>9} {'decode':>9} {'iteration':>9} | {'encode':>7} {'decode':>7} | {'/ fp64':>7}"
    )
    for d in arguments.dimensions:
        bench(d)


if __name__ == "__main__":
    main()
