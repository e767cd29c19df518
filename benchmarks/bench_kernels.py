"""The gradient kernel against numpy and against reading its rows; opening a shard against looking at its numbers.

One thread each. The candidates take turns, so that whatever slows the machine down slows all of them; medians are
compared. Run it as ``python benchmarks/bench_kernels.py``; it takes about half a minute and the memory of 200
million single-precision numbers.
"""

from __future__ import annotations

from rounds import Candidate, medians

# isort: split
# numpy reads its number of threads when it is imported, and `rounds` has set it.

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numba import njit

from relufit.numerics import kernels
from relufit.planted import PlantedModel, dataset
from relufit.planted.dataset import Dataset

#: n, d, m, and how many sets of rows are taken.
SIZES = [(20_000, 100, 64, 4000), (40_000, 1000, 256, 1000), (20_000, 5000, 512, 150), (4000, 50_000, 128, 80)]
NUMPY_TARGET, READING_TARGET = 2.5, 0.5


@njit(nogil=True, fastmath={"reassoc", "contract"})
def read(x: np.ndarray, batch: np.ndarray, v: np.ndarray) -> float:
    """Read the rows of a batch, as one inner product each in single precision, and do nothing else with them."""
    total = np.float32(0)
    for i in range(batch.size):
        row = x[batch[i]]
        for k in range(v.size):
            total += row[k] * v[k]
    return total


def gradients(n: int, d: int, m: int, rounds: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), dtype=np.float32)
    w, y, out = rng.standard_normal(d), np.maximum(rng.standard_normal(n), 0), np.empty(d)
    w_single, y_single = w.astype(np.float32), y.astype(np.float32)
    batches = rng.integers(0, n, (rounds, m))

    def ours(number: int) -> np.ndarray:
        kernels.gradient_sum(x, y, batches[number], w, 1.0, out)
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
    candidates: dict[str, Candidate] = {
        "kernel": ours,
        "numpy64": numpy_double,
        "numpy32": numpy_single,
        "reading": reading,
    }
    return medians(candidates, rounds)


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


def bench_opening() -> None:
    """Compare a rank that opens its shard, and holds it against its checksums, with reading it and with looking at it.

    Warm means that the file is in the system's cache, cold that the system was asked to forget it, which it may not do
    for a file system in memory. Each candidate maps the file anew.
    """
    model = PlantedModel(65_536, 1000, 0, inputs="rademacher")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        dataset.write(model, Path(folder) / "data")
        file = Path(folder) / "data/x/c/0/0"

        def opening() -> None:
            Dataset(Path(folder) / "data").shard(0, 1)

        def finite() -> None:
            kernels.all_finite(np.memmap(file, np.float32, "c", shape=(model.n, model.d)))

        def reading() -> None:
            with file.open("rb", buffering=0) as opened:
                while opened.readinto(buffer):
                    pass

        def forget() -> None:
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        buffer = bytearray(2**20)
        candidates = {"opening": opening, "finite": finite, "reading": reading}
        print(f"\nOpening a shard of {file.stat().st_size / 1e6:.0f} MB; GB/s, one thread")
        print(f"{'cache':>6} | {'opening':>7} {'finite':>7} {'reading':>7} | {'/finite':>8} {'/reading':>8}")
        for state, before, rounds in (("warm", lambda: None, 9), ("cold", forget, 5)):
            rates = {name: file.stat().st_size / 1e9 / s for name, s in _times(candidates, before, rounds).items()}
            finite_ratio, reading_ratio = (rates["opening"] / rates[name] for name in ("finite", "reading"))
            print(
                f"{state:>6} | {rates['opening']:7.2f} {rates['finite']:7.2f} {rates['reading']:7.2f} | "
                f"{finite_ratio:7.2f}x {reading_ratio:7.2f}x"
            )


def _times(candidates: dict[str, Callable[[], None]], before: Callable[[], None], rounds: int) -> dict[str, float]:
    """Return the median seconds of each candidate, which take turns; `before` is called before each, untimed."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, candidate in candidates.items():
            before()
            began = perf_counter()
            candidate()
            if number:
                seconds[name].append(perf_counter() - began)
    return {name: median(taken) for name, taken in seconds.items()}


if __name__ == "__main__":
    bench_gradients()
    bench_opening()
