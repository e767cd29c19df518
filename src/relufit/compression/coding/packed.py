"""Fixed width: level + s as an unsigned number of ceil(log2(2 s + 1)) bits.

Whole blocks of 256 come first. A block is 8 lanes of 32 numbers; lane j has the numbers j, j + 8, j + 16, ... of
the block, packed from the low bit on into as many 32-bit words as a number has bits; word k of all lanes is
stored before word k + 1 of any. So 8 numbers at a time are shifted and merged, which vectors do well. The last
numbers, fewer than 256, are packed one after the other from the low bit on, and the last byte is filled with
zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from relufit.errors import PayloadError

_LANES, _ROWS = 8, 32
_BLOCK = _LANES * _ROWS


@dataclass(frozen=True)
class Packed:
    """The coding ``"packed"``."""

    kind: int = 16

    def encode(self, levels: np.ndarray, s: int) -> bytes:
        """Return the bytes of `levels`."""
        body = np.zeros(_length(levels.size, s), np.uint8)
        blocks = _block_bytes(levels.size, s)
        _pack_blocks(levels, s, _width(s), body[:blocks].view(np.uint32))
        _pack_rest(levels, s, _width(s), body[blocks:])
        return body.tobytes()

    def decode(self, body: memoryview, size: int, s: int) -> np.ndarray:
        """Return the levels, (size,) int16."""
        if len(body) != _length(size, s):
            raise PayloadError(f"{len(body)} bytes of levels in place of {_length(size, s)}")
        numbers, blocks = np.frombuffer(body, np.uint8), _block_bytes(size, s)
        levels = np.empty(size, np.int16)
        words = np.frombuffer(body[:blocks], "<u4") if blocks else np.empty(0, np.uint32)
        largest = max(_unpack_blocks(words, s, _width(s), levels), _unpack_rest(numbers[blocks:], s, _width(s), levels))
        if largest > 2 * s:
            raise PayloadError(f"a level beyond {s}, or padding that is not zero")
        return levels


def _width(s: int) -> int:
    return (2 * s).bit_length()


def _block_bytes(size: int, s: int) -> int:
    return size // _BLOCK * (_BLOCK // 8) * _width(s)


def _length(size: int, s: int) -> int:
    return _block_bytes(size, s) + -(-(size % _BLOCK) * _width(s) // 8)


@njit(nogil=True, cache=True)
def _pack_blocks(levels: np.ndarray, s: int, width: int, words: np.ndarray) -> None:
    for block in range(levels.size // _BLOCK):
        source, target = block * _BLOCK, block * _LANES * width
        for row in range(_ROWS):
            word, shift = target + row * width // 32 * _LANES, np.uint32(row * width % 32)
            for lane in range(_LANES):
                number = np.uint32(levels[source + row * _LANES + lane] + s)
                words[word + lane] |= np.uint32(number << shift)
            if shift + width > 32:
                back = np.uint32(32) - shift
                for lane in range(_LANES):
                    number = np.uint32(levels[source + row * _LANES + lane] + s)
                    words[word + _LANES + lane] |= np.uint32(number >> back)


@njit(nogil=True, cache=True)
def _unpack_blocks(words: np.ndarray, s: int, width: int, levels: np.ndarray) -> int:
    mask, largest = np.uint32((1 << width) - 1), np.uint32(0)
    for block in range(levels.size // _BLOCK):
        target, source = block * _BLOCK, block * _LANES * width
        for row in range(_ROWS):
            word, shift = source + row * width // 32 * _LANES, np.uint32(row * width % 32)
            split = shift + width > 32
            back = np.uint32(32) - shift
            for lane in range(_LANES):
                number = np.uint32(words[word + lane] >> shift)
                if split:
                    number = np.uint32(number | np.uint32(words[word + _LANES + lane] << back))
                number = np.uint32(number & mask)
                largest = max(largest, number)
                levels[target + row * _LANES + lane] = np.int32(number) - s
    return np.int64(largest)  # type: ignore[return-value]


@njit(nogil=True, cache=True)
def _pack_rest(levels: np.ndarray, s: int, width: int, body: np.ndarray) -> None:
    held, bits, at = np.uint64(0), 0, 0
    for i in range(levels.size - levels.size % _BLOCK, levels.size):
        held |= np.uint64(levels[i] + s) << np.uint64(bits)
        bits += width
        while bits >= 8:
            body[at] = np.uint8(held & np.uint64(255))
            held >>= np.uint64(8)
            bits -= 8
            at += 1
    if bits:
        body[at] = np.uint8(held)


@njit(nogil=True, cache=True)
def _unpack_rest(body: np.ndarray, s: int, width: int, levels: np.ndarray) -> int:
    held, bits, at, largest = np.uint64(0), 0, 0, np.uint64(0)
    mask = np.uint64((1 << width) - 1)
    for i in range(levels.size - levels.size % _BLOCK, levels.size):
        while bits < width:
            held |= np.uint64(body[at]) << np.uint64(bits)
            bits += 8
            at += 1
        number = held & mask
        held >>= np.uint64(width)
        bits -= width
        largest = max(largest, number)
        levels[i] = np.int64(number) - s
    if held != 0:
        return 1 << 40
    return np.int64(largest)  # type: ignore[return-value]
