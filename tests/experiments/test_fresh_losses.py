"""Losses of fresh samples near w*: the expectation, and verdicts on made traces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_traces import run

from relufit import planted, theory
from relufit.claims.trace_files import Record
from relufit.claims.verdict import CONFIRMED, INCONCLUSIVE, REFUTED, Verdict
from relufit.experiments.batch_scaling.fresh_losses import fresh_losses, loss_ratios
from relufit.experiments.framework.base import Setting

D, TOLERANCE, BAND = 100, 1e-6, 1e-2


def _setting(m: int) -> Setting:
    spec = {"batch_size": m, "iterations": 6000, "tolerance": TOLERANCE, "record_every": 5}
    return Setting("made", f"m{m}", {"n": 1000, "d": D}, spec, 8)


def _traces(setting: Setting, **loss: Any) -> Record:
    m = setting.spec["batch_size"]
    made = run(setting, 1 - m / (m + 2 * D + 3), 0.2, np.random.default_rng(m))
    return Record(made.table.assign(**loss), made.about)


def _verdict(**loss: Any) -> Verdict:
    settings = [_setting(m) for m in (10, 50)]
    return fresh_losses(settings, {setting.name: _traces(setting, **loss) for setting in settings}, BAND)


@pytest.mark.parametrize("error", [1e-3, 1e-2])
def test_near_the_planted_weights_the_loss_is_a_quarter_of_the_squared_error(error: float) -> None:
    # Perpendicular to w*, where it is farthest from that.
    loss = theory.population_loss(1 + error**2, 1.0)
    assert loss == pytest.approx(error**2 / 4, rel=0.22 * error)
    assert loss < error**2 / 4


def test_the_loss_of_many_samples_is_its_expectation() -> None:
    x, y, w_star = planted.generate(40_000, 5, 7)
    step = np.array([1.0, 2.0, -1.0, 0.5, 0.0]) * 1e-4
    ratio = planted.loss(w_star + step, x, y) / (step @ step / 4)
    # The variance of a sample's is 5: beyond five standard errors with probability 6e-7.
    assert abs(ratio - 1) < 5 * np.sqrt(5 / 40_000)


def test_losses_that_are_right_are_confirmed() -> None:
    verdict = _verdict()
    assert verdict.verdict == CONFIRMED
    assert verdict.low <= 1 <= verdict.high


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_losses_that_are_wrong_are_refuted(factor: float) -> None:
    assert _verdict(loss=lambda table: factor * table["loss"]).verdict == REFUTED


def test_losses_of_one_mini_batch_that_are_wrong_are_refuted() -> None:
    settings = [_setting(m) for m in (10, 50)]
    results = {"m10": _traces(settings[0]), "m50": _traces(settings[1], loss=lambda table: 2 * table["loss"])}
    verdict = fresh_losses(settings, results, BAND)
    assert verdict.verdict == REFUTED
    assert verdict.setting.startswith("m = 50")


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_losses_that_are_no_numbers_leave_the_verdict_open(loss: float) -> None:
    assert _verdict(loss=loss).verdict == INCONCLUSIVE


def test_only_rows_near_the_planted_weights_and_before_the_end_count() -> None:
    table = pd.DataFrame(
        {
            "trial": [0] * 5 + [1] * 2,
            "iteration": [0, 2, 4, 6, 7, 0, 2],
            "relative_error": [0.1, 8e-3, 4e-3, 2e-3, 9e-4, 5e-3, 4e-3],
            "loss": [np.nan, 1.0, 3.2e-5, 1.6e-5, 1.0, np.nan, 1.25e-5],
        }
    )
    # Half of the squared error is left by each step.
    expected = [2 * 4 * 3.2e-5 / 8e-3**2, 2 * 4 * 1.6e-5 / 4e-3**2, 2 * 4 * 1.25e-5 / 5e-3**2]
    assert loss_ratios(table, 0.5, 3e-3, 1e-2) == pytest.approx(expected)
