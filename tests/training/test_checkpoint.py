"""Checkpoints: a run that was stopped goes on as if it had not been, and a file that is not its own is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from traces import assert_same

from relufit import planted
from relufit.compression.base import Pieces
from relufit.compression.cast import Float64
from relufit.errors import ConfigError, DataError
from relufit.exchange import EXCHANGES
from relufit.files.atomic import replacing
from relufit.planted import PlantedData, PlantedModel, dataset
from relufit.planted.dataset import open_rows, write
from relufit.training import TrainingSpec, checkpoint, train
from relufit.training.checkpoint import CheckpointManager
from relufit.training.loop import Snapshot
from relufit.training.spec import make_plan

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)


class _Interrupted(Float64):
    """Is interrupted at the n-th vector, as by Ctrl-C."""

    left = 10**9

    def pieces(self, vector: np.ndarray, *rest: Any) -> Pieces:
        type(self).left -= 1
        if not type(self).left:
            raise KeyboardInterrupt
        return super().pieces(vector, *rest)


def spec(**values: Any) -> TrainingSpec:
    return TrainingSpec(
        MODEL, **{"compressor": _Interrupted(), "workers": 2, "batch_size": 20, "iterations": 60, **values}
    )


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("at", [1, 2, 3, 54, 119])
def test_an_interrupted_run_goes_on_with_the_same_bits(
    tmp_path: Path, at: int, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, path = spec(record_every=7, exchange=exchange), tmp_path / "run.checkpoint"
    whole = train(asked)
    for stop in (at, 2):
        monkeypatch.setattr(_Interrupted, "left", stop)
        with pytest.raises(KeyboardInterrupt):
            train(asked, checkpoint=path)
    assert path.exists()
    monkeypatch.setattr(_Interrupted, "left", 10**9)
    trace = train(asked, checkpoint=path)
    assert_same(trace, whole)
    assert (np.diff(trace.timing["elapsed"]) >= 0).all()
    assert not list(tmp_path.iterdir())


def test_a_run_from_another_start_goes_on_where_it_was_and_not_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, path = spec(initial_weights="random x 10"), tmp_path / "run.checkpoint"
    whole = train(asked)
    monkeypatch.setattr(_Interrupted, "left", 60)
    with pytest.raises(KeyboardInterrupt):
        train(asked, checkpoint=path)
    monkeypatch.setattr(_Interrupted, "left", 10**9)
    assert_same(train(asked, checkpoint=path), whole)


def test_a_checkpoint_is_kept_while_a_run_goes_on(tmp_path: Path) -> None:
    path, seen = tmp_path / "run.checkpoint", list[int]()

    class Spy(_Interrupted):
        def pieces(self, vector: np.ndarray, *rest: Any) -> Pieces:
            if path.exists():
                seen.append(_header(path)["iteration"])
            return super().pieces(vector, *rest)

    train(spec(compressor=Spy()), checkpoint=path, checkpoint_seconds=0)
    assert sorted(set(seen)) == list(range(1, 60))
    assert not path.exists()


def _header(path: Path) -> dict[str, Any]:
    content = path.read_bytes()[len(b"relufit checkpoint\n") + 32 :]
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint of a run that was interrupted."""
    path = tmp_path / "run.checkpoint"
    monkeypatch.setattr(_Interrupted, "left", 50)
    with pytest.raises(KeyboardInterrupt):
        train(spec(), checkpoint=path)
    monkeypatch.setattr(_Interrupted, "left", 10**9)
    return path


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit of the weights": (lambda path: _flip(path, -900), "damaged: its checksum"),
    "a bit of the header": (lambda path: _flip(path, 80), "damaged: its checksum"),
    "a bit of the checksum": (lambda path: _flip(path, 30), "damaged: its checksum"),
    "a bit of the first line": (lambda path: _flip(path, 3), "is no checkpoint"),
    "cut": (lambda path: os.truncate(path, 500), "damaged: its checksum"),
    "empty": (lambda path: os.truncate(path, 0), "is no checkpoint"),
    "another file": (lambda path: path.write_text("weights"), "is no checkpoint"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_left_as_it_is(stopped: Path, damage: str) -> None:
    harm, says = DAMAGES[damage]
    harm(stopped)
    before = stopped.read_bytes()
    with pytest.raises(DataError, match=says) as caught:
        train(spec(), checkpoint=stopped)
    assert caught.value.where == str(stopped)
    assert "delete it" in caught.value.remedy
    assert before == stopped.read_bytes()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"seed": 1}, "another specification"),
        ({"initial_weights": "random"}, "another specification"),
        ({"iterations": 61}, "another specification"),
        ({"workers": 4}, "another specification"),
        ({"compressor": {"name": "qsgd", "levels": 4}}, "another specification"),
        ({"exchange": "relay"}, "another specification"),
        ({"dataset": replace(MODEL, seed=4)}, "another data set"),
        ({"dataset": replace(MODEL, n=211)}, "another n"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(stopped: Path, values: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        train(replace(spec(), **values), checkpoint=stopped)


def _arrays(changed: int | None = None) -> PlantedData:
    """The rows of the recipe in memory, the last bit of one number changed."""
    arrays = planted.generate(**asdict(MODEL))
    if changed is not None:
        arrays[changed].reshape(-1).view(np.uint8)[-8] ^= 1
    return arrays


#: Rows in pairs of the same n, d and planted weights: what a checkpoint was made with, and what it is shown to.
NAMESAKES: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "other inputs": (lambda _: MODEL, lambda _: replace(MODEL, inputs="uniform")),
    "other noise": (lambda _: MODEL, lambda _: replace(MODEL, noise_std=0.051)),
    "other x": (lambda _: _arrays(), lambda _: _arrays(0)),
    "other y": (lambda _: _arrays(), lambda _: _arrays(1)),
    "other inputs on disk": (
        lambda folder: _on_disk(folder / "one", MODEL),
        lambda folder: _on_disk(folder / "other", replace(MODEL, inputs="uniform")),
    ),
    "other noise on disk": (
        lambda folder: _on_disk(folder / "one", MODEL),
        lambda folder: _on_disk(folder / "other", replace(MODEL, noise_std=0.051)),
    ),
}


def _on_disk(path: Path, model: PlantedModel) -> Path:
    dataset.write(model, path, shards=2)
    return path


@pytest.mark.parametrize("engine", ["serial", "distributed"])
@pytest.mark.parametrize("rows", NAMESAKES)
def test_the_checkpoint_of_other_rows_is_refused_though_their_weights_are_the_same(
    tmp_path: Path, rows: str, engine: str, client: Client
) -> None:
    mine, other = (kind(tmp_path) for kind in NAMESAKES[rows])
    path, own = tmp_path / "run.checkpoint", open_rows(mine)
    asked = TrainingSpec(mine, workers=2, batch_size=20, iterations=60)
    manager = CheckpointManager(path, make_plan(asked, own), own.digest)
    manager.write(Snapshot(7, own.w_star + 0.1, 0.3, 0, 0, [(0, 0.3, 0.0, 0, 0)], [(0, *[0.0] * 7)]))
    assert own.w_star.tobytes() == open_rows(other).w_star.tobytes()
    with pytest.raises(DataError, match="belongs to another run: another data set"):
        train(replace(asked, dataset=other), client if engine == "distributed" else None, checkpoint=path)
    train(asked, client if engine == "distributed" else None, checkpoint=path)
    assert not path.exists(), "the checkpoint was of this run"


def test_the_checkpoint_of_other_code_or_another_version_is_refused(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "code_digest", lambda stage: "other")
    with pytest.raises(DataError, match="another version of the code"):
        train(spec(), checkpoint=stopped)
    monkeypatch.undo()
    monkeypatch.setattr(checkpoint, "_VERSION", 4)
    with pytest.raises(DataError, match="is of version 3, not 4"):
        train(spec(), checkpoint=stopped)


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = open_rows(MODEL)
    manager = CheckpointManager(tmp_path / "deep/run.checkpoint", make_plan(spec(), rows), rows.digest)
    weights = np.array([0.1, -0.0, 5e-324, 1.7e308, *np.linspace(-1, 1, 8)])
    table = [(0, 0.3, float("nan"), 2**60, 0), (7, 1e-17, 0.25, 2**60 + 1, 2**53 + 1)]
    seconds = [(0, 0.0, *[0.0] * 6), (7, 0.123456789, *[1e-9] * 6)]
    manager.write(Snapshot(9, weights, 0.1 + 0.2, 2**60 + 3, 2**53 + 5, table, seconds))
    back = manager.load()
    assert back is not None
    assert (back.iteration, back.first_error, back.uplink, back.downlink) == (9, 0.1 + 0.2, 2**60 + 3, 2**53 + 5)
    assert back.weights.tobytes() == weights.tobytes()
    assert repr(back.rows) == repr(table)
    assert back.seconds == seconds


def test_a_disk_that_is_full_does_not_end_the_run_and_keeps_the_last_checkpoint(
    stopped: Path, run_python: Callable[..., str]
) -> None:
    program = """
import resource, sys
from pathlib import Path
from relufit.planted.dataset import open_rows
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec
from relufit.training.checkpoint import CheckpointManager, Observer
from relufit.training.loop import Run
from relufit.training.serial import _InProcess
from relufit.training.spec import make_plan

spec = TrainingSpec(PlantedModel(210, 12, 3), workers=2, batch_size=20, iterations=60)
rows, path, told = open_rows(spec.dataset), Path(sys.argv[1]), []
plan = make_plan(spec, rows)
keeper = CheckpointManager(path, plan, rows.digest, 0)
run = Run(plan, rows.w_star)
run.advance(_InProcess(plan, rows))
keeper.write(run.snapshot())
before = path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
again = Run(plan, rows.w_star)
again.advance(_InProcess(plan, rows), Observer(None, keeper, told.append))
assert path.read_bytes() == before
assert [part.name for part in path.parent.iterdir()] == [path.name]
assert again.master.weights.tobytes() == run.master.weights.tobytes()
print(len(told), told[0])
"""
    said = run_python(program, stopped)
    assert said.startswith("1 no checkpoint could be written to ")
    assert "File too large" in said


def test_what_a_killed_process_was_writing_is_swept_away(stopped: Path, killed_writer: Callable[[Path], Path]) -> None:
    assert killed_writer(stopped).exists()
    assert_same(train(spec(), checkpoint=stopped), train(spec()))
    assert not list(stopped.parent.iterdir())


@pytest.mark.parametrize("name", ["*", "data.zarr", "?.part"])
def test_a_checkpoint_of_any_name_removes_nothing_that_somebody_else_is_writing(tmp_path: Path, name: str) -> None:
    (tmp_path / ".mine.0123456789abcdef.part").mkdir()
    (tmp_path / ".mine.0123456789abcdef.part" / "thesis.tex").touch()
    with replacing(tmp_path / "data.zarr", directory=True) as fresh:
        (fresh / "shard").touch()
        train(spec(), checkpoint=tmp_path / name, checkpoint_seconds=0)
        assert (fresh / "shard").exists()
    assert sorted(os.listdir(tmp_path)) == [".mine.0123456789abcdef.part", "data.zarr"]
    assert os.listdir(tmp_path / ".mine.0123456789abcdef.part") == ["thesis.tex"]


def test_a_checkpoint_where_none_can_be_is_refused_before_the_first_iteration(tmp_path: Path) -> None:
    write(MODEL, tmp_path / "data.zarr", shards=2)
    asked = replace(spec(), dataset=tmp_path / "data.zarr")
    for path, says in [
        (tmp_path, "is a folder"),
        (Path("/dev/null"), "is a device or a pipe"),
        (tmp_path / "data.zarr" / "state", "lies inside the data set"),
    ]:
        with pytest.raises(ConfigError, match=says):
            train(asked, checkpoint=path)
    assert os.listdir(tmp_path) == ["data.zarr"]
