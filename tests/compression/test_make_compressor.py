"""Compressors by name, and what all of them promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from relufit import streams
from relufit.compression import COMPRESSORS, Compressor, make_compressor
from relufit.errors import ConfigError, PayloadError

#: What a compressor cannot be made without.
NEEDED: dict[str, dict[str, Any]] = {"qsgd": {"levels": 4}, "scaled_qsgd": {"levels": 5}}


@pytest.fixture(params=COMPRESSORS)
def compressor(request: pytest.FixtureRequest) -> Compressor:
    return make_compressor(request.param, **NEEDED.get(request.param, {}))


def test_parameters_reach_the_compressor() -> None:
    one, other = make_compressor("qsgd", levels=7), make_compressor("qsgd", levels=7, coding="packed", bucket_size=None)
    assert one == other
    assert one != make_compressor("qsgd", levels=8)
    assert one != make_compressor("qsgd", levels=7, bucket_size=5)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="gzip") as caught:
        make_compressor("gzip")
    assert all(name in caught.value.remedy for name in COMPRESSORS)


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'level'") as caught:
        make_compressor("qsgd", level=4)
    assert "levels" in caught.value.remedy
    with pytest.raises(ConfigError, match="fp32 has no parameter 'levels'"):
        make_compressor("fp32", levels=4)


def test_a_missing_parameter_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'levels'"):
        make_compressor("qsgd", coding="packed")


def test_an_impossible_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match="levels"):
        make_compressor("qsgd", levels=0)


def test_what_is_decoded_is_near_what_was_encoded(compressor: Compressor) -> None:
    vector = np.random.default_rng(0).standard_normal(1000)
    payload = compressor.encode(vector, streams.key(1))
    assert isinstance(payload, bytes)
    decoded = compressor.decode(payload, 1000)
    omega = compressor.variance(1000)
    # Four times the mean squared error, and the rounding of half precision. What is biased leaves out a part.
    most = 1.0 if omega is None else 4 * omega + 2.0**-22
    assert np.sum((decoded - vector) ** 2) <= np.sum(vector**2) * most


def test_encoding_leaves_the_vector_as_it_is(compressor: Compressor) -> None:
    vector = np.random.default_rng(0).standard_normal(300)
    before = vector.tobytes()
    compressor.decode(compressor.encode(vector, 1), 300)[:] = 0
    assert vector.tobytes() == before


def test_no_two_kinds_of_payload_are_confused() -> None:
    # TernGrad is QSGD with one level, and scaled QSGD is QSGD of a shorter vector: their payloads are of one kind, and
    # told apart by the number of levels.
    made = {name: make_compressor(name, **NEEDED.get(name, {})) for name in COMPRESSORS}
    payloads = {name: compressor.encode(np.ones(5), 0) for name, compressor in made.items()}
    kinds = {payload[0] for payload in payloads.values()}
    assert len(kinds) == len(made) - 2
    for name, compressor in made.items():
        for other, payload in payloads.items():
            if other != name:
                with pytest.raises(PayloadError):
                    compressor.decode(payload, 5)


def test_a_ternary_payload_is_one_of_qsgd_with_the_largest_magnitude_as_norm() -> None:
    vector = np.random.default_rng(0).standard_normal(300)
    ternary, qsgd = make_compressor("ternary"), make_compressor("qsgd", levels=1, norm="max")
    payload = ternary.encode(vector, 7)
    assert payload == qsgd.encode(vector, 7)
    np.testing.assert_array_equal(qsgd.decode(payload, 300), ternary.decode(payload, 300))
