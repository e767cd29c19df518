"""Lengths of codes against codes that are written out, other formulas of the same quantity, known numbers.

Statistical tests are seeded and pass if |z| < 4: a right prediction fails one with probability 6e-5.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_vectors import reproducible, z_score
from universal_codes import gamma, omega

from relufit import theory

CODES = {"gamma": (gamma, theory.gamma_length), "omega": (omega, theory.omega_length)}
POWERS = [2**j + step for j in range(2, 63) for step in (-1, 0, 1) if 2**j + step <= 2**62]


@pytest.mark.parametrize("name", CODES)
def test_the_lengths_are_those_of_the_codes(name: str) -> None:
    code, length = CODES[name]
    numbers = [*range(1, 3000), *POWERS]
    np.testing.assert_array_equal(length(numbers), [len(code(k)) for k in numbers])
    assert length(1) == 1
    assert length([[1, 2], [3, 4]]).shape == (2, 2)


def test_the_omega_code_has_the_lengths_of_its_table() -> None:
    numbers = [1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 100, 1000, 10**4, 10**5, 10**6]
    lengths = [1, 3, 3, 6, 6, 7, 7, 11, 11, 12, 12, 13, 13, 14, 13, 17, 21, 28, 31]
    np.testing.assert_array_equal(theory.omega_length(numbers), lengths)


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("law", [(0.2, 0.5, 0.2, 0.06, 0.04), (0.95, 0.04, 0.01), (0.0, 1.0), (0.0, 0.3, 0.3, 0.4)])
def test_a_long_vector_is_coded_in_the_predicted_bits(name: str, law: tuple[float, ...]) -> None:
    code, length = CODES[name]
    rng, dense, sparse = np.random.default_rng(9), [], []
    for _ in range(100):
        levels = rng.choice(len(law), size=2000, p=law)
        dense.append(sum(len(code(int(k) + 1)) + (k > 0) for k in levels) / 2000)
        places = np.flatnonzero(levels)
        gaps = np.diff(np.append(-1, places))
        sparse.append(sum(len(code(int(k))) for k in (*gaps, *levels[places])) / 2000 + len(places) / 2000)
    for sample, bits in ((dense, theory.dense_code_bits), (sparse, theory.sparse_code_bits)):
        if np.std(sample) > 1e-9:
            assert abs(z_score(np.array(sample), bits(law, length))) < 4
        else:
            assert bits(law, length) == pytest.approx(sample[0], rel=1e-12)


@reproducible
@given(nonzero=st.floats(1e-12, 1))
def test_however_rare_a_nonzero_level_is_its_distance_has_the_predicted_length(nonzero: float) -> None:
    # E floor(log2 gap) = sum_j P(gap >= 2^j); and the gamma code of level 1 and its sign take a bit each.
    log = math.log1p(-nonzero) if nonzero < 1 else -math.inf
    octaves = sum(math.exp((2**j - 1) * log) for j in range(1, 60))
    bits = theory.sparse_code_bits([1 - nonzero, nonzero], theory.gamma_length)
    assert bits == pytest.approx(nonzero * (2 * octaves + 3), rel=1e-9)


def test_zeros_cost_one_bit_in_the_dense_code_and_nothing_in_the_sparse_one() -> None:
    for length in (theory.gamma_length, theory.omega_length):
        assert theory.dense_code_bits([1.0, 0.0], length) == 1
        assert theory.sparse_code_bits([1.0, 0.0], length) == 0


@reproducible
@given(d=st.integers(1, 10**9), levels=st.integers(1, 2**15 - 1), norm=st.sampled_from(["l2", "max"]))
def test_no_code_is_shorter_than_the_entropy_nor_that_than_the_rate_distortion_function(
    d: int, levels: int, norm: str
) -> None:
    entropy = theory.level_entropy(d, levels, norm=norm)
    for bits in theory.elias_bits(d, levels, norm=norm).values():
        assert bits >= entropy * (1 - 1e-9)
    if d >= 1000 and norm == "l2":  # coordinates are then as good as independent Gaussians
        assert entropy > theory.rate_distortion_bits(theory.qsgd_variance(d, levels))


def test_the_four_codes_of_qsgd_have_their_known_lengths() -> None:
    expected = {"dense_gamma": 2.926, "dense_omega": 2.942, "sparse_gamma": 2.725, "sparse_omega": 2.756}
    assert theory.elias_bits(10**4, 100) == pytest.approx(expected, abs=6e-4)
    one = theory.elias_bits(10**4, 1, norm="max")
    assert one["dense_gamma"] == one["dense_omega"] == pytest.approx(1 + 3 * (1 - 0.80), abs=0.02)


@pytest.mark.parametrize("d", [10**2, 10**4, 10**6])
@pytest.mark.parametrize("ratio", [0.01, 0.03, 0.1, 0.3, 0.5])
def test_the_sparse_code_keeps_the_bound_of_the_qsgd_paper(d: int, ratio: float) -> None:
    root = math.sqrt(d)
    s = max(1, round(ratio * root))
    nonzero = s * (s + root)
    bound = (3 + 1.5 * math.log2(2 * (s * s + d) / nonzero)) * nonzero / d
    codes = theory.elias_bits(d, s)
    assert max(codes["sparse_gamma"], codes["sparse_omega"]) < bound


@pytest.mark.parametrize("root", [10, 32, 100, 316, 1000])
def test_the_dense_code_takes_more_than_2_8_bits_at_the_root_of_the_dimension(root: int) -> None:
    codes = theory.elias_bits(root**2, root)
    assert 2.92 < codes["dense_gamma"] < 2.94
    assert 2.94 < codes["dense_omega"] < 2.95
    assert (codes["dense_gamma"] > 2.8 + 32 / root**2) == (root > 10)


def test_the_rate_distortion_function_has_its_known_values() -> None:
    assert theory.rate_distortion_bits(1) == 0.5
    assert theory.rate_distortion_bits(1 / 3) == pytest.approx(1, rel=1e-15)
    assert theory.rate_distortion_bits(1e9) == pytest.approx(0.5e-9 / math.log(2), rel=1e-8)
    assert theory.rate_distortion_bits(0) == math.inf
