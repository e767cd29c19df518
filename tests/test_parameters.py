"""Numbers as parameters: numpy's work as Python's, and what is no number is refused in one line."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from relufit import TrainingSpec, streams
from relufit.compression import make_compressor
from relufit.errors import ConfigError, PayloadError
from relufit.parameters import real, whole
from relufit.planted import PlantedModel

_NO_NUMBERS = [
    True,
    np.True_,
    "4",
    Decimal(4),
    math.nan,
    math.inf,
    -math.inf,
    np.float32("nan"),
    10**400,
    None,
    [4],
    4j,
]


@pytest.mark.parametrize("kind", [int, np.int8, np.int64, np.uint16])
def test_whole_numbers_of_every_kind_are_the_ints_that_they_are(kind: type) -> None:
    assert (whole(kind(4)), type(whole(kind(4))), type(real(kind(4)))) == (4, int, int)


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.float16])
def test_real_numbers_of_every_kind_are_floats_and_no_whole_numbers(kind: type) -> None:
    assert (real(kind(0.5)), type(real(kind(0.5))), whole(kind(4))) == (0.5, float, None)


@pytest.mark.parametrize("value", _NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_none(value: object) -> None:
    assert whole(value) is None
    assert real(value) is None


def _numpy_spec() -> TrainingSpec:
    return TrainingSpec(
        PlantedModel(np.int64(200), np.int32(8), np.uint8(3), noise_std=np.float32(0.5)),
        {"name": "qsgd", "levels": np.int64(4), "bucket_size": np.int16(5)},
        workers=np.int64(2),
        batch_size=np.int32(8),
        step_size=np.float32(0.125),
        iterations=np.int64(5),
        tolerance=np.float64(1e-9),
        seed=np.int64(7),
        record_every=np.uint8(1),
    )


def test_a_run_that_is_described_in_numpys_numbers_is_the_same_and_can_be_written_as_json() -> None:
    spec = _numpy_spec()
    plain = TrainingSpec(
        PlantedModel(200, 8, 3, noise_std=0.5),
        {"name": "qsgd", "levels": 4, "bucket_size": 5},
        workers=2,
        batch_size=8,
        step_size=0.125,
        iterations=5,
        tolerance=1e-9,
        seed=7,
    )
    assert json.dumps(spec.describe()) == json.dumps(plain.describe())
    assert spec == plain
    assert spec.dataset == plain.dataset
    assert json.dumps(vars(spec.dataset)) == json.dumps(vars(plain.dataset))


@pytest.mark.parametrize("value", _NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "name", ["workers", "batch_size", "iterations", "record_every", "step_size", "tolerance", "seed"]
)
def test_a_parameter_of_a_run_that_is_no_number_is_refused_in_one_line(name: str, value: Any) -> None:
    if (name, value) == ("tolerance", None):
        return
    with pytest.raises(ConfigError) as caught:
        TrainingSpec(PlantedModel(9, 2, 1), **{name: value})
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", _NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["levels", "bucket_size", "n", "d", "noise_std", "seed"])
def test_a_parameter_of_a_quantizer_or_of_a_model_that_is_no_number_is_refused(name: str, value: Any) -> None:
    if (name, value) == ("bucket_size", None):
        return
    with pytest.raises(ConfigError, match=name):
        if name in ("levels", "bucket_size"):
            make_compressor("qsgd", **{"levels": 4, name: value})
        else:
            PlantedModel(**{"n": 9, "d": 2, "seed": 1, name: value})


@pytest.mark.parametrize("name", [["qsgd"], 7, None, {}])
def test_a_name_that_is_no_text_is_unknown(name: Any) -> None:
    with pytest.raises(ConfigError, match="unknown"):
        make_compressor(name)
    with pytest.raises(ConfigError, match="unknown"):
        PlantedModel(9, 2, 1, inputs=name)
    for choice in ("exchange", "sampling"):
        with pytest.raises(ConfigError, match="unknown"):
            TrainingSpec(PlantedModel(9, 2, 1), **{choice: name})


@pytest.mark.parametrize("vector", [np.full(10, 1e200), np.full(10, 1e307), np.full(10, 3e38, np.float32)])
def test_a_vector_whose_squares_overflow_is_sent_as_it_is_at_an_ordinary_scale(vector: np.ndarray) -> None:
    compressor = make_compressor("qsgd", levels=4)
    key = streams.key(1)
    scale = 2.0 ** -math.frexp(float(vector[0]))[1]
    ordinary = compressor.decode(compressor.encode(vector.astype(float) * scale, key), vector.size)
    assert np.allclose(compressor.decode(compressor.encode(vector, key), vector.size) * scale, ordinary, rtol=1e-14)


def test_a_vector_whose_norm_overflows_is_not_called_nan_or_infinity() -> None:
    compressor = make_compressor("qsgd", levels=4)
    with pytest.raises(PayloadError, match=r"norm of the vector is beyond the range of float64.*take the norm 'max'"):
        compressor.encode(np.full(10, 1e308), streams.key(1))
    with pytest.raises(PayloadError, match="NaN or infinity"):
        compressor.encode(np.array([1e308, np.inf]), streams.key(1))
    largest = make_compressor("qsgd", levels=4, norm="max")
    assert (largest.decode(largest.encode(np.full(10, 1e308), streams.key(1)), 10) == 1e308).all()
