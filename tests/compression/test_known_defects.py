"""Defects that compressors were published with elsewhere, each as a check that all of ours pass and that can fail.

Where chance decides, the tests are seeded, and all of them together give a false alarm with probability below 1e-5.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from broken import (
    Broken,
    InvertedBytes,
    OneGenerator,
    RandomHalf,
    Remembering,
    SecretDraws,
    SharedStream,
    ShiftedStreams,
    SinglePrecision,
    ToNearest,
)
from numpy.typing import NDArray
from references import (
    REFERENCES,
    Array,
    Case,
    bernstein,
    biased,
    draws,
    every_compressor,
    in_one_coding,
    rounding,
    sparse,
    went_up,
    with_reference,
)
from scipy import stats

from relufit import streams
from relufit.compression import Compressor, make_compressor
from relufit.compression.coding import CODINGS
from relufit.planted import PlantedModel
from relufit.testing import check_compressor, compressor_checks
from relufit.training import TrainingSpec, train
from relufit.training.trace import Recorder

IN_ONE_CODING = in_one_coding()
IN_ALL_CODINGS = [case for case in with_reference() if case.get("bucket_size") is None]
ROTATED = [case for case in every_compressor() if case.name not in REFERENCES]
UNBIASED = [case for case in IN_ONE_CODING if not biased(case)]
ONE_BIT = ("sign", "one_bit", "majority")
RANDOM = [case for case in UNBIASED if draws(case) and not sparse(case)]
LEVEL = 1e-6 / len(IN_ONE_CODING)


def test_without_a_defect_it_keeps_all_promises() -> None:
    check_compressor(Broken())


def sent(compressor: Compressor, vector: NDArray[Any], key: int) -> Array:
    return compressor.decode(compressor.encode(vector, key), vector.size)


# A mask of signs in unsigned bytes was inverted bit by bit: 0 and 1 became 255 and 254, both of them true, and all
# numbers came out with one sign.


def check_signs(compressor: Compressor, least: Array, vector: Array) -> None:
    """`least` is what magnitudes are rounded down to: where it is not zero there must be a sign."""
    some = False
    for pattern in range(256):
        signs = np.where(pattern >> np.arange(8) & 1, -1.0, 1.0)
        decoded = sent(compressor, signs * vector, streams.key(pattern))
        assert np.all(decoded * signs >= 0)
        assert np.all((decoded * signs > 0) | (least == 0))
        some = some or bool(decoded.any())
    assert some


@pytest.mark.parametrize("case", IN_ALL_CODINGS, ids=str)
def test_signs_of_every_pattern_come_back(case: Case) -> None:
    vector = np.linspace(1.3, 0.6, 8)
    check_signs(case.compressor, rounding(case, vector).low, vector)


def test_an_inverted_mask_of_bytes_would_be_found() -> None:
    check_signs(Broken(), np.zeros(8), np.linspace(1.3, 0.6, 8))
    with pytest.raises(AssertionError):
        check_signs(InvertedBytes(), np.zeros(8), np.linspace(1.3, 0.6, 8))


# Sparsifiers that keep k of d coordinates were called unbiased without the factor d/k, and quantizers lost a factor of
# their number of levels: every number is plausible, only the sum is too small.


def check_scale(compressor: Compressor, vector: Array) -> None:
    """The mean of <Q(v), v> is <v, v>, and the mean of the sum of coordinates their sum, of positive numbers.

    Normal limit; the 2^-10 is for half precision, which rounds to nearest.
    """
    decoded = np.array([sent(compressor, vector, streams.key(2, iteration=t)) for t in range(400)])
    for weights in (vector, np.ones(vector.size)):
        ratios = decoded @ weights / (vector @ weights)
        error = stats.norm.isf(LEVEL / 4) * ratios.std(ddof=1) / math.sqrt(ratios.size)
        assert error < 0.35, "not a test"
        assert abs(ratios.mean() - 1) <= error + 2.0**-10


@pytest.mark.parametrize("case", [*UNBIASED, *(case for case in ROTATED if not biased(case))], ids=str)
def test_the_scale_of_a_vector_is_kept_on_average(case: Case) -> None:
    check_scale(case.compressor, np.random.default_rng(1).uniform(0.1, 1, 200))


def test_a_sparsifier_without_its_factor_would_be_found() -> None:
    vector = np.random.default_rng(1).uniform(0.1, 1, 200)
    check_scale(Broken(), vector)
    with pytest.raises(AssertionError):
        check_scale(RandomHalf(), vector)


# The decoder of a simulated compressor returned what its encoder had been given, or used what the encoder had left
# behind: the bytes were counted, and nothing was compressed.


def check_bytes_alone(one: Compressor, other: Compressor, vector: Array, expected: Array) -> None:
    """What is decoded depends on the payload alone, and is not the vector where it cannot be."""
    first, second = one.encode(vector, streams.key(3)), one.encode(vector[::-1].copy(), streams.key(4))
    other.encode(np.ones(vector.size), streams.key(5))
    decoded = one.decode(first, vector.size)
    np.testing.assert_array_equal(decoded != vector, expected)
    np.testing.assert_array_equal(other.decode(bytes(bytearray(first)), vector.size), decoded)
    assert not np.array_equal(other.decode(second, vector.size), decoded)


@pytest.mark.parametrize("case", with_reference(), ids=str)
def test_what_is_decoded_depends_on_the_bytes_alone(case: Case) -> None:
    vector = np.random.default_rng(2).standard_normal(100)
    low, high, _ = rounding(case, vector)
    check_bytes_alone(case.make(), case.make(), vector, (low != vector) & (high != vector))


def test_another_process_decodes_the_same(run_python: Callable[..., str]) -> None:
    program = """
import json, sys
from relufit.compression import make_compressor
for name, parameters, payload in json.loads(sys.argv[1]):
    print(make_compressor(name, **parameters).decode(bytes.fromhex(payload), 60).tobytes().hex())
"""
    vector = np.random.default_rng(3).standard_normal(60)
    payloads = {case: case.compressor.encode(vector, streams.key(6)) for case in [*IN_ALL_CODINGS, *ROTATED]}
    argument = json.dumps([(case.name, dict(case.parameters), payload.hex()) for case, payload in payloads.items()])
    for (case, payload), printed in zip(payloads.items(), run_python(program, argument).split(), strict=True):
        assert printed == case.compressor.decode(payload, 60).tobytes().hex(), case


def test_a_decoder_that_knows_the_vector_would_be_found() -> None:
    vector = np.random.default_rng(2).standard_normal(100)
    inexact = np.abs(vector) < np.max(np.abs(vector))
    check_bytes_alone(Broken(), Broken(), vector, inexact)
    broken = Remembering()
    for other in (broken, Remembering()):
        with pytest.raises(AssertionError):
            check_bytes_alone(broken, other, vector, inexact)


# Bits were counted in float32, which has no odd numbers above 2^24: beyond 2 MB counts were rounded, and small payloads
# were no longer added at all.


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("more", [1, 3])
def test_lengths_and_places_are_exact_beyond_the_whole_numbers_of_single_precision(coding: str, more: int) -> None:
    size = 2**24 + more
    vector = np.zeros(size, np.float32)
    vector[-2:] = 2.0, -2.0
    compressor = make_compressor("qsgd", levels=1, norm="max", coding=coding)
    payload = compressor.encode(vector, streams.key(0))
    if coding == "packed":
        assert len(payload) == 4 + 8 + math.ceil(size / 5)
    np.testing.assert_array_equal(compressor.decode(payload, size, out=np.empty(size, np.float32)), vector)


def test_half_precision_has_the_exact_length_there_as_well() -> None:
    size = 2**24 + 1
    assert len(make_compressor("fp16").encode(np.ones(size, np.float32), 0)) == 4 + 2 * size


def test_bytes_are_counted_in_whole_numbers_of_64_bits() -> None:
    spec = TrainingSpec(PlantedModel(60, 5, 1), batch_size=10, iterations=3, compressor={"name": "qsgd", "levels": 4})
    table = train(spec).table
    assert table["uplink_bytes"].dtype == table["downlink_bytes"].dtype == np.int64


def test_no_byte_is_lost_beyond_the_whole_numbers_of_double_precision() -> None:
    plan = SimpleNamespace(step=1.0, omega=0.0, n=1, d=1, spec=SimpleNamespace(step_size=1.0, describe=dict))
    recorder = Recorder(plan)  # type: ignore[arg-type]
    counts = [2**24 + 1, 2**53 + 1, 2**53 + 2, 2**62 + 1]
    for iteration, count in enumerate(counts):
        recorder.record(iteration, 1.0, math.nan, count, count - 1)
    table = recorder.finish(np.zeros(1), "budget spent", None, ()).table
    assert table["uplink_bytes"].tolist() == counts
    assert table["downlink_bytes"].tolist() == [count - 1 for count in counts]


# Neighbouring seeds started one generator at neighbouring places: the dither of one rank was that of another, shifted,
# and the errors of ranks did not average out.


def check_shifts(compressor: Compressor, case: Case) -> None:
    """Whether coordinates went up does not correlate at any shift between streams that are neighbours by one name."""
    size, reach, times = 4096, 64, 10
    vector = np.random.default_rng(4).standard_normal(size)
    expected = rounding(case, vector)
    spread = np.sqrt(expected.up * (1 - expected.up))
    scale = np.where((expected.up > 0.01) & (expected.up < 0.99), spread, np.inf)
    largest = float(np.max(np.maximum(expected.up, 1 - expected.up) / scale)) ** 2
    limit = bernstein(times * size, largest, LEVEL / (3 * (2 * reach + 1)))

    def scores(seed: int, rank: int, iteration: int) -> Array:
        decoded = sent(compressor, vector, streams.key(seed, rank=rank, iteration=iteration))
        return (went_up(decoded, expected) - expected.up) / scale

    for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        sums = np.zeros(2 * reach + 1)
        for time in range(times):
            one, other = scores(10 * time, 3, 7), scores(10 * time + step[0], 3 + step[1], 7 + step[2])
            sums += np.correlate(np.pad(one, reach), other, "valid")
        assert np.all(np.abs(sums) <= limit)


@pytest.mark.parametrize("case", RANDOM, ids=str)
def test_streams_of_neighbours_are_no_shifted_copies(case: Case) -> None:
    check_shifts(case.compressor, case)


def test_shifted_copies_would_be_found() -> None:
    case = Case("qsgd", (("levels", Broken.levels), ("norm", "max")))
    check_shifts(Broken(), case)
    with pytest.raises(AssertionError):
        check_shifts(OneGenerator(), case)


# Rounding in single precision gave level s + 1: the random part of a level just below one is one there, and a quotient
# of the norm and its largest coordinate exceeds one. In fixed width it ran over into the next number.


def check_no_level_beyond(compressor: Compressor, vector: NDArray[Any], largest: Array | float) -> None:
    """`largest` is what magnitudes are at most decoded to."""
    for iteration in range(2):
        decoded = sent(compressor, vector, streams.key(7, iteration=iteration))
        assert np.all(np.abs(decoded) <= np.asarray(largest) * (1 + 1e-15))
        assert np.all(decoded * np.sign(vector) >= 0)
        assert not decoded[vector == 0].any()


# With a bit a coordinate zero has a sign, and a magnitude.
@pytest.mark.parametrize(
    "case", [case for case in with_reference() if case.name not in ("sign", "one_bit", "majority")], ids=str
)
def test_nothing_is_decoded_beyond_the_largest_level(case: Case) -> None:
    rng = np.random.default_rng(5)
    for size in (1, 3, 300):
        hot = np.zeros(size, np.float32)
        hot[size // 2] = -0.1
        spread = np.append(np.full(size - 1, 1e-4), 0.7).astype(np.float32)
        numbers = [rng.standard_normal(size).astype(np.float32) for _ in range(2)]
        for vector in (hot, spread, *numbers, *(np.full(size, c, np.float32) for c in (0.1, 1 / 3, -1e-30, 3e38))):
            expected = rounding(case, vector.astype(np.float64))
            if not expected.possible:
                continue
            check_no_level_beyond(case.compressor, vector, np.max(np.abs(expected.high)))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("levels", [1, 127, 32767])
@pytest.mark.parametrize("shape", [{"norm": "max"}, {"norm": "l2", "bucket_size": 1}])
def test_a_million_coordinates_as_large_as_their_norm_stay_at_the_largest_level(
    coding: str, levels: int, shape: dict[str, Any]
) -> None:
    vector = np.full(2**20, 0.1, np.float32)
    if "bucket_size" in shape:
        vector = np.random.default_rng(6).standard_normal(2**20).astype(np.float32)
    compressor = make_compressor("qsgd", levels=levels, coding=coding, **shape)
    decoded = sent(compressor, vector, streams.key(8))
    np.testing.assert_allclose(decoded, vector, rtol=1e-15)


def test_levels_beyond_the_largest_would_be_found() -> None:
    vector = np.full(2**20, 0.1, np.float32)
    check_no_level_beyond(Broken(), vector, float(vector[0]))
    with pytest.raises(AssertionError):
        check_no_level_beyond(SinglePrecision(), vector, float(vector[0]))


DEFECTS: list[tuple[type[Broken], str]] = [
    (InvertedBytes, "unbiased"),
    (RandomHalf, "unbiased"),
    (Remembering, "has_no_state"),
    (OneGenerator, "has_no_state"),
    (SinglePrecision, "equal_coordinates"),
    (SharedStream, "keys"),
    (ShiftedStreams, "independent_draws"),
    (ToNearest, "unbiased"),
    (SecretDraws, "random"),
]


@pytest.mark.parametrize(("broken", "name"), DEFECTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_defect_is_found_by_the_public_suite(broken: type[Broken], name: str) -> None:
    (check,) = [check for check in compressor_checks() if check.name == name]
    check_compressor(Broken(), [check])
    with pytest.raises(AssertionError, match=f": {name}: "):
        check_compressor(broken(), [check])
    with pytest.raises(AssertionError):
        check_compressor(broken())
