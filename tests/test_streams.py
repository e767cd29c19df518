"""Streams against their definition and against each other. Statistical tests are seeded and state their level."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relufit import streams
from relufit.errors import ConfigError

addresses = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**32),
    st.integers(0, 2**63 - 1),
    st.sampled_from(["dither", "rows", "order", "inputs", "noise"]),
)


def key(address: tuple[int, int, int, str]) -> int:
    seed, rank, iteration, purpose = address
    return streams.key(seed, rank=rank, iteration=iteration, purpose=purpose)


def test_keys_are_the_same_in_every_version() -> None:
    assert streams.key(0) == 0x3CC19D3ED9EE7B668F0B4F51C1EB656B
    assert streams.key(-1, rank=3, iteration=2**40, purpose="rows") == 0xFA94C315128FB854B47148D5A5E60BFB


@given(addresses, addresses)
def test_two_addresses_have_the_same_key_only_if_they_are_equal(
    one: tuple[int, int, int, str], other: tuple[int, int, int, str]
) -> None:
    assert (key(one) == key(other)) == (one == other)


@given(st.integers(-(2**63), 2**63 - 2), st.integers(0, 1000), st.integers(0, 1000))
def test_arguments_with_the_same_sum_have_different_keys(seed: int, rank: int, iteration: int) -> None:
    here = streams.key(seed, rank=rank, iteration=iteration)
    assert here != streams.key(seed + 1, rank=rank, iteration=iteration)
    assert here != streams.key(seed, rank=rank + 1, iteration=iteration)
    assert here != streams.key(seed, rank=rank, iteration=iteration + 1)
    assert streams.key(seed + 1, rank=rank, iteration=iteration) != streams.key(
        seed, rank=rank + 1, iteration=iteration
    )
    assert streams.key(seed, rank=rank + 1, iteration=iteration) != streams.key(
        seed, rank=rank, iteration=iteration + 1
    )


@pytest.mark.parametrize("value", [1.0, 1.5, math.nan, "1", None, True, 2**63, -(2**63) - 1])
@pytest.mark.parametrize("name", ["seed", "rank", "iteration"])
def test_what_is_no_64_bit_integer_is_refused_by_name(name: str, value: object) -> None:
    arguments = {"seed": 0, name: value}
    with pytest.raises(ConfigError, match=name):
        streams.key(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_integers_of_numpy_are_integers(kind: type) -> None:
    assert streams.key(kind(7), rank=kind(2)) == streams.key(7, rank=2)


def test_the_ends_of_the_64_bit_range_are_seeds() -> None:
    assert streams.key(-(2**63)) != streams.key(2**63 - 1)


def test_a_generator_starts_at_the_beginning_of_its_stream() -> None:
    stream = streams.key(11, rank=2)
    first = streams.generator(stream).random(5)
    np.testing.assert_array_equal(first, streams.generator(stream).random(5))
    assert not np.array_equal(first, streams.generator(streams.key(11, rank=3)).random(5))


def test_one_generator_after_the_other_draws_as_new_ones_do() -> None:
    generators = streams.Generators()
    for stream in (5, 2**128 - 1, streams.key(11, rank=2), 5):
        again, new = generators.at(stream), streams.generator(stream)
        for draw in (again, new):  # half of a word is left over
            draw.standard_normal(7, dtype=np.float32)
            draw.integers(0, 2**20, 3, dtype=np.uint32)
        assert again.bit_generator.state["buffer_pos"] == new.bit_generator.state["buffer_pos"]
        np.testing.assert_array_equal(again.standard_normal(50), new.standard_normal(50))
        np.testing.assert_array_equal(again.integers(0, 9, 5, dtype=np.int8), new.integers(0, 9, 5, dtype=np.int8))


@given(st.integers(0, 2**128 - 1))
def test_the_words_of_a_key_make_up_the_key(stream: int) -> None:
    words = streams.words(stream)
    assert words.dtype == np.uint32
    assert sum(int(word) << (32 * i) for i, word in enumerate(words)) == stream


def test_neighbouring_streams_have_no_word_in_common() -> None:
    # 10^5 random 64-bit words hold a pair of equal ones with probability 3e-10.
    draws = [
        streams.generator(streams.key(seed, rank=rank, iteration=iteration)).integers(0, 2**64, 800, dtype=np.uint64)
        for seed in range(5)
        for rank in range(5)
        for iteration in range(5)
    ]
    assert len(np.unique(np.concatenate(draws))) == 125 * 800


@pytest.mark.parametrize("step", [{"seed": 1}, {"rank": 1}, {"iteration": 1}])
def test_neighbouring_streams_are_uncorrelated(step: dict[str, int]) -> None:
    # |z| < 4.5: a right generator fails one of these with probability 7e-6.
    here = streams.generator(streams.key(0)).standard_normal(200_000)
    there = streams.generator(streams.key(**{"seed": 0, **step})).standard_normal(200_000)
    assert abs(np.sum(here * there)) / math.sqrt(len(here)) < 4.5
