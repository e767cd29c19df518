"""The mean of the weights: what it is, and what a checkpoint holds of it; what it survives is in `test_options`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from traces import assert_same

from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel, relative_error
from relufit.planted.dataset import open_rows
from relufit.training import Trace, TrainingSpec, checkpoint, train
from relufit.training.checkpoint import CheckpointManager
from relufit.training.loop import Run
from relufit.training.serial import _InProcess
from relufit.training.spec import make_plan

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
QSGD = {"name": "qsgd", "levels": 4}


def spec(exchange: str = "all_gather", **values: Any) -> TrainingSpec:
    settings = {"workers": 3, "batch_size": 20, "iterations": 40, "record_every": 3, "average_from": 7, **values}
    return TrainingSpec(MODEL, **{"compressor": QSGD, "exchange": exchange, **settings})


@pytest.mark.parametrize("first", [0, 1, 7, 40])
def test_the_mean_is_that_of_the_weights_from_then_on(first: int) -> None:
    trace = train(spec(average_from=first))
    weights = [train(spec(average_from=None, iterations=count)).weights for count in range(41)]
    for _, row in trace.table.iterrows():
        at = int(row["iteration"])
        if at < first:
            assert math.isnan(row["average_error"])
        else:
            mean = np.mean(weights[first : at + 1], axis=0)
            assert row["average_error"] == pytest.approx(relative_error(mean, MODEL.weights()), rel=1e-12)
    assert trace.average is not None
    np.testing.assert_allclose(trace.average, np.mean(weights[first:], axis=0), rtol=0, atol=1e-14)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_rest_of_a_run_is_as_it_is_without_a_mean(exchange: str) -> None:
    with_mean, without = train(spec(exchange)), train(spec(exchange, average_from=None))
    assert with_mean.table.drop(columns="average_error").equals(without.table)
    assert with_mean.weights.tobytes() == without.weights.tobytes()
    assert without.average is None
    assert set(with_mean.summary) - set(without.summary) == {"average_sha256"}
    assert set(with_mean.summary["spec"]) - set(without.summary["spec"]) == {"average_from"}


def test_a_run_that_ends_before_the_mean_begins_has_none() -> None:
    trace = train(spec(tolerance=0.9, average_from=40))
    assert trace.outcome == "converged"
    assert trace.average is None
    assert "average_sha256" not in trace.summary
    assert trace.table["average_error"].isna().all()


def test_a_run_that_diverges_ends_as_it_does_without_a_mean() -> None:
    for step in (20.0, 1e300):
        trace = train(spec(compressor="fp64", step_size=step, average_from=0))
        assert trace.outcome == train(spec(compressor="fp64", step_size=step, average_from=None)).outcome == "diverged"


def test_the_checkpoint_of_a_run_that_has_ended_holds_its_mean(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    oracle = train(spec())

    def refuse(trace: Trace) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        train(spec(), checkpoint=path, save=refuse)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relufit.training.serial._InProcess", None)  # nothing is computed again
        assert_same(train(spec(), checkpoint=path), oracle)


def test_checkpoints_of_runs_without_a_mean_are_as_they_were(tmp_path: Path) -> None:
    rows, sizes = open_rows(MODEL), []
    for number, first in enumerate((None, 7)):
        plan = make_plan(spec(average_from=first), rows)
        manager, run = CheckpointManager(tmp_path / f"{number}.checkpoint", plan, rows.digest), Run(plan, rows.w_star)
        run.advance(_InProcess(plan, rows))
        checkpoint.write(manager.path, run.snapshot(), manager.made_by)
        content = manager.path.read_bytes()[len(b"relufit checkpoint\n") + 32 :]
        sizes.append(len(content) - 8 - int.from_bytes(content[:8], "little"))
    recorded = 2 + 40 // 3
    assert sizes[0] == 8 * (12 + recorded * (3 + 2 + 8))
    assert sizes[1] == sizes[0] + 8 * (12 + recorded)
