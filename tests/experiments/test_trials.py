"""Trials on a cluster: what a job that was stopped has done already is not done again, and the results are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relufit import records
from relufit.compression.base import Pieces
from relufit.compression.cast import Float64
from relufit.experiments import trials
from relufit.experiments.base import Setting

SPEC = {"compressor": "fp64", "workers": 2, "batch_size": 10, "iterations": 40, "sampling": "with_replacement"}
SETTINGS = [
    Setting("time_to_accuracy", name, {"n": 100, "d": 10}, SPEC, 3, group="all", cluster={"kind": "inprocess"})
    for name in ("one", "other")
]


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Interrupt at the n-th vector that is encoded from now on, as by Ctrl-C."""
    pieces, left = Float64.pieces, [after]

    def stop(self: Float64, vector: np.ndarray, *rest: Any) -> Pieces:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return pieces(self, vector, *rest)

    monkeypatch.setattr(Float64, "pieces", stop)


@pytest.mark.parametrize("after", [150, 300, 500])
def test_a_job_that_was_interrupted_goes_on_and_leaves_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    first, second = tmp_path / "a/traces.parquet", tmp_path / "b/traces.parquet"
    told: list[Any] = []
    trials.run(SETTINGS, 7, first, tmp_path)
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(KeyboardInterrupt):
            trials.run(SETTINGS, 7, second, tmp_path)
    kept = second.with_name(".traces.unfinished")
    finished = sorted(path.name for path in kept.glob("*.parquet") if "timing" not in path.name)
    assert len(finished) == (after - 1) // 92, "so many vectors a trial"
    assert [path.suffix for path in kept.iterdir() if "parquet" not in path.name] == [".checkpoint"]
    written = {path: path.stat().st_mtime_ns for path in kept.glob("*.parquet")}
    spied: list[Path] = []
    write = records.write

    def spy(path: Path, *rest: Any) -> None:
        spied.append(Path(path))
        write(path, *rest)

    monkeypatch.setattr(records, "write", spy)
    trials.run(SETTINGS, 7, second, tmp_path, lambda *news: told.append(news))
    assert not set(written) & set(spied), "a finished trial was run again"
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in sorted(second.parent.iterdir())] == ["traces.parquet", "traces.timing.parquet"]


def test_what_is_kept_of_other_settings_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a/traces.parquet", tmp_path / "b/traces.parquet"
    trials.run(SETTINGS, 8, first, tmp_path)
    with monkeypatch.context() as patch:
        interrupt(patch, 200)
        with pytest.raises(KeyboardInterrupt):
            trials.run(SETTINGS, 7, second, tmp_path)
    trials.run(SETTINGS, 8, second, tmp_path)
    assert first.read_bytes() == second.read_bytes()
