"""Conversions of numbers against numpy's, bit for bit: all halves, ties, the ends of ranges, every address."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from relufit.numerics import simd

Array = NDArray[Any]
HALVES = np.arange(2**16, dtype=np.uint16).view("<f2")
#: What makes halves of the integers of their bits.
LIFT = 2.0**1008


@njit
def _largest(v: Array) -> float:
    return simd.largest_magnitude(v)  # type: ignore[no-any-return]


@njit
def _write_singles(v: Array, out: Array) -> int:
    return simd.write_singles(v, out)  # type: ignore[no-any-return]


@njit
def _write_halves(v: Array, low: float, high: float, out: Array) -> None:
    simd.write_halves(v, (low, high), out)


@njit
def _add(bits: int, body: Array, first: int, low: float, out: Array) -> int:
    if bits == 32:
        return simd.add_numbers(32, body, first, (low, 1.0), out)  # type: ignore[no-any-return]
    return simd.add_numbers(16, body, first, (low, 1.0), out)  # type: ignore[no-any-return]


@njit
def _read(bits: int, body: Array, first: int, low: float, out: Array) -> int:
    if bits == 32:
        return simd.read_numbers(32, body, first, (low, 1.0), out)  # type: ignore[no-any-return]
    return simd.read_numbers(16, body, first, (low, 1.0), out)  # type: ignore[no-any-return]


def bytes_at(shift: int, content: bytes) -> NDArray[np.uint8]:
    """Bytes that begin `shift` bytes after an address that suits all numbers."""
    memory = np.zeros(shift + len(content), np.uint8)
    memory[shift:] = np.frombuffer(content, np.uint8)
    return memory[shift:]


def hard(dtype: Any) -> Array:
    """Numbers below 2^15: all halves, the ties between them, their neighbours, and numbers of every scale."""
    halves = HALVES.astype(np.float64)
    halves = halves[np.abs(halves) < 2**15]
    ties = (np.sort(halves)[1:] + np.sort(halves)[:-1]) / 2
    scales = np.random.default_rng(0).standard_normal(5000) * 2.0 ** np.linspace(-60, 12, 5000)
    ends = np.array([2**15 - 2.0**-30, 2.0**-25, 3 * 2.0**-26, 0.0, 5e-324, 2.0**-126, 2.0**-149])
    wide = np.concatenate([halves, ties, scales, ends, -ends])
    narrow = wide.astype(dtype)
    both = [narrow, np.nextafter(narrow, dtype(np.inf)), np.nextafter(narrow, dtype(-np.inf))]
    return np.concatenate([v[np.abs(v) < 2**15] for v in both])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_halves_are_rounded_to_nearest_and_ties_to_even(dtype: Any) -> None:
    v = hard(dtype)
    out = np.zeros(2 * v.size, np.uint8)
    _write_halves(v, 1.0, 1.0, out)
    assert out.tobytes() == v.astype("<f2").tobytes()
    _write_halves(v, 0.5, 0.25, out)
    assert out.tobytes() == (v * dtype(0.125)).astype("<f2").tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_singles_are_rounded_to_nearest_and_the_largest_is_told(dtype: Any) -> None:
    v = np.concatenate([hard(dtype), [dtype(3e38), dtype(-1e-45), dtype(1e-40)]]).astype(dtype)
    out = np.zeros(4 * v.size, np.uint8)
    assert _write_singles(v, out) == np.abs(v.astype(np.float32)).max().view(np.uint32)
    assert out.tobytes() == v.astype("<f4").tobytes()


def test_from_the_middle_to_infinity_on_a_single_is_infinite() -> None:
    out, beyond = np.zeros(4, np.uint8), (2 - 2**-24) * 2.0**127
    assert _write_singles(np.array([np.nextafter(beyond, 0)]), out) == 0x7F7FFFFF
    for number in (beyond, -beyond, np.inf, -np.inf):
        assert _write_singles(np.array([number]), out) == 0x7F800000
    assert _write_singles(np.array([np.nan]), out) > 0x7F800000


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_half_is_read_exactly_whatever_its_address(dtype: Any) -> None:
    wanted = HALVES.astype(dtype)
    finite = np.isfinite(wanted)
    for shift in range(4):
        out = np.zeros(HALVES.size, dtype)
        assert _read(16, bytes_at(shift, HALVES.tobytes()), 0, LIFT, out) == 0x7FFF
        assert out[finite].tobytes() == wanted[finite].tobytes()


@pytest.mark.parametrize("size", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("bits", [16, 32])
def test_numbers_are_added_from_any_one_on_at_any_address(bits: int, size: int) -> None:
    rng = np.random.default_rng(size)
    numbers, before = rng.standard_normal(size + 3).astype(f"<f{bits // 8}"), rng.standard_normal(size)
    scale = LIFT if bits == 16 else 1.0
    for shift in range(8):
        body, total, read = bytes_at(shift, numbers.tobytes()), before.copy(), np.zeros(size)
        largest = np.abs(numbers[3:]).max().view(f"<u{bits // 8}")
        assert _add(bits, body, 3, scale, total) == _read(bits, body, 3, scale, read) == largest
        assert total.tobytes() == (before + numbers[3:].astype(np.float64)).tobytes()
        assert read.tobytes() == numbers[3:].astype(np.float64).tobytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("place", [0, 15, 16, 36])
def test_the_largest_magnitude_is_found_anywhere_and_so_is_what_is_no_number(place: int, dtype: Any) -> None:
    v = np.random.default_rng(1).random(37).astype(dtype)
    for number in (-2.5, 3.0):
        v[place] = number
        assert _largest(v) == abs(number)
    v[place] = -np.inf
    assert _largest(v) == np.inf
    v[place] = np.nan
    assert np.isnan(_largest(v))
    assert _largest(np.zeros(place + 1, dtype)) == 0
