"""Elias' codes in strings of zeros and ones: a writer and a reader, and what holds the compiled ones against them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from universal_codes import gamma, omega

from relufit.compression.coding import elias
from relufit.compression.coding.elias import Elias

Levels = NDArray[np.int16]
MODES = DENSE_GAMMA, SPARSE_GAMMA, DENSE_OMEGA, SPARSE_OMEGA = range(4)
LARGEST = 2**15 - 1


def code_of(n: int, mode: int) -> str:
    return omega(n) if mode in (DENSE_OMEGA, SPARSE_OMEGA) else gamma(n)


def written(levels: Levels | list[int], mode: int) -> str:
    """The bits that follow the first byte."""
    values = [int(level) for level in levels]
    signs = ["" if value == 0 else "1" if value < 0 else "0" for value in values]
    if mode in (DENSE_GAMMA, DENSE_OMEGA):
        return "".join(code_of(abs(value) + 1, mode) + sign for value, sign in zip(values, signs, strict=True))
    bits, last = "", -1
    for index, value in enumerate(values):
        if value:
            bits += code_of(index - last, mode) + signs[index] + code_of(abs(value), mode)
            last = index
    return bits + code_of(len(values) - last, mode)


def to_bytes(bits: str, mode: int) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return bytes([mode]) + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def reference(levels: Levels | list[int], mode: int) -> bytes:
    return to_bytes(written(levels, mode), mode)


class Reader:
    """Reads numbers from a string of bits; IndexError at its end."""

    def __init__(self, bits: str) -> None:
        self.bits, self.at = bits, 0

    def bit(self) -> int:
        self.at += 1
        return int(self.bits[self.at - 1])

    def number(self, length: int, first: str = "") -> int:
        return int(first + "".join(str(self.bit()) for _ in range(length)), 2)

    def gamma(self) -> int:
        zeros = 0
        while not self.bit():
            zeros += 1
        return self.number(zeros, "1")

    def omega(self) -> int:
        n = 1
        while self.bit():
            n = self.number(n, "1")
        return n


def read(body: bytes, size: int) -> list[int]:
    mode = body[0]
    reader = Reader("".join(f"{byte:08b}" for byte in body[1:]))
    number = reader.omega if mode in (DENSE_OMEGA, SPARSE_OMEGA) else reader.gamma
    levels: list[int] = []
    if mode in (DENSE_GAMMA, DENSE_OMEGA):
        while len(levels) < size:
            magnitude = number() - 1
            levels.append(-magnitude if magnitude and reader.bit() else magnitude)
    else:
        while True:
            levels += [0] * (number() - 1)
            if len(levels) >= size:
                break
            sign = -1 if reader.bit() else 1
            levels.append(sign * number())
    rest = reader.bits[reader.at :]
    assert len(levels) == size
    assert len(rest) < 8
    assert "1" not in rest
    return levels


def check(levels: Levels, s: int) -> int:
    """Encode, compare with the reference in all four codes, decode; return the code that was chosen."""
    body = Elias().encode(levels, s)
    lengths = [len(written(levels, mode)) for mode in MODES]
    assert elias._count(levels, levels.size).tolist() == lengths
    assert lengths[body[0]] == min(lengths)
    assert body == reference(levels, body[0])
    np.testing.assert_array_equal(read(body, levels.size), levels)
    for mode in MODES:
        decoded = Elias().decode(memoryview(reference(levels, mode)), levels.size, s)
        assert decoded.dtype == np.int16
        np.testing.assert_array_equal(decoded, levels)
    return body[0]
