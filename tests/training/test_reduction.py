"""The sum at its owner against decoding and adding one payload after the other, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from relufit import streams
from relufit.compression import make_compressor
from relufit.compression.base import Pieces, joined
from relufit.errors import PayloadError
from relufit.exchange import find_exchange
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training import TrainingSpec
from relufit.training.reduction import Reduction
from relufit.training.spec import Plan, make_plan

D, RANKS = 47, 6
COMPRESSORS: list[Any] = [
    "fp64",
    "fp32",
    "fp16",
    {"name": "qsgd", "levels": 4},
    {"name": "qsgd", "levels": 4, "coding": "rans"},
]


def plan_of(compressor: Any, exchange: str, ranks: int = RANKS, d: int = D) -> Plan:
    model = PlantedModel(20 * ranks, d, 1)
    how: dict[str, Any] = {"compressor": compressor, "exchange": exchange, "workers": ranks}
    return make_plan(TrainingSpec(model, **how, batch_size=ranks, step_size=0.5), open_rows(model))


def gradient(size: int, rank: int, iteration: int) -> NDArray[np.float64]:
    return np.random.default_rng([rank, iteration]).standard_normal(size)


@pytest.mark.parametrize("exchange", ["all_reduce", "requantize"])
@pytest.mark.parametrize("compressor", COMPRESSORS, ids=str)
def test_a_sum_has_the_bits_of_adding_one_after_the_other(compressor: Any, exchange: str) -> None:
    plan = plan_of(compressor, exchange)
    parts = find_exchange(exchange).parts(D, RANKS)
    assert parts
    owner = len(parts) - 1
    size = parts[owner][1] - parts[owner][0]
    reduction = Reduction(plan, owner)
    for iteration in range(3):
        reduction.start()
        total = np.zeros(size)
        for rank in range(RANKS):
            payload: Pieces = plan.compressor.pieces(gradient(size, rank, iteration), rank)
            total = total + plan.compressor.decode(bytes(joined(payload)), size)
            reduction.add(payload)
        key = streams.key(plan.spec.seed, rank=owner, iteration=iteration, purpose="dither of the sum")
        assert bytes(joined(reduction.encode(iteration))) == plan.compressor.encode(total, key)


@pytest.mark.parametrize("damaged", range(RANKS))
def test_a_damaged_payload_is_refused_and_the_next_sum_is_not_concerned(damaged: int) -> None:
    plan = plan_of("fp32", "requantize")
    reduction, compressor = Reduction(plan, 0), make_compressor("fp32")
    payloads = [compressor.encode(gradient(D, rank, 0), 0) for rank in range(RANKS)]
    wrong = [*payloads]
    wrong[damaged] = payloads[damaged][:-4] + b"\xff" * 4
    reduction.start()
    with pytest.raises(PayloadError):
        for payload in wrong:
            reduction.add(payload)
    reduction.start()
    for payload in payloads:
        reduction.add(payload)
    total = np.zeros(D)
    for payload in payloads:
        total = total + compressor.decode(payload, D)
    assert bytes(joined(reduction.encode(0))) == compressor.encode(total, 0)


def test_the_sum_of_an_empty_part_has_no_bytes() -> None:
    plan = plan_of("fp32", "all_reduce", ranks=4, d=2)
    parts = find_exchange("all_reduce").parts(2, 4)
    assert parts
    owner = next(number for number, (start, stop) in enumerate(parts) if start == stop)
    reduction = Reduction(plan, owner)
    reduction.start()
    for _ in range(4):
        reduction.add(b"")
    assert reduction.encode(0) == b""
