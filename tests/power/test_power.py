"""The power of the verdicts: a planted defect is noticed, and the right code is not refuted more often than stated."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from defects import DEFECTS
from runs import EXPERIMENTS, configuration, verdicts
from scipy.stats import binom

from relufit.claims.verdict import CONFIRMED, REFUTED

SEED = 20190119
SMALL = Path(__file__).parent / "small.yaml"
SEEDS = range(100, 120)
#: What each experiment states at most for the probability that it refutes what is true, and that of this test.
LEVEL, THIS_TEST = 0.01, 1e-4


def _confirmed(name: str) -> set[tuple[str, str]]:
    found = verdicts(name, configuration(SEED))
    return {(its.statistic, its.setting) for its in found if its.verdict == CONFIRMED}


@pytest.fixture(scope="module")
def confirmed() -> Callable[[str], set[tuple[str, str]]]:
    """What is confirmed of an experiment without any defect; run when first asked for."""
    known: dict[str, set[tuple[str, str]]] = {}

    def of(name: str) -> set[tuple[str, str]]:
        if name not in known:
            known[name] = _confirmed(name)
        return known[name]

    return of


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_turns_a_verdict(defect: str, confirmed: Callable[[str], set[tuple[str, str]]]) -> None:
    noticed = []
    for name in EXPERIMENTS:
        before = confirmed(name)
        with pytest.MonkeyPatch.context() as patch:
            DEFECTS[defect](patch)
            noticed = sorted(before - _confirmed(name))
        if noticed:
            break
    assert noticed, f"{defect} was not noticed"


def _refuted(seed: int) -> list[str]:
    config = configuration(seed, SMALL)
    return [name for name in EXPERIMENTS if any(its.verdict == REFUTED for its in verdicts(name, config))]


@pytest.mark.timeout(3600)
def test_the_right_code_is_refuted_no_more_often_than_stated() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        refuted = [(seed, name) for seed, names in zip(SEEDS, pool.map(_refuted, SEEDS), strict=True) for name in names]
    judged = len(SEEDS) * len(EXPERIMENTS)
    assert len(refuted) <= binom.ppf(1 - THIS_TEST, judged, LEVEL), refuted
