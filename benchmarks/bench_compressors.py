"""Compressors against copying their vector, and against what is written or installed in their place.

One thread each. Every compressor takes turns with ``np.copyto`` of the same float32 vector; medians are compared.
Run it as ``python benchmarks/bench_compressors.py``, or with ``--quick`` for two sizes only; it takes one to two
minutes, the first time longer by what it takes to compile. Rows of ``torch`` and ``constriction`` are there where
these can be imported.
"""

from __future__ import annotations

from rounds import Candidate, medians

# isort: split
# numpy reads its number of threads when it is imported, and `rounds` has set it.

import argparse
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import numpy as np

from relufit import streams
from relufit.compression import Compressor, make_compressor

#: Coordinates, and how many rounds are taken.
ROUNDS = {10_000: 200, 100_000: 60, 1_000_000: 15, 10_000_000: 3}
QUICK = (10_000, 1_000_000)
LEVELS = (1, 4, 16, 64, 127)
CODINGS = ("packed", "elias", "rans")
#: Of the coordinates, those that sparse compressors send.
FRACTIONS = (0.01, 0.2)
BITS = (1, 2, 3, 4)
#: The size at which there are targets: speeds as a ratio to np.copyto, for the slowest number of levels.
TARGET_SIZE = 1_000_000
TARGETS = {
    ("packed", "encode"): 0.25,
    ("packed", "decode"): 0.5,
    ("rans", "encode"): 0.03,
    ("rans", "decode"): 0.03,
    ("elias", "encode"): 0.01,
}
LIBRARIES = ("torch", "constriction")
#: Drawn beforehand: a key is not a compressor's work.
KEYS = [streams.key(0, iteration=number) for number in range(max(ROUNDS.values()))]

#: By size, name and number of levels: the ratio of each way.
Ratios = dict[tuple[int, str, int | None], dict[str, float]]


@dataclass(frozen=True)
class Row:
    """One compressor of one vector: what is timed, and how long its payload is."""

    name: str
    levels: int | None
    bits: float
    encode: Candidate
    #: To a new array, and to a float32 array that is there already.
    decode: Candidate
    into: Candidate | None


def ours(name: str, levels: int | None, compressor: Compressor, vector: np.ndarray) -> Row:
    payload, single = compressor.encode(vector, KEYS[0]), np.empty_like(vector)
    np.testing.assert_allclose(
        compressor.decode(payload, vector.size), compressor.decode(payload, vector.size, out=single), rtol=1e-6
    )
    return Row(
        name,
        levels,
        8 * len(payload) / vector.size,
        lambda number: compressor.encode(vector, KEYS[number]),
        lambda number: compressor.decode(payload, vector.size),
        lambda number: compressor.decode(payload, vector.size, out=single),
    )


def qsgd_in_numpy(vector: np.ndarray, s: int, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """Return the norm and the levels of QSGD, as they are written where nothing is packed."""
    norm = float(np.linalg.norm(vector))
    scaled = np.abs(vector) * (s / norm)
    lower = np.floor(scaled)
    levels = lower + (rng.random(vector.size, dtype=np.float32) < scaled - lower)
    return norm, (np.sign(vector) * levels).astype(np.int8 if s <= 127 else np.int16)


def with_numpy(vector: np.ndarray, s: int) -> Row:
    rng, single = np.random.default_rng(1), np.empty_like(vector)
    norm, levels = qsgd_in_numpy(vector, s, rng)
    return Row(
        "qsgd numpy",
        s,
        (64 + 8 * levels.nbytes) / vector.size,
        lambda number: qsgd_in_numpy(vector, s, rng),
        lambda number: levels * (norm / s),
        lambda number: np.multiply(levels, np.float32(norm / s), out=single),
    )


def top_k_in_numpy(vector: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and values of the largest coordinates, as they are written where positions are not coded."""
    positions = np.argpartition(np.abs(vector), vector.size - count)[vector.size - count :].astype(np.uint32)
    positions.sort()
    return positions, vector[positions]


def top_k_with_numpy(vector: np.ndarray, fraction: float) -> Row:
    positions, values = top_k_in_numpy(vector, round(fraction * vector.size))
    single = np.empty_like(vector)

    def scatter(out: np.ndarray) -> None:
        out[:] = 0
        out[positions] = values

    return Row(
        f"top_k numpy {fraction:g}",
        None,
        64 * fraction,
        lambda number: top_k_in_numpy(vector, positions.size),
        lambda number: scatter(np.empty(vector.size)),
        lambda number: scatter(single),
    )


def transformed_in_numpy(vector: np.ndarray) -> np.ndarray:
    """Return the Walsh-Hadamard transform of the vector, filled up with zeros to a power of two."""
    x = np.zeros(1 << (vector.size - 1).bit_length())
    x[: vector.size] = vector
    stride = 1
    while stride < x.size:
        pairs = x.reshape(-1, 2, stride)
        x = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), axis=1).ravel()
        stride *= 2
    return x / np.sqrt(x.size)


def rotated_in_numpy(vector: np.ndarray) -> Row:
    """DRIVE with two transforms in plain numpy; nothing is packed."""
    rng = np.random.default_rng(1)
    padded = 1 << (vector.size - 1).bit_length()

    def rotated(x: np.ndarray) -> np.ndarray:
        for _ in range(2):
            x = transformed_in_numpy(x * rng.choice((-1.0, 1.0), x.size))
        return x

    def encode(number: int) -> np.ndarray:
        return rotated(vector) > 0

    levels = np.where(encode(0), 1.0, -1.0)
    return Row("eden 1 numpy", None, 8.0 * padded / vector.size, encode, lambda number: rotated(levels), None)


def with_torch(torch: ModuleType, vector: np.ndarray) -> Row:
    torch.set_num_threads(1)
    tensor = torch.from_numpy(vector)
    half, single = tensor.to(torch.float16), torch.empty_like(tensor)
    return Row(
        "fp16 torch",
        None,
        16.0,
        lambda number: tensor.to(torch.float16),
        lambda number: half.to(torch.float64),
        lambda number: single.copy_(half),
    )


def with_constriction(constriction: ModuleType, vector: np.ndarray, s: int) -> Row:
    """Levels that are there already, as int32 from 0 on: encoding counts them and decoding ends with them."""
    coder = constriction.stream.stack.AnsCoder
    symbols = qsgd_in_numpy(vector, s, np.random.default_rng(1))[1].astype(np.int32) + np.int32(s)

    def model_of(symbols: np.ndarray) -> object:
        shares = np.bincount(symbols, minlength=2 * s + 1) / symbols.size
        return constriction.stream.model.Categorical(shares, perfect=False)

    def encode(number: int) -> np.ndarray:
        ans = coder()
        ans.encode_reverse(symbols, model_of(symbols))
        return ans.get_compressed()

    words, model = encode(0), model_of(symbols)

    def decode(number: int) -> np.ndarray:
        return coder(words).decode(model, symbols.size)

    assert np.array_equal(decode(0), symbols)
    return Row("constriction", s, 32 * words.size / vector.size, encode, decode, None)


def rows(vector: np.ndarray, libraries: dict[str, ModuleType]) -> Iterator[Row]:
    """Make the rows one after the other, so that the arrays of one are gone before the next."""
    for coding in CODINGS:
        for s in LEVELS:
            yield ours(f"qsgd {coding}", s, make_compressor("qsgd", levels=s, coding=coding), vector)
    for bits in BITS:
        yield ours(f"eden {bits}", None, make_compressor("eden", bits=bits), vector)
    yield rotated_in_numpy(vector)
    for name in ("ternary", "natural"):
        yield ours(f"{name} rans", None, make_compressor(name, coding="rans"), vector)
    yield ours("fp16", None, make_compressor("fp16"), vector)
    if "torch" in libraries:
        yield with_torch(libraries["torch"], vector)
    for fraction in FRACTIONS:
        for name in ("top_k", "rand_k", "top_k_sign"):
            yield ours(f"{name} {fraction:g}", None, make_compressor(name, fraction=fraction), vector)
        yield top_k_with_numpy(vector, fraction)
    # How fast it is does not depend on s.
    yield with_numpy(vector, 16)
    if "constriction" in libraries:
        for s in LEVELS:
            yield with_constriction(libraries["constriction"], vector, s)


def seconds_of(row: Row, vector: np.ndarray, rounds: int) -> dict[str, float]:
    copy = np.empty_like(vector)
    candidates: dict[str, Candidate] = {
        "encode": row.encode,
        "decode": row.decode,
        "copyto": lambda number: np.copyto(copy, vector),
    }
    if row.into is not None:
        candidates["out="] = row.into
    return medians(candidates, rounds)


def bench(sizes: tuple[int, ...], libraries: dict[str, ModuleType]) -> Ratios:
    """Print the table; return the ratios to np.copyto."""
    print("Millions of coordinates a second, and the speed as a ratio to np.copyto of the float32 vector, one thread")
    print("decode: to a new float64 array; out=: to a float32 array that is there already; copyto: of the same run")
    if "constriction" in libraries:
        print("constriction: the coding of levels alone, without rounding before and scaling after; no table is sent")
    print(f"{'d':>8} {'':16} {'s':>3} | {'encode':>7} {'decode':>7} {'out=':>7} {'copyto':>7} | "
          f"{'encode':>7} {'decode':>7} {'out=':>7} | {'bits':>7}")  # fmt: skip
    ratios_by_row: Ratios = {}
    for d in sizes:
        vector = np.random.default_rng(0).standard_normal(d, dtype=np.float32)
        for row in rows(vector, libraries):
            seconds = seconds_of(row, vector, ROUNDS[d])
            ratios = {way: seconds["copyto"] / taken for way, taken in seconds.items()}
            rates = {way: f"{1e-6 * d / taken:7.0f}" for way, taken in seconds.items()}
            shown = {way: f"{ratio:6.3f}x" for way, ratio in ratios.items()}
            print(
                f"{d:8} {row.name:16} {row.levels or '':>3} | {rates['encode']} {rates['decode']} "
                f"{rates.get('out=', ''):7} {rates['copyto']} | {shown['encode']} {shown['decode']} "
                f"{shown.get('out=', ''):7} | {row.bits:7.4f}",
                flush=True,
            )
            ratios_by_row[d, row.name, row.levels] = ratios
    return ratios_by_row


def report_targets(ratios_by_row: Ratios) -> None:
    print(f"Ratios to np.copyto at d = {TARGET_SIZE}, worst over s")
    for (coding, way), target in TARGETS.items():
        worst, s = min((ratios_by_row[TARGET_SIZE, f"qsgd {coding}", s][way], s) for s in LEVELS)
        verdict = "met" if worst >= target else "NOT MET"
        print(f"{coding} {way}: at least {target}: {verdict} ({worst:.3f} at s = {s})")


def report_memory() -> None:
    print(f"Memory at d = {TARGET_SIZE} beside the result, KiB, worst over s")
    vector = np.random.default_rng(0).standard_normal(TARGET_SIZE, dtype=np.float32)
    for coding in CODINGS:
        encoding, decoding = 0, 0
        for s in LEVELS:
            compressor = make_compressor("qsgd", levels=s, coding=coding)
            tracemalloc.start()
            payload = compressor.encode(vector, KEYS[0])
            encoding = max(encoding, tracemalloc.get_traced_memory()[1] - len(payload))
            tracemalloc.stop()
            tracemalloc.start()
            restored = compressor.decode(payload, vector.size)
            decoding = max(decoding, tracemalloc.get_traced_memory()[1] - restored.nbytes)
            tracemalloc.stop()
        print(f"{coding}: encode {encoding / 1024:.1f}, decode {decoding / 1024:.1f}")


def installed() -> dict[str, ModuleType]:
    """Return the libraries that can be imported, and print a line on each that cannot."""
    libraries = {}
    for name in LIBRARIES:
        try:
            libraries[name] = import_module(name)
        except ImportError as error:
            print(f"no rows of {name} ({error}): pip install {name}")
    return libraries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"only d = {' and '.join(map(str, QUICK))}")
    sizes = QUICK if parser.parse_args().quick else tuple(ROUNDS)
    ratios_by_row = bench(sizes, installed())
    print()
    report_targets(ratios_by_row)
    print()
    report_memory()


if __name__ == "__main__":
    main()
