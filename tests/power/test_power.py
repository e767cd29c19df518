"""The power of the verdicts: a planted defect is noticed, and the right code is not refuted more often than stated."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import method_defects
import pytest
import recorded
from defects import DEFECTS
from oracles import ORACLES
from runs import CONFIG, EXPERIMENTS, HERE, Undamaged, configuration, confirmed, judge, simulate, simulate_again
from scipy.stats import binom

from relufit.claims.verdict import REFUTED

SMALL = HERE / "small.yaml"
SEEDS = range(100, 102)
#: What each experiment states at most for the probability that it refutes what is true, and that of this test.
LEVEL, THIS_TEST = 0.01, 1e-4


def test_wrong_numbers_of_copies_are_planted_in_every_exchange() -> None:
    assert {exchange for exchange, _ in recorded.COPIES.values()} == {"master", "relay", "all_gather"}
    assert set(recorded.COPIES) <= set(DEFECTS)


def test_defects_of_other_gradients_of_delays_and_of_the_mean_are_planted() -> None:
    planted = {name for name, defect in DEFECTS.items() if defect.noticed_by == "reference_methods"}
    assert planted == {
        name for name, value in vars(method_defects).items() if getattr(value, "__module__", "") == "method_defects"
    }


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_noticed(
    defect: str, undamaged: Callable[[str], Undamaged], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, name, beginnings = DEFECTS[defect]
    if name in ORACLES:  # which the right code agrees with, see test_columns.py
        plant(monkeypatch)
        with pytest.raises(AssertionError):
            ORACLES[name]()
        return
    right = undamaged(name)
    plant(monkeypatch)
    traces = simulate_again(name, CONFIG, right.traces, beginnings)
    assert right.confirmed - confirmed(judge(name, CONFIG, traces)), f"{name} does not notice"


def _refuted(seed: int) -> list[str]:
    config = configuration(seed, SMALL)
    return [
        name
        for name in EXPERIMENTS
        if any(verdict.verdict == REFUTED for verdict in judge(name, config, simulate(name, config)))
    ]


@pytest.mark.timeout(3600)
def test_the_right_code_is_refuted_no_more_often_than_stated() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        refuted = [(seed, name) for seed, names in zip(SEEDS, pool.map(_refuted, SEEDS), strict=True) for name in names]
    judged = len(SEEDS) * len(EXPERIMENTS)
    assert len(refuted) <= binom.ppf(1 - THIS_TEST, judged, LEVEL), refuted
