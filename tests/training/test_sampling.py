"""Which samples a rank takes. Statistical tests are seeded and state their level."""

from __future__ import annotations

import numpy as np
import pytest
from memory import peak_memory
from numpy.typing import NDArray

from relufit import streams
from relufit.planted import PlantedModel
from relufit.planted.dataset import Shard
from relufit.training import sampling
from relufit.training.sampling import SAMPLINGS, Sampler

MODEL = PlantedModel(40, 3, 5)
W_STAR = MODEL.weights()


def sampler(name: str, *, seed: int = 0, rank: int = 0, batch: int = 7, rows: int = 40) -> Sampler:
    shard = Shard(*MODEL.rows(0, rows, W_STAR))
    return SAMPLINGS[name](seed, rank, batch, shard, MODEL, W_STAR)


def taken(one: Sampler, iterations: int) -> NDArray[np.int64]:
    """The row numbers of the batches of the first iterations, one after the other."""
    return np.concatenate([one.draw(iteration)[2] for iteration in range(iterations)])


@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_batch_has_its_size_and_its_rows_are_there(name: str) -> None:
    x, y, rows = sampler(name).draw(0)
    assert rows.shape == (7,)
    assert rows.dtype == np.int64
    assert 0 <= rows.min() <= rows.max() < len(x) == len(y)
    assert (x.dtype, y.dtype) == (np.float32, np.float64)
    assert x.flags.c_contiguous


@pytest.mark.parametrize("name", SAMPLINGS)
def test_the_samples_of_an_iteration_do_not_depend_on_those_asked_for_before(name: str) -> None:
    in_order = [tuple(part.copy() for part in sampler_.draw(t)) for sampler_ in [sampler(name)] for t in range(600)]
    jumping = sampler(name)
    for iteration in [599, 0, 255, 256, 5, 257, 511, 512, 4, 3]:
        for alone, before in zip(jumping.draw(iteration), in_order[iteration], strict=True):
            assert alone.tobytes() == before.tobytes()


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("other", [{"seed": 1}, {"rank": 1}])
def test_other_seeds_and_ranks_take_other_samples(name: str, other: dict[str, int]) -> None:
    def samples(one: Sampler, iteration: int) -> bytes:
        x, _, rows = one.draw(iteration)
        return x[rows].tobytes()

    here, there = sampler(name), sampler(name, **other)  # type: ignore[arg-type]
    batches = [samples(one, iteration) for one in (here, there) for iteration in range(50)]
    assert len(set(batches)) == 100


def test_with_replacement_every_row_is_as_likely_as_any_other() -> None:
    # Pearson's statistic over 40 rows has mean 39 and variance 78; beyond 86 with probability 2e-5.
    counts = np.bincount(taken(sampler("with_replacement"), 4000), minlength=40)
    expected = 4000 * 7 / 40
    assert len(counts) == 40
    assert np.sum((counts - expected) ** 2) / expected < 86


def test_with_replacement_samples_are_independent() -> None:
    # Two of a batch are equal with probability 1/40, and so are two of neighbouring batches: |z| < 4.5, fails
    # with probability 7e-6 each.
    rows = taken(sampler("with_replacement"), 4000).reshape(4000, 7)
    for equal in (rows[:, 0] == rows[:, 1], rows[1:, 3] == rows[:-1, 3]):
        assert abs(equal.mean() - 1 / 40) < 4.5 * np.sqrt(1 / 40 * 39 / 40 / len(equal))


@pytest.mark.parametrize("batch", [1, 7, 39, 40])
def test_reshuffled_every_row_is_taken_once_an_epoch(batch: int) -> None:
    rows = taken(sampler("reshuffled", batch=batch), 5 * 40)
    for epoch in range(len(rows) // 40):
        assert sorted(rows[40 * epoch : 40 * epoch + 40]) == list(range(40))


def test_reshuffled_epochs_have_orders_of_their_own() -> None:
    epochs = taken(sampler("reshuffled", batch=40), 100)
    orders = {epochs[40 * epoch : 40 * epoch + 40].tobytes() for epoch in range(100)}
    assert len(orders) == 100


def test_reshuffled_every_order_is_as_likely_as_any_other() -> None:
    # Four rows have 24 orders: Pearson's statistic has 23 degrees of freedom, beyond 63 with probability 1.4e-5.
    epochs = taken(sampler("reshuffled", batch=4, rows=4), 4800).reshape(-1, 4)
    _, counts = np.unique(epochs, axis=0, return_counts=True)
    assert len(counts) == 24
    assert np.sum((counts - 200) ** 2) / 200 < 63


def test_fresh_samples_are_of_the_model_and_none_is_taken_twice() -> None:
    one = sampler("fresh")
    drawn = []
    for iteration in range(200):
        x, y, rows = one.draw(iteration)
        assert sorted(rows) == list(range(7)) == list(range(len(x)))
        np.testing.assert_allclose(y, np.maximum(x.astype(np.float64) @ W_STAR, 0), rtol=0, atol=1e-14)
        drawn += [row.tobytes() for row in x]
    shard = {row.tobytes() for row in MODEL.rows(0, 40)[0]}
    assert len(set(drawn)) == 1400
    assert not shard & set(drawn)


@pytest.mark.parametrize("name", ["with_replacement", "reshuffled"])
def test_batches_are_taken_from_the_shard_itself(name: str) -> None:
    shard = Shard(*MODEL.rows(0, 40))
    x, y, _ = SAMPLINGS[name](0, 0, 7, shard, MODEL, W_STAR).draw(3)
    assert x is shard.x
    assert y is shard.y


@pytest.mark.parametrize("batch", [1, 3, 7, 100, 1001])
@pytest.mark.parametrize("piece", [1, 2, 5, 30, 2**17])
@pytest.mark.parametrize("rows", [1, 40, 1000, 2**20 + 7])
def test_rows_drawn_in_pieces_are_those_that_are_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch, batch: int, piece: int, rows: int
) -> None:
    monkeypatch.setattr(sampling, "_PIECE_VALUES", piece * batch)
    shard = Shard(np.empty((rows, 0), np.float32), np.empty(rows))
    one = SAMPLINGS["with_replacement"](3, 1, batch, shard, None, W_STAR)
    for part, iterations in enumerate([[*range(256)], [7, 8, 30, 29, 255, 0, 100, 101]]):
        stream = streams.generator(streams.key(3, rank=1, iteration=part, purpose="rows"))
        whole = stream.integers(0, rows, (256, batch))
        for iteration in iterations:
            assert one.draw(256 * part + iteration)[2].tobytes() == whole[iteration].tobytes()


def test_a_batch_of_a_million_takes_the_memory_of_a_batch_not_of_hundreds() -> None:
    batch, shard = 10**6, Shard(np.empty((1000, 0), np.float32), np.empty(1000))
    one = SAMPLINGS["with_replacement"](0, 0, batch, shard, None, W_STAR)

    def draw() -> None:
        for iteration in (0, 1, 2, 5, 3, 256):
            assert len(one.draw(iteration)[2]) == batch

    peak, _ = peak_memory(draw)
    assert 8 * batch <= peak < 3 * 8 * batch
