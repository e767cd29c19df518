"""The code of the QSGD paper: Elias' universal codes of the levels, dense or sparse.

The first byte says which of four codes follows; bit 0 is set for the sparse ones and bit 1 for those that use Elias'
omega code in place of his gamma code. Then come bits, the first one the highest of its byte, and zeros up to a whole
byte.

dense
    For each coordinate the code of |level| + 1, then, if the level is not zero, its sign: 1 for negative.
sparse
    For each level that is not zero the code of its distance from the one before (the first: from before the vector),
    its sign, and the code of its magnitude; at last the code of the distance to the end of the vector.

Gamma writes n as one zero less than it has bits, then its bits. Omega writes n's bits, before them in the same way
the number of its bits less one, and so on until that number is 1, and ends with a zero; 1 is a zero alone.

`encode` counts the bits of all four and takes the shortest, so that the choice is never worse than that by expected
length. What is to be expected of each is in `relufit.theory`, where the paper's bounds are checked too.

Sources: P. Elias, *Universal codeword sets and representations of the integers*, IEEE Trans. Inf. Theory 21 (1975);
D. Alistarh et al., *QSGD*, NIPS 2017, arXiv:1610.02132, section 3.2 and appendix A.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from relufit import theory
from relufit.compression.base import ScratchBuffer
from relufit.compression.coding.base import Coding, Law, no_code
from relufit.compression.levels import BLOCK, Levels, put, take
from relufit.numerics.compiled_cache import compiled
from relufit.numerics.simd import count, leading_zeros, load_bits, store_bits

_SPARSE, _OMEGA = 1, 2
#: Bits that fill the last byte, in the mean where each number of them is as frequent as every other.
_FILLING = 3.5
#: Numbers below have their codes looked up.
_COMMON = 1024


class Elias(Coding):
    """The coding ``"elias"``."""

    kind: ClassVar[int] = 17

    def write(self, levels: Levels, s: int, start: bytes, scratch: ScratchBuffer) -> memoryview:
        """Return `start` and the bytes of `levels`, in the shortest of the four codes."""
        bits = _count(levels, levels.size)
        mode = int(np.argmin(bits))
        length = 1 + (int(bits[mode]) + 7) // 8
        # Words of eight bytes are written.
        body = scratch.begin(start, length + 8)
        (_encode_sparse if mode & _SPARSE else _encode_dense)(levels, levels.size, mode, body)
        return scratch.finish(length)

    def restore(self, body: np.ndarray, into: Levels, s: int) -> None:
        """Give the levels of `body` to `into`."""
        if not body.size or body[0] > 3:
            raise no_code(into.size, s)
        decode = _decode_sparse if body[0] & _SPARSE else _decode_dense
        if not decode(body, into, into.size, s):
            raise no_code(into.size, s)

    def expected_bits(self, laws: Sequence[Law], s: int) -> float:
        """Return the least of the expected lengths of the four codes, with the first byte and what fills the last."""
        codes = (theory.gamma_length, theory.omega_length)
        each = [sum(size * theory.dense_code_bits(law, code) for size, law in laws) for code in codes]
        # Distances go on from bucket to bucket, and the last one closes all of them.
        total, longest = sum(size for size, _ in laws), max(len(law) for _, law in laws)
        mean = sum(size / total * np.pad(law, (0, longest - len(law))) for size, law in laws)
        for code in codes:
            ends = theory.sparse_message_bits(mean, code, total) - total * theory.sparse_code_bits(mean, code)
            each.append(ends + sum(size * theory.sparse_code_bits(law, code) for size, law in laws))
        return 8 + min(each) + _FILLING


@compiled
def _bits(n: int) -> int:
    """Return the number of bits of n >= 1."""
    return 64 - leading_zeros(np.uint64(n))


def _words() -> np.ndarray:
    """Return the codes of the numbers below `_COMMON`, gamma and omega, as numbers."""
    words = np.zeros((2, _COMMON), np.int64)
    words[0] = np.arange(_COMMON)
    for n in range(1, _COMMON):
        digits, part = "0", n
        while part > 1:
            digits, part = f"{part:b}{digits}", part.bit_length() - 1
        words[1, n] = int(digits, 2)
    return words


_NUMBERS = np.arange(1, _COMMON)
_WORDS = _words()
_LENGTHS = np.stack([np.append(0, length(_NUMBERS)) for length in (theory.gamma_length, theory.omega_length)])


@compiled
def _length(n: int, code: int) -> int:
    """Return the number of bits of the code of n; `code` is 0 for gamma, 1 for omega."""
    if n < _COMMON:
        return _LENGTHS[code, n]
    if code == 0:
        return 2 * _bits(n) - 1
    length = 1
    while n > 1:
        length += _bits(n)
        n = _bits(n) - 1
    return length


@compiled
def _word(n: int, code: int) -> int:
    """Return the code of n as a number; below 2^64 for n up to 2^32."""
    if n < _COMMON:
        return _WORDS[code, n]
    if code == 0:
        return n
    word, length = 0, 1
    while n > 1:
        word |= n << length
        length += _bits(n)
        n = _bits(n) - 1
    return word


@compiled
def _count(levels: Levels, size: int) -> np.ndarray:
    """Return the bits of the four codes, in the order of their numbers."""
    bits, taken, last = np.zeros(4, np.int64), np.empty(BLOCK, np.int16), -1
    for start in range(0, size, BLOCK):
        some = taken[: min(BLOCK, size - start)]
        take(levels, start, some)
        zeros = count(some, np.int16(0))
        bits[0] += zeros
        bits[2] += zeros
        if zeros == some.size:
            continue
        for i in range(some.size):
            n = abs(np.int64(some[i]))
            if n:
                gap, last = start + i - last, start + i
                for code in range(2):
                    bits[2 * code] += _length(n + 1, code) + 1
                    bits[2 * code + 1] += _length(gap, code) + _length(n, code) + 1
    for code in range(2):
        bits[2 * code + 1] += _length(size - last, code)
    return bits


@compiled
def _write(held: np.uint64, at: int, word: int, length: int, body: np.ndarray) -> tuple[np.uint64, int]:
    """Write `length` bits, 1 to 56, from bit `at` on; `held` has those of the byte that is not full, from the top."""
    held |= np.uint64(word) << np.uint64(64 - (at & 7) - length)
    store_bits(held, body, np.uint64(at) >> np.uint64(3))
    end = at + length
    return held << np.uint64(8 * ((end >> 3) - (at >> 3))), end


@compiled
def _write_number(held: np.uint64, at: int, n: int, code: int, body: np.ndarray) -> tuple[np.uint64, int]:
    word, length = _word(n, code), _length(n, code)
    if length > 32:
        # What is above 64 bits is a zero.
        if length > 64:
            held, at = _write(held, at, 0, length - 64, body)
            length = 64
        held, at = _write(held, at, word >> 32, length - 32, body)
        word, length = word & 0xFFFFFFFF, 32
    return _write(held, at, word, length, body)


@compiled
def _encode_dense(levels: Levels, size: int, mode: int, body: np.ndarray) -> None:
    code, taken = mode >> 1, np.empty(BLOCK, np.int16)
    body[0] = mode
    held, at = np.uint64(0), 8
    for start in range(0, size, BLOCK):
        some = taken[: min(BLOCK, size - start)]
        take(levels, start, some)
        for i in range(some.size):
            level = np.int64(some[i])
            n, signed = abs(level) + 1, np.int64(level != 0)
            if n < _COMMON:
                word = _WORDS[code, n] << signed | np.int64(level < 0)
                held, at = _write(held, at, word, _LENGTHS[code, n] + signed, body)
            else:
                held, at = _write_number(held, at, n, code, body)
                held, at = _write(held, at, np.int64(level < 0), 1, body)


@compiled
def _encode_sparse(levels: Levels, size: int, mode: int, body: np.ndarray) -> None:
    code, taken, last = mode >> 1, np.empty(BLOCK, np.int16), -1
    body[0] = mode
    held, at = np.uint64(0), 8
    for start in range(0, size, BLOCK):
        some = taken[: min(BLOCK, size - start)]
        take(levels, start, some)
        if count(some, np.int16(0)) == some.size:
            continue
        for i in range(some.size):
            level = np.int64(some[i])
            if level:
                held, at = _write_number(held, at, start + i - last, code, body)
                held, at = _write(held, at, np.int64(level < 0), 1, body)
                held, at = _write_number(held, at, abs(level), code, body)
                last = start + i
    _write_number(held, at, size - last, code, body)


@compiled
def _window(body: np.ndarray, at: int) -> np.uint64:
    """Return the bits from bit `at` on, at least 57 of them, the first one highest; zeros beyond the end."""
    first, window = np.uint64(at) >> np.uint64(3), np.uint64(0)
    if first + np.uint64(8) <= np.uint64(body.size):
        window = load_bits(body, first)
    else:
        for k in range(8):
            byte = first + np.uint64(k)
            window <<= np.uint64(8)
            if byte < np.uint64(body.size):
                window |= np.uint64(body[byte])
    return window << np.uint64(at & 7)


@compiled
def _top(window: np.uint64, length: int) -> int:
    """Return the first bits of a window, at least one, as a number."""
    return np.int64(window >> np.uint64(64 - length))  # type: ignore[return-value]


@compiled
def _read(body: np.ndarray, at: int, omega: bool) -> tuple[int, int]:
    """Return the number whose code starts at bit `at`, and where it ends; 0 if it is none of 1 to 2^33 - 1."""
    window = _window(body, at)
    if not omega:
        zeros = leading_zeros(window)
        if zeros > 32:
            return 0, at
        if zeros > 28:
            return _top(_window(body, at + zeros), zeros + 1), at + 2 * zeros + 1
        return _top(window << np.uint64(zeros), zeros + 1), at + 2 * zeros + 1
    n, used = 1, 0
    while _top(window << np.uint64(used), 1):
        if n > 32:
            return 0, at
        # The groups before the last have 2, 2 or 3, and 3 to 6 bits.
        if used + n + 2 > 57:
            at, used = at + used, 0
            window = _window(body, at)
        n, used = _top(window << np.uint64(used), n + 1), used + n + 1
    return n, at + used + 1


@compiled
def _ends(body: np.ndarray, at: int) -> bool:
    """Tell whether the bits end at `at`, but for zeros that fill the last byte."""
    return (at + 7) >> 3 == body.size and (at & 7 == 0 or np.uint8(body[body.size - 1] << (at & 7)) == 0)


@compiled
def _decode_dense(body: np.ndarray, into: Levels, size: int, s: int) -> bool:
    omega, decoded, at, end = body[0] & _OMEGA != 0, np.empty(BLOCK, np.int16), 8, 8 * body.size
    for start in range(0, size, BLOCK):
        some = decoded[: min(BLOCK, size - start)]
        for i in range(some.size):
            if at >= end:
                return False
            n, at = _read(body, at, omega)
            if not 1 <= n <= s + 1:
                return False
            level = n - 1
            if level:
                if _top(_window(body, at), 1):
                    level = -level
                at += 1
            some[i] = level
        put(into, start, some)
    return _ends(body, at)


@compiled
def _decode_sparse(body: np.ndarray, into: Levels, size: int, s: int) -> bool:
    omega, decoded, at, end = body[0] & _OMEGA != 0, np.empty(BLOCK, np.int16), 8, 8 * body.size
    gap, at = _read(body, at, omega)
    index = gap - 1
    if gap < 1:
        return False
    for start in range(0, size, BLOCK):
        some = decoded[: min(BLOCK, size - start)]
        some[:] = 0
        while index < start + some.size:
            if at >= end:
                return False
            negative = _top(_window(body, at), 1) == 1
            n, at = _read(body, at + 1, omega)
            if not 1 <= n <= s:
                return False
            some[index - start] = -n if negative else n
            gap, at = _read(body, at, omega)
            if gap < 1:
                return False
            index += gap
        put(into, start, some)
    return index == size and _ends(body, at)
