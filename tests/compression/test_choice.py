"""Which coding is chosen, and whether the lengths that the choice goes by are those of payloads."""

from __future__ import annotations

import numpy as np
import pytest

from relufit import streams, theory
from relufit.compression import make_compressor
from relufit.compression.choice import AUTO, check_coding, coding_of, shortest
from relufit.compression.coding import CODINGS
from relufit.compression.natural import Natural
from relufit.compression.qsgd import QSGD
from relufit.errors import ConfigError, PayloadError

NAMED = {coding.kind: name for name, coding in CODINGS.items()}
SHAPES = [
    (size, bucket) for size in (1, 5, 100, 1000, 20_000) for bucket in (None, 64, 512) if not bucket or bucket < size
]


def gaussian(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng([size, seed]).standard_normal(size)


def chosen(compressor: QSGD | Natural, vector: np.ndarray) -> str:
    """The coding that a payload says it is in."""
    kind = compressor.encode(vector, streams.key(0))[0]
    return NAMED[kind - 32 if isinstance(compressor, Natural) else kind]


@pytest.mark.parametrize(
    "compressor", [QSGD(1, AUTO), QSGD(4, AUTO), QSGD(1000, AUTO, norm="max"), Natural(AUTO)], ids=str
)
@pytest.mark.parametrize("size", [1, 10, 300, 5000])
def test_the_choice_does_not_depend_on_the_vector(compressor: QSGD | Natural, size: int) -> None:
    hot = np.zeros(size)
    hot[size // 2] = 1e10
    vectors = [
        gaussian(size, 0),
        gaussian(size, 1) ** 9,
        np.ones(size),
        hot,
        np.zeros(size),
        1e-300 * gaussian(size, 2),
    ]
    vectors += [vector.astype(np.float32) for vector in vectors[:4]]
    assert len({chosen(compressor, vector) for vector in vectors}) == 1


@pytest.mark.parametrize("s", [1, 4, 16, 1000, 2**15 - 1])
@pytest.mark.parametrize(("size", "bucket"), SHAPES)
@pytest.mark.parametrize("norm", ["l2", "max"])
def test_the_shortest_to_be_expected_is_chosen(s: int, size: int, bucket: int | None, norm: str) -> None:
    expected = {name: QSGD(s, name, bucket, norm).expected_bits(size) for name in CODINGS}
    auto = QSGD(s, AUTO, bucket, norm)
    assert auto.expected_bits(size) == min(expected.values())
    name = chosen(auto, gaussian(size, 3))
    assert expected[name] == min(expected.values())
    vector = gaussian(size, 4)
    assert auto.encode(vector, 5) == QSGD(s, name, bucket, norm).encode(vector, 5)


def test_each_coding_is_the_choice_where_it_should_be() -> None:
    assert chosen(QSGD(1000, AUTO), gaussian(5, 0)) == "packed"
    assert chosen(QSGD(2**15 - 1, AUTO), gaussian(20, 0)) == "packed"
    assert chosen(QSGD(1, AUTO), gaussian(200, 0)) == "elias"
    assert chosen(QSGD(2, AUTO), gaussian(100, 0)) == "elias"
    # Where they are equal to a bit, 329 of elias against 328 here, the mean length of payloads is so too.
    assert chosen(QSGD(2, AUTO), gaussian(300, 0)) == "rans"
    for s in (1, 4, 16, 1000):
        assert chosen(QSGD(s, AUTO), gaussian(50_000, 0)) == "rans"


@pytest.mark.parametrize(
    ("s", "size"), [(1, 100), (1, 1000), (4, 300), (16, 300), (16, 5000), (1000, 50), (1000, 5000)]
)
def test_the_choice_is_the_shortest_on_average(s: int, size: int) -> None:
    # Up to what expectations may be wrong.
    lengths = {
        name: np.mean([len(QSGD(s, name).encode(gaussian(size, t), streams.key(t))) for t in range(50)])
        for name in [*CODINGS, AUTO]
    }
    assert lengths[AUTO] <= 1.03 * min(lengths.values()) + 8


@pytest.mark.parametrize("made", CODINGS)
@pytest.mark.parametrize("name", ["qsgd", "ternary", "natural"])
def test_a_coding_reads_its_own_and_auto_reads_all(name: str, made: str) -> None:
    parameters = {"levels": 4} if name == "qsgd" else {}
    compressors = {coding: make_compressor(name, coding=coding, **parameters) for coding in [*CODINGS, AUTO]}
    for vector in (gaussian(300, 0), np.zeros(300)):
        payload = compressors[made].encode(vector, 1)
        decoded = compressors[made].decode(payload, 300)
        np.testing.assert_array_equal(compressors[AUTO].decode(payload, 300), decoded)
        for other in set(CODINGS) - {made}:
            with pytest.raises(PayloadError, match=f"not in the coding {other}"):
                compressors[other].decode(payload, 300)
            assert compressors[other].decode(compressors[other].encode(vector, 1), 300).tolist() == decoded.tolist()


def test_a_kind_that_is_no_coding_is_refused() -> None:
    for kind in sorted(set(range(256)) - set(NAMED)):
        for name in [*CODINGS, AUTO]:
            with pytest.raises(PayloadError, match="kind"):
                coding_of(kind, name)


def test_an_unknown_coding_is_refused_with_the_known_ones() -> None:
    for name in [*CODINGS, AUTO]:
        check_coding(name)
    with pytest.raises(ConfigError, match="zip") as caught:
        check_coding("zip")
    assert all(name in caught.value.remedy for name in [*CODINGS, AUTO])


def test_of_equals_the_first_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for coding in CODINGS.values():
        monkeypatch.setattr(type(coding), "expected_bits", lambda self, laws, s: 8.0)
    assert shortest([(10, np.ones(1))], 1) == next(iter(CODINGS))


def directions(size: int, count: int, seed: int) -> np.ndarray:
    """Uniformly distributed ones, of all lengths."""
    rng = np.random.default_rng([size, seed])
    return rng.standard_normal((count, size)) * 10.0 ** rng.uniform(-3, 3, (count, 1))


@pytest.mark.parametrize("coding", [*CODINGS, AUTO])
@pytest.mark.parametrize("s", [1, 4, 16, 64, 1000, 2**15 - 1])
@pytest.mark.parametrize(("size", "bucket"), SHAPES)
@pytest.mark.parametrize("norm", ["l2", "max"])
def test_payloads_are_as_long_as_expected(coding: str, s: int, size: int, bucket: int | None, norm: str) -> None:
    # The mean of 200 (or 20 long ones) is seeded; expectations are for independent levels and may be wrong a little.
    compressor = QSGD(s, coding, bucket, norm)
    vectors = directions(size, 200 if size <= 1000 else 20, s)
    lengths = [len(compressor.encode(vector, streams.key(t))) for t, vector in enumerate(vectors)]
    assert np.mean(lengths) == pytest.approx(compressor.expected_bits(size) / 8, rel=0.03, abs=8)


def test_buckets_and_the_rest_have_the_laws_of_their_own_sizes() -> None:
    one, rest = (theory.level_probabilities(size, 4) for size in (64, 36))
    laws = [(128, one), (36, rest)]
    for name, coding in CODINGS.items():
        assert QSGD(4, name, 64).expected_bits(164) == pytest.approx(32 + 3 * 64 + coding.expected_bits(laws, 4))
