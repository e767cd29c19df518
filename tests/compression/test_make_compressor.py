"""Compressors by name, and what all of them promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from relufit import streams
from relufit.compression import COMPRESSORS, Compressor, make_compressor
from relufit.errors import ConfigError

#: What a compressor cannot be made without.
NEEDED: dict[str, dict[str, Any]] = {"qsgd": {"levels": 4}}


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
    assert omega is not None
    # Four times the mean squared error, and the rounding of half precision.
    assert np.sum((decoded - vector) ** 2) <= np.sum(vector**2) * (4 * omega + 2.0**-22)


def test_encoding_leaves_the_vector_as_it_is(compressor: Compressor) -> None:
    vector = np.random.default_rng(0).standard_normal(300)
    before = vector.tobytes()
    compressor.decode(compressor.encode(vector, 1), 300)[:] = 0
    assert vector.tobytes() == before


def test_no_two_kinds_of_payload_are_confused() -> None:
    made = [make_compressor(name, **NEEDED.get(name, {})) for name in COMPRESSORS]
    kinds = {compressor.encode(np.ones(5), 0)[0] for compressor in made}
    assert len(kinds) == len(made)
