"""Fixed width: level + s as an unsigned number of ceil(log2(2 s + 1)) bits, or five to a byte where s = 1.

Whole blocks come first, in a layout that is packed many numbers at a time. For s = 1 a block is 1280 numbers, and
byte j of its 256 bytes is the sum of 3^k times number j + 256 k, for k from 0 to 4. Otherwise a block is 256 numbers
in 16 lanes, see `relufit.numerics.simd.packing`. The numbers left, fewer than a block, are packed one after the other:
five to a byte, or from the low bit on, and the rest of the last byte is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np

from relufit.compression.base import ScratchBuffer
from relufit.compression.coding.base import Coding, Law, no_code
from relufit.compression.levels import BLOCK, Levels, put, take
from relufit.errors import PayloadError
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import pack, unpack

#: Numbers in a block of the layout, for s = 1 and otherwise.
_TRITS, _BITS = 1280, 256


class Packed(Coding):
    """The coding ``"packed"``."""

    kind: ClassVar[int] = 16
    fixed_width: ClassVar[bool] = True

    def write(self, levels: Levels, s: int, start: bytes, scratch: ScratchBuffer) -> memoryview:
        """Return `start` and the bytes of `levels`."""
        length = _length(levels.size, s)
        _encode(levels, levels.size, s, scratch.begin(start, length, zeros=False))
        return scratch.finish(length)

    def restore(self, body: np.ndarray, into: Levels, s: int) -> None:
        """Give the levels of `body` to `into`."""
        self.checked(body, into.size, s)
        if not _decode(body, into, into.size, s):
            raise no_code(into.size, s)

    @staticmethod
    def checked(body: np.ndarray, size: int, s: int) -> np.ndarray:
        """Return `body` after a check that it is as long as the code of `size` levels."""
        if body.size != _length(size, s):
            raise PayloadError(f"{body.size} bytes of levels in place of {_length(size, s)}")
        return body

    def expected_bits(self, laws: Sequence[Law], s: int) -> float:
        """Return the length, which does not depend on the levels."""
        return 8.0 * _length(sum(size for size, _ in laws), s)


@lru_cache(maxsize=1024)
def _length(size: int, s: int) -> int:
    return -(-size // 5) if s == 1 else -(-size * width_of(s) // 8)


@compiled
def width_of(s: int) -> int:
    """Return the bits of a number where s is above 1."""
    width = 0
    while 2 * s >> width:
        width += 1
    return width


@compiled
def _encode(levels: Levels, size: int, s: int, body: np.ndarray) -> None:
    width, block = width_of(s), _TRITS if s == 1 else _BITS
    taken, at = np.empty(BLOCK, np.int16), 0
    for start in range(0, size, BLOCK):
        some = taken[: min(BLOCK, size - start)]
        take(levels, start, some)
        whole = some.size // block * block
        if s == 1:
            _pack_trits(some[:whole], body[at:])
            at += whole // 5
            _pack_last_trits(some[whole:], body[at:])
        else:
            pack(some[:whole], np.int32(s), np.int32(width), body[at:])
            at += whole * width // 8
            pack_last(some[whole:], s, width, body[at:])


@compiled
def restore_block(body: np.ndarray, start: int, s: int, width: int, levels: np.ndarray) -> bool:
    """Write the levels from index `start` on, a multiple of `BLOCK`, to `levels`; tell whether the code has them all.

    `levels` are `BLOCK` of them, or those that are left at the end; `body` is as long as the code of all.
    """
    if s == 1:
        at, whole = start // 5, levels.size // _TRITS * _TRITS
        most = _unpack_trits(body[at:], levels[:whole])
        return max(most, _unpack_last_trits(body[at + whole // 5 :], levels[whole:])) <= 242
    at, whole = start * width // 8, levels.size // _BITS * _BITS
    largest = int(unpack(body[at:], np.int32(s), np.int32(width), levels[:whole]))
    return max(largest, unpack_last(body[at + whole * width // 8 :], s, width, levels[whole:])) <= 2 * s


@compiled
def _decode(body: np.ndarray, into: Levels, size: int, s: int) -> bool:
    unpacked, width = np.empty(BLOCK, np.int16), width_of(s)
    for start in range(0, size, BLOCK):
        some = unpacked[: min(BLOCK, size - start)]
        if not restore_block(body, start, s, width, some):
            return False
        put(into, start, some)
    return True


@compiled
def _pack_trits(levels: np.ndarray, body: np.ndarray) -> None:
    for block in range(levels.size // _TRITS):
        t = levels[block * _TRITS : (block + 1) * _TRITS]
        out = body[block * 256 : (block + 1) * 256]
        for j in range(256):
            out[j] = 121 + t[j] + 3 * t[j + 256] + 9 * t[j + 512] + 27 * t[j + 768] + 81 * t[j + 1024]


@compiled
def _unpack_trits(body: np.ndarray, levels: np.ndarray) -> int:
    """Return the largest byte; above 242 it is no sum of five."""
    most = np.uint8(0)
    for block in range(levels.size // _TRITS):
        t = levels[block * _TRITS : (block + 1) * _TRITS]
        from_ = body[block * 256 : (block + 1) * 256]
        for j in range(256):
            number = np.uint16(from_[j])
            most = max(most, from_[j])
            for k in range(5):
                # The quotient by 3 of numbers below 256.
                third = np.uint16(np.uint16(number * np.uint16(171)) >> np.uint16(9))
                t[j + 256 * k] = np.int16(number - np.uint16(third * np.uint16(3))) - np.int16(1)
                number = third
    return np.int64(most)  # type: ignore[return-value]


@compiled
def _pack_last_trits(levels: np.ndarray, body: np.ndarray) -> None:
    for first in range(0, levels.size, 5):
        number = 0
        for i in range(min(first + 5, levels.size) - 1, first - 1, -1):
            number = 3 * number + levels[i] + 1
        body[first // 5] = number


@compiled
def _unpack_last_trits(body: np.ndarray, levels: np.ndarray) -> int:
    for first in range(0, levels.size, 5):
        number = np.int64(body[first // 5])
        for i in range(first, min(first + 5, levels.size)):
            levels[i] = number % 3 - 1
            number //= 3
        if number:
            return 255
    return 0


@compiled
def pack_last(levels: np.ndarray, s: int, width: int, body: np.ndarray) -> None:
    """Write ``levels + s`` as numbers of `width` bits, one after the other, and zeros up to a whole byte."""
    held, bits, at = np.uint64(0), 0, 0
    for level in levels:
        held |= np.uint64(level + s) << np.uint64(bits)
        bits += width
        while bits >= 8:
            body[at] = np.uint8(held & np.uint64(255))
            held >>= np.uint64(8)
            bits -= 8
            at += 1
    if bits:
        body[at] = np.uint8(held)


@compiled
def unpack_last(body: np.ndarray, s: int, width: int, levels: np.ndarray) -> int:
    """Return the largest number, or one beyond all numbers if the last byte is not filled with zeros."""
    held, bits, at, most = np.uint64(0), 0, 0, np.uint64(0)
    mask = np.uint64((1 << width) - 1)
    for i in range(levels.size):
        while bits < width:
            held |= np.uint64(body[at]) << np.uint64(bits)
            bits += 8
            at += 1
        number = held & mask
        held >>= np.uint64(width)
        bits -= width
        most = max(most, number)
        levels[i] = np.int64(number) - s
    if held != 0:
        return 1 << 40
    return np.int64(most)  # type: ignore[return-value]
