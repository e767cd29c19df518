"""Trials on a cluster: what a job that was stopped has done already is not done again, and the results are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relufit.claims import trace_files
from relufit.compression.base import Pieces
from relufit.compression.cast import Float64
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting

SPEC: dict[str, Any] = {
    "compressor": "fp64",
    "workers": 2,
    "batch_size": 10,
    "iterations": 40,
    "sampling": "with_replacement",
}
#: Vectors that the ranks of a trial encode.
VECTORS = SPEC["workers"] * SPEC["iterations"]
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


@pytest.mark.parametrize("after", [150, 300, 450])
def test_a_job_that_was_interrupted_goes_on_and_leaves_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    first, second = tmp_path / "a/traces.parquet", tmp_path / "b/traces.parquet"
    updates: list[Any] = []
    trials.run(SETTINGS, 7, first, tmp_path)
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(KeyboardInterrupt):
            trials.run(SETTINGS, 7, second, tmp_path)
    kept = second.with_name(".traces.unfinished")
    finished = sorted(path.name for path in kept.glob("*.parquet") if "timing" not in path.name)
    assert len(finished) == (after - 1) // VECTORS
    assert sorted(path.suffix for path in kept.iterdir() if "parquet" not in path.name) == ["", ".checkpoint"]
    written = {path: path.stat().st_mtime_ns for path in kept.glob("*.parquet")}
    spied: list[Path] = []
    write = trace_files.write_pair

    def spy(path: Path, *rest: Any) -> None:
        spied.append(Path(path))
        write(path, *rest)

    monkeypatch.setattr(trace_files, "write_pair", spy)
    trials.run(SETTINGS, 7, second, tmp_path, lambda *news: updates.append(news))
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


def test_what_was_kept_of_an_earlier_configuration_is_removed_and_a_foreign_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "traces.parquet"
    with monkeypatch.context() as patch:
        interrupt(patch, 200)
        with pytest.raises(KeyboardInterrupt):
            trials.run(SETTINGS, 7, path, tmp_path)
    kept = tmp_path / ".traces.unfinished"
    for name in ("thesis.tex", "other-0.parquet"):
        (kept / name).touch()
    assert len(list(kept.iterdir())) > 3
    trials.run([replace(SETTINGS[1], name="third")], 7, path, tmp_path)
    assert sorted(path.name for path in kept.iterdir()) == ["other-0.parquet", "thesis.tex"]


@pytest.mark.parametrize("trial", [0, 1, 5])
def test_a_trial_that_could_not_be_kept_has_its_checkpoint_and_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: int
) -> None:
    first, second = tmp_path / "a/traces.parquet", tmp_path / "b/traces.parquet"
    trials.run(SETTINGS, 7, first, tmp_path)
    write, left = trace_files.write_pair, [trial]

    def stop(path: Path, *rest: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(path, *rest)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(trace_files, "write_pair", stop)
        trials.run(SETTINGS, 7, second, tmp_path)
    kept = second.with_name(".traces.unfinished")
    assert len(list(kept.glob("*.checkpoint"))) == 1
    # Vectors of the trials that are still to run, and some more, fewer than those of a trial.
    interrupt(monkeypatch, VECTORS * (len(SETTINGS) * 3 - trial - 1) + 40)
    trials.run(SETTINGS, 7, second, tmp_path)
    assert first.read_bytes() == second.read_bytes()
    assert not kept.exists()


def test_a_kept_trial_that_is_damaged_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a/traces.parquet", tmp_path / "b/traces.parquet"
    trials.run(SETTINGS, 7, first, tmp_path)
    with monkeypatch.context() as patch:
        interrupt(patch, 300)
        with pytest.raises(KeyboardInterrupt):
            trials.run(SETTINGS, 7, second, tmp_path)
    kept = sorted(second.with_name(".traces.unfinished").glob("*.parquet"))
    assert len(kept) > 2
    for path in kept[:2]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    trials.run(SETTINGS, 7, second, tmp_path)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in second.parent.iterdir()) == ["traces.parquet", "traces.timing.parquet"]
