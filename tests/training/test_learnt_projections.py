"""Runs whose projection is learnt: bytes, iterations, what comes of a projection that stays, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relufit import theory
from relufit.errors import ConfigError, DataError
from relufit.exchange import EXCHANGES, find_exchange
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training import Trace, TrainingSpec, checkpoint, train
from relufit.training.loop import Run
from relufit.training.serial import _InProcess
from relufit.training.spec import make_plan

MODEL = PlantedModel(1280, 128, 3)
#: A quarter of the coordinates, between iterations in fp32.
GRADIVEQ = {"name": "gradiveq", "components": 4, "slice_size": 16}


def spec(exchange: str = "all_gather", compressor: Any = GRADIVEQ, **values: Any) -> TrainingSpec:
    settings = {"workers": 2, "batch_size": 16, "iterations": 3000, "tolerance": 1e-4, "step_size": 0.1, **values}
    return TrainingSpec(MODEL, compressor, exchange=exchange, **settings)


def iterations(trace: Trace) -> int:
    return int(trace.table["iteration"].iloc[-1])


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_with_error_feedback_iterations_are_those_of_sgd_and_bytes_are_counted(exchange: str) -> None:
    trace, exact = train(spec(exchange, error_feedback=True)), train(spec(exchange, "fp32"))
    assert trace.outcome == exact.outcome == "converged"
    assert iterations(trace) < 1.1 * iterations(exact)
    parts = find_exchange(exchange).parts(128, 2)
    sizes = [stop - start for start, stop in parts] if parts else [128]
    whole, few = sum(4 + 4 * size for size in sizes), sum(4 + 4 * size // 4 for size in sizes)
    sent = trace.table["uplink_bytes"].diff().iloc[1:].to_numpy()
    assert sent[::8].tolist() == [sent[0]] * len(sent[::8])
    others = np.delete(sent, np.s_[::8])
    assert set(others * whole / few) == {sent[0]}
    assert sent[0] == exact.table["uplink_bytes"].diff().iloc[1]


def predicted(d: int, m: int, step: float, share: float, period: int, spectrum: tuple[Any, ...]) -> int:
    """Iterations to a relative error of 1e-4 by second moments, for a P of no direction in particular.

    Without compression ``h~ = h - e`` moves as SGD does. In the span of P the residual e is zero; out of it e takes in
    the whole step, and is sent when the period is over. `inside` and `outside` are ``E|h~|^2``, X is ``E<h~, e>``.
    """
    eigenvalues, weights, start = spectrum
    inside, outside, x, e = share * start, (1 - share) * start, 0 * start, 0 * start
    move = step * eigenvalues
    for iteration in range(10_000):
        h = inside + outside + 2 * x + e
        if h.sum() < 1e-8:
            return iteration
        squares = (1 - 1 / m) * eigenvalues**2 * h + 2 * d / m * (eigenvalues @ h) * weights * eigenvalues
        noise, left_out = step**2 * squares, (1 - share) * step**2 * squares
        if iteration % period == 0:
            all_of_it = inside + outside - 2 * move * (inside + outside + x) + noise
            inside, outside, x, e = share * all_of_it, (1 - share) * all_of_it, 0 * x, 0 * e
        else:
            inside = inside - 2 * move * inside + noise - left_out
            outside, x, e = (
                outside - 2 * move * (outside + x) + left_out,
                x + move * (outside - e) - left_out,
                e + 2 * move * (x + e) + left_out,
            )
    return 0


@pytest.mark.parametrize("exchange", ["all_gather", "all_reduce"])
@pytest.mark.parametrize("period", [4, 8])
def test_iterations_follow_from_the_second_moments_in_and_out_of_the_span(period: int, exchange: str) -> None:
    d, m = 512, 40
    step, took, due = theory.optimal_step(d, m), [], []
    for seed in range(3):
        model = PlantedModel(10 * d, d, seed)
        w_star = model.weights()
        spectrum = theory.instance_spectrum(*model.rows(0, model.n, w_star), w_star)
        due.append(predicted(d, m, step, 0.25, period, spectrum))
        asked = spec(exchange, {**GRADIVEQ, "period": period}, batch_size=m, step_size=step, error_feedback=True)
        took.append(iterations(train(replace(asked, dataset=model))))
    assert sum(took) == pytest.approx(sum(due), rel=0.06)


@pytest.mark.parametrize("feedback", [False, True])
def test_a_projection_that_stays_leaves_the_rest_of_the_weights_where_it_was(feedback: bool) -> None:
    stays = {**GRADIVEQ, "period": 10_000}
    errors = [train(spec(compressor=stays, error_feedback=feedback, iterations=n)).table for n in (1000, 3000)]
    first, last = (table["relative_error"].iloc[-1] for table in errors)
    assert last == pytest.approx(first, rel=0.1)
    assert last > 0.1


def test_without_error_feedback_it_takes_more_bytes_than_fp32() -> None:
    trace, exact = train(spec()), train(spec(compressor="fp32"))
    assert trace.outcome == "converged"
    assert trace.table["uplink_bytes"].iloc[-1] > exact.table["uplink_bytes"].iloc[-1]


def test_what_theory_does_not_know_and_delays_are_refused() -> None:
    with pytest.raises(ConfigError, match="delay") as caught:
        spec(delay=1)
    assert caught.value.where == "delay"
    for feedback, why in ((True, "how much of a vector it keeps"), (False, "biased")):
        with pytest.raises(ConfigError, match=why):
            make_plan(spec(step_size="optimal", error_feedback=feedback), open_rows(MODEL))


@pytest.mark.parametrize("step", [20.0, 1e300])
def test_a_run_that_diverges_ends_and_is_kept(step: float, tmp_path: Path) -> None:
    def refuse(trace: Trace) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "run.checkpoint"
    with pytest.raises(OSError, match="No space"):
        train(spec(step_size=step), checkpoint=path, save=refuse)
    assert train(spec(step_size=step), checkpoint=path).outcome == "diverged"


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_checkpoint_of_what_cannot_be_learnt_is_refused(wrong: float, tmp_path: Path) -> None:
    rows = open_rows(MODEL)
    plan = make_plan(spec(iterations=9), rows)
    run, made_by = Run(plan, rows.w_star), checkpoint.identity(plan, rows.digest)
    run.advance(_InProcess(plan, rows))
    good = run.snapshot()
    assert good.learnt.shape == (16**2,)
    for learnt in (good.learnt, np.full(16**2, wrong)):
        checkpoint.write(tmp_path / "run.checkpoint", replace(good, learnt=learnt), made_by)
        if learnt is good.learnt:
            read = checkpoint.read(tmp_path / "run.checkpoint", made_by)
            assert read is not None
            assert read.learnt.tobytes() == good.learnt.tobytes()
    with pytest.raises(DataError, match="makes no sense"):
        checkpoint.read(tmp_path / "run.checkpoint", made_by)
