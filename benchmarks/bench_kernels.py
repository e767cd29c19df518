"""The gradient kernel against numpy and against reading its rows; QSGD against copying its vector.

One thread each. The candidates take turns, so that whatever slows the machine down slows all of them; medians are
compared. Run it as ``python benchmarks/bench_kernels.py``; it takes about half a minute and the memory of 200
million single-precision numbers.
"""
# ruff: noqa: E402 - numpy reads its number of threads when it is imported

from __future__ import annotations

import os

for _library in ("OPENBLAS", "OMP", "MKL", "NUMBA"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numba import njit

from relufit import kernels, streams
from relufit.compression import make_compressor

#: n, d, m, and how many sets of rows are taken.
SIZES = [(20_000, 100, 64, 4000), (40_000, 1000, 256, 1000), (20_000, 5000, 512, 150), (4000, 50_000, 128, 80)]
NUMPY_TARGET, READING_TARGET = 2.5, 0.5
#: Coordinates, and how many vectors are encoded.
VECTORS = [(10_000, 1000), (1_000_000, 60)]


@njit(nogil=True, fastmath={"reassoc", "contract"})
def read(x: np.ndarray, batch: np.ndarray, v: np.ndarray) -> float:
    """Read the rows of a batch, as one inner product each in single precision, and do nothing else with them."""
    total = np.float32(0)
    for i in range(batch.size):
        row = x[batch[i]]
        for k in range(v.size):
            total += row[k] * v[k]
    return total


def medians(candidates: dict[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each candidate over rounds in which all of them take turns.

    In a round no two candidates take the same set of rows: the first would fetch it into the cache for the others.
    """
    apart = rounds // len(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for candidate in candidates.values():
        candidate(0)
    for number in range(rounds):
        for place, (name, candidate) in enumerate(candidates.items()):
            chosen = (number + place * apart) % rounds
            began = perf_counter()
            candidate(chosen)
            seconds[name].append(perf_counter() - began)
    return {name: float(np.median(taken)) for name, taken in seconds.items()}


def gradients(n: int, d: int, m: int, rounds: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), dtype=np.float32)
    w, y, out = rng.standard_normal(d), np.maximum(rng.standard_normal(n), 0), np.empty(d)
    w_single, y_single = w.astype(np.float32), y.astype(np.float32)
    batches = rng.integers(0, n, (rounds, m))

    def ours(number: int) -> np.ndarray:
        kernels.gradient_sum(x, y, batches[number], w, out)
        return out

    def numpy_double(number: int) -> np.ndarray:
        batch = batches[number]
        rows = x[batch]
        products = rows @ w
        return rows.T @ np.where(products > 0, products - y[batch], 0)

    def numpy_single(number: int) -> np.ndarray:
        batch = batches[number]
        rows = x[batch]
        products = rows @ w_single
        return rows.T @ np.where(products > 0, products - y_single[batch], np.float32(0))

    def reading(number: int) -> float:
        return float(read(x, batches[number], w_single))

    scale = np.linalg.norm(ours(0))
    assert np.linalg.norm(numpy_double(0) - ours(0)) < 1e-12 * scale
    assert np.linalg.norm(numpy_single(0) - ours(0)) < 1e-4 * scale
    candidates = {"kernel": ours, "numpy64": numpy_double, "numpy32": numpy_single, "reading": reading}
    return medians(candidates, rounds)  # type: ignore[arg-type]


def bench_gradients() -> None:
    print("Gradient of a mini-batch of random rows; GB/s of single-precision rows, one thread")
    print(f"{'n':>6} {'d':>6} {'m':>4} | {'kernel':>7} {'numpy64':>7} {'numpy32':>7} {'reading':>7} | "
          f"{'/numpy64':>8} {'/numpy32':>8} {'/reading':>8}")  # fmt: skip
    lines = []
    for n, d, m, rounds in SIZES:
        seconds = gradients(n, d, m, rounds)
        rates = {name: 4e-9 * m * d / taken for name, taken in seconds.items()}
        ratios = {name: rates["kernel"] / rate for name, rate in rates.items()}
        print(
            f"{n:6} {d:6} {m:4} | {rates['kernel']:7.2f} {rates['numpy64']:7.2f} {rates['numpy32']:7.2f} "
            f"{rates['reading']:7.2f} | {ratios['numpy64']:7.2f}x {ratios['numpy32']:7.2f}x {ratios['reading']:7.2f}x",
            flush=True,
        )
        faster, near = ratios["numpy64"] >= NUMPY_TARGET, ratios["reading"] >= READING_TARGET
        lines.append(
            f"({n}, {d}, {m}): at least {NUMPY_TARGET} x numpy with float64 weights: {'met' if faster else 'NOT MET'}; "
            f"at least {READING_TARGET} of reading: {'met' if near else 'NOT MET'}"
        )
    print("\n".join(lines))


def bench_qsgd() -> None:
    print("QSGD, packed; millions of coordinates a second, and the speed as a ratio to np.copyto of the vector")
    print(f"{'d':>8} {'s':>3} | {'encode':>8} {'decode':>8} {'copyto':>8} | {'encode':>8} {'decode':>8}")
    for d, rounds in VECTORS:
        vector, copy = np.random.default_rng(0).standard_normal(d), np.empty(d)
        for levels in (4, 16):
            compressor = make_compressor("qsgd", levels=levels)
            payload = compressor.encode(vector, 1)

            def encode(number: int) -> bytes:
                return compressor.encode(vector, streams.key(0, iteration=number))  # noqa: B023

            def decode(number: int) -> np.ndarray:
                return compressor.decode(payload, vector.size)  # noqa: B023

            def copyto(number: int) -> None:
                np.copyto(copy, vector)  # noqa: B023

            seconds = medians({"encode": encode, "decode": decode, "copyto": copyto}, rounds)
            rates = {name: 1e-6 * d / taken for name, taken in seconds.items()}
            print(
                f"{d:8} {levels:3} | {rates['encode']:8.0f} {rates['decode']:8.0f} {rates['copyto']:8.0f} | "
                f"{rates['encode'] / rates['copyto']:7.3f}x {rates['decode'] / rates['copyto']:7.3f}x",
                flush=True,
            )


if __name__ == "__main__":
    bench_gradients()
    print()
    bench_qsgd()
