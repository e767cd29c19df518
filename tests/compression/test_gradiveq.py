"""GradiVeQ: projections and payloads against plain numpy, and what is learnt of gradients that are made."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from relufit import streams
from relufit.compression import make_compressor
from relufit.compression.base import ScratchBuffer
from relufit.compression.cast import Float32
from relufit.compression.gradiveq import GradiVeQ
from relufit.errors import ConfigError, PayloadError
from relufit.testing import check_compressor, compressor_checks
from relufit.training.residuals import Residual

Array = NDArray[np.float64]

K, M = 5, 20
D = 400 * M


def orthonormal(seed: int, count: int = K, size: int = M) -> Array:
    rows: Array = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, count)))[0].T
    return rows


def words_of(key: int, count: int) -> Array:
    """Words of the stream with that key, by the formulas on docs/formats.md, modulo 2^32."""
    a, b, c, d = streams.words(key)
    x = (np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1)) ^ a
    x = ((x ^ (x >> 16)) * np.uint32(0x21F0AAAD)) + b
    x = ((x ^ (x >> 15)) * np.uint32(0x735A2D97)) ^ c
    x = ((x ^ (x >> 15)) * np.uint32(0xD168AAAD)) + d
    return np.asarray(x ^ (x >> 16), np.float64)


def projected(vector: Array, rows: Array) -> Array:
    """Each slice on the rows; what is after the last slice stays."""
    whole = vector.size // rows.shape[1] * rows.shape[1]
    slices = vector[:whole].reshape(-1, rows.shape[1])
    return np.concatenate([(slices @ rows.T @ rows).ravel(), vector[whole:]])


@pytest.mark.parametrize("size", [1, M - 1, M, 7 * M, 7 * M + 3])
@pytest.mark.parametrize("values", ["fp32", "fp16"])
def test_a_payload_is_what_the_page_says(values: str, size: int) -> None:
    compressor, vector = GradiVeQ(K, M, values), np.random.default_rng(size).standard_normal(size)
    payload, count = compressor.encode(vector, 77), size // M * K + size % M
    kind, version, components, seed = struct.unpack_from("<BBHq", payload)
    assert (kind, version, components) == ({"fp32": 71, "fp16": 72}[values], 1, K)
    assert len(payload) == {"fp32": 12 + 4 * count, "fp16": 14 + 2 * count}[values]
    assert compressor.expected_bits(size) == 8 * len(payload)
    drawn = (2 * words_of(streams.key(seed, purpose="projection"), K * M) + 1) / 2**32 - 1
    basis, upper = np.linalg.qr(drawn.reshape(K, M).T)
    rows = (basis * np.sign(np.diag(upper))).T
    if values == "fp32":
        sent = np.frombuffer(payload, "<f4", offset=12)
        slices = vector[: size // M * M].reshape(-1, M)
        np.testing.assert_allclose(sent[: size // M * K], (slices @ rows.T).ravel(), atol=1e-6)
        assert sent[size // M * K :].tolist() == vector[size // M * M :].astype("<f4").tolist()
    tolerance = {"fp32": 1e-6, "fp16": 5e-3}[values]
    np.testing.assert_allclose(compressor.decode(payload, size), projected(vector, rows), atol=tolerance)


@pytest.mark.parametrize("values", ["fp32", "fp16"])
def test_a_learnt_projection_keeps_the_promises_and_is_told_apart(values: str) -> None:
    drawn = GradiVeQ(K, M, values)
    learnt = drawn.with_basis(orthonormal(1))
    # It cannot be made from its parameters.
    check_compressor(learnt, [check for check in compressor_checks() if check.name != "name_and_parameters"])
    assert learnt != drawn
    vector = np.random.default_rng(1).standard_normal(7 * M + 3)
    payload = learnt.encode(vector, 1)
    assert payload == learnt.encode(vector, 2)
    assert 8 * len(payload) == learnt.expected_bits(vector.size)
    np.testing.assert_allclose(learnt.decode(payload, vector.size), projected(vector, orthonormal(1)), atol=5e-3)
    for one, other in ((drawn, learnt), (learnt, drawn)):
        with pytest.raises(PayloadError, match="kind"):
            one.decode(other.encode(vector, 1), vector.size)


def test_the_sum_of_the_values_stands_for_the_sum_of_the_vectors() -> None:
    learnt, rng = GradiVeQ(K, M).with_basis(orthonormal(2)), np.random.default_rng(2)
    payloads = [learnt.encode(rng.standard_normal(7 * M), 0) for _ in range(3)]
    values = sum(np.frombuffer(payload, "<f4", offset=4).astype(float) for payload in payloads)
    added = payloads[0][:4] + np.asarray(values, "<f4").tobytes()
    vectors = [learnt.decode(payload, 7 * M) for payload in payloads]
    np.testing.assert_allclose(learnt.decode(added, 7 * M), np.sum(vectors, axis=0), atol=1e-5)


def test_a_drawn_projection_keeps_the_same_share_of_every_vector() -> None:
    compressor, trials = GradiVeQ(K, M), 4000
    alone, ramp = np.zeros(M), np.arange(1.0, M + 1)
    alone[3] = 1.0
    for vector in (alone, ramp):
        sent = [compressor.decode(compressor.encode(vector, streams.key(3, iteration=i)), M) for i in range(trials)]
        shares = np.array(sent) @ vector / (vector @ vector)
        assert abs(shares.mean() - K / M) < 5 * shares.std() / trials**0.5


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 8), (8, 8), (K, M), (7, 120)])
def test_what_is_learnt_are_the_principal_components(count: int, size: int) -> None:
    rng = np.random.default_rng(size)
    scales = np.geomspace(1, 1e-3, size) * 1e-12
    steps = rng.standard_normal((2, 300, size)) * scales @ orthonormal(4, size, size)
    learner = GradiVeQ(count, size, window=2, period=4).learner([(0, 100 * size), (100 * size, 300 * size)])
    weights = np.zeros(300 * size)
    for iteration in range(4):
        learner.take(iteration, weights)
        if iteration < 2:
            assert learner.compressor == Float32()
            weights = weights + steps[iteration].ravel()
    learnt = learner.compressor
    assert isinstance(learnt, GradiVeQ)
    rows = np.frombuffer(learnt.basis).reshape(count, size)
    np.testing.assert_allclose(rows @ rows.T, np.eye(count), atol=1e-13)
    slices = steps.reshape(-1, size)
    first = np.linalg.eigh(slices.T @ slices)[1][:, -count:]
    np.testing.assert_allclose(rows.T @ rows, first @ first.T, atol=1e-9)


def test_a_learner_that_is_restored_goes_on_as_the_other_one() -> None:
    compressor, rng = GradiVeQ(2, 4, window=3, period=5), np.random.default_rng(5)
    weights = rng.standard_normal((13, 30)).cumsum(axis=0)
    whole = compressor.learner([(0, 30)])
    for iteration in range(12):
        whole.take(iteration, weights[iteration])
        other = compressor.learner([(0, 30)])
        other.restore(iteration, weights[iteration], whole.state)
        for learner in (other, whole):
            learner.take(iteration, weights[iteration])
        assert other.compressor == whole.compressor
        other.take(iteration + 1, weights[iteration + 1])
        again = compressor.learner([(0, 30)])
        for before in range(iteration + 2):
            again.take(before, weights[before])
        assert other.compressor == again.compressor
        assert other.state.tobytes() == again.state.tobytes()


def kept_shares(gradients: Array, period: int, *, feedback: bool) -> Array:
    """The share of what is encoded that is kept, by iteration of a period, (period,), in the mean over periods."""
    compressor, weights, residual = GradiVeQ(K, M, period=period), np.zeros(D), Residual(D)
    learner, shares = compressor.learner([(0, D)]), np.zeros((len(gradients), 2))
    for iteration, gradient in enumerate(gradients):
        learner.take(iteration, weights)
        vector = gradient.copy()
        if feedback:
            payload = bytes(residual.encode(learner.compressor, vector, 0, iteration, ScratchBuffer()))  # type: ignore[arg-type]
        else:
            payload = learner.compressor.encode(vector, 0)
        sent = learner.compressor.decode(payload, D)
        shares[iteration] = sent @ sent, vector @ vector
        weights = weights - sent
    squares = shares.reshape(-1, period, 2).sum(axis=0)
    return np.asarray(squares[:, 0] / squares[:, 1])


def test_of_gradients_without_a_direction_no_more_is_kept_than_is_sent() -> None:
    gradients, q = np.random.default_rng(6).standard_normal((96, D)), K / M
    np.testing.assert_allclose(kept_shares(gradients, 8, feedback=False), [1.0, *[q] * 7], rtol=0.04)
    # What is left out in j - 1 iterations comes on top of the j-th, and none of it is in the span.
    expected = [1.0, *(q / (q + (1 - q) * j) for j in range(1, 8))]
    np.testing.assert_allclose(kept_shares(gradients, 8, feedback=True), expected, rtol=0.04)


def test_of_gradients_whose_slices_are_alike_nearly_all_is_kept() -> None:
    rng = np.random.default_rng(7)
    gradients = (rng.standard_normal((16, D // M, K)) @ orthonormal(7)).reshape(16, D)
    gradients += 0.05 * rng.standard_normal((16, D))
    # K of M directions have the signal, and all have the noise.
    lost = (M - K) * 0.05**2 / (K + M * 0.05**2)
    np.testing.assert_allclose(1 - kept_shares(gradients, 8, feedback=False)[1:], lost, rtol=0.1)


def test_projected_sums_teach_nothing_but_the_projection() -> None:
    rng, rows = np.random.default_rng(8), orthonormal(8)
    learner = GradiVeQ(K, M).learner([(0, D)])
    learner.take(0, np.zeros(D))
    learner.take(1, projected(rng.standard_normal(D), rows))
    learnt = learner.compressor
    assert isinstance(learnt, GradiVeQ)
    again = np.frombuffer(learnt.basis).reshape(K, M)
    np.testing.assert_allclose(again.T @ again, rows.T @ rows, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("components", value) for value in (0, 33, 1.0, "8", True, None)),
        *(("slice_size", value) for value in (0, 7, 121, 32.0, "32", None)),
        *(("window", value) for value in (0, 8, 1.5, None)),
        *(("period", value) for value in (1, 0, "8", None)),
        *(("values", value) for value in ("fp64", 32, None)),
    ],
)
def test_impossible_parameters_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make_compressor("gradiveq", **{name: value})
    assert caught.value.where in (name, "components", "window")


def test_numbers_whose_coefficients_could_be_infinite_are_refused() -> None:
    for values in ("fp32", "fp16"):
        with pytest.raises(PayloadError, match="beyond"):
            GradiVeQ(K, M, values).encode(np.full(M, 1e305), 0)
    decoded = GradiVeQ(K, M, "fp16").decode(GradiVeQ(K, M, "fp16").encode(np.full(M, 1e300), 0), M)
    assert np.isfinite(decoded).all()
