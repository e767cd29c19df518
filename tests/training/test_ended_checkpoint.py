"""The checkpoint of a run that has ended holds its trace until that is where it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from traces import assert_same

from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.training import Trace, TrainingSpec, serial, train

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)


def spec(**values: Any) -> TrainingSpec:
    return TrainingSpec(**{"dataset": MODEL, "workers": 2, "batch_size": 20, "iterations": 60, **values})


def refuse(trace: Trace) -> None:
    raise OSError(28, "No space left on device")


def replace_file(path: Path) -> None:
    path.write_text("my own")


def lost(asked: TrainingSpec, path: Path, client: Client | None = None) -> Trace:
    """Run to the end, and fail to write the trace."""
    traces: list[Trace] = []
    with pytest.raises(OSError, match="No space left"):
        train(asked, client, checkpoint=path, save=lambda trace: (traces.append(trace), refuse(trace))[1])
    return traces[0]


@pytest.fixture
def _untrained(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let no rank be made in this process any more, once called."""

    def refuse_rank(*arguments: object) -> None:
        raise AssertionError("a rank was made")

    return lambda: monkeypatch.setattr(serial, "_InProcess", refuse_rank)


def test_the_checkpoint_is_there_until_the_trace_is_saved(tmp_path: Path) -> None:
    path, seen = tmp_path / "run.checkpoint", list[bool]()
    trace = train(spec(), checkpoint=path, save=lambda trace: seen.append(path.exists()))
    assert seen == [True]
    assert not list(tmp_path.iterdir())
    assert_same(trace, train(spec()))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"record_every": 7},
        {"iterations": 0},
        {"tolerance": 0.5, "iterations": 10_000, "dataset": PlantedModel(600, 12, 1)},
        {"step_size": 20.0},
        {"step_size": 1e300},
        *({"exchange": name} for name in EXCHANGES),
    ],
)
def test_a_run_whose_trace_was_lost_is_returned_by_the_next_without_training(
    tmp_path: Path, values: dict[str, Any], _untrained: Callable[[], None]
) -> None:
    asked, path = spec(**values), tmp_path / "run.checkpoint"
    first = lost(asked, path)
    _untrained()
    again = train(asked, checkpoint=path)
    assert_same(again, first)
    assert again.timing.equals(first.timing)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("workers", [2, 6], ids=["master alone", "master beside a rank"])
def test_on_a_cluster_too(
    tmp_path: Path, client: Client, exchange: str, workers: int, _untrained: Callable[[], None]
) -> None:
    asked, path, said = spec(workers=workers, exchange=exchange), tmp_path / "run.checkpoint", list[str]()
    first = lost(asked, path, client)
    content = path.read_bytes()
    again = train(asked, client, checkpoint=path, told=said.append)
    assert_same(again, first)
    assert again.timing.equals(first.timing)
    assert said == ["went on from the checkpoint of iteration 60, where the run had ended"]
    assert again.received is None, "what the links have counted went with the first client"
    assert not list(tmp_path.iterdir())
    path.write_bytes(content)
    _untrained()
    assert_same(train(asked, checkpoint=path), first)


def test_workers_remove_the_checkpoint_which_the_client_need_not_see(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.checkpoint"

    touched, unlink, opened = list[Path](), Path.unlink, Path.open

    def save(trace: Trace) -> None:
        assert path.exists()
        monkeypatch.setattr(Path, "unlink", lambda self, **rest: (touched.append(self), unlink(self, **rest))[1])
        monkeypatch.setattr(
            Path, "open", lambda self, *rest, **more: (touched.append(self), opened(self, *rest, **more))[1]
        )

    train(spec(), client, checkpoint=path, save=save)
    monkeypatch.undo()
    assert path not in touched, "the client has touched the file"
    assert not list(tmp_path.iterdir())


def test_what_is_not_the_checkpoint_of_the_run_is_not_removed(tmp_path: Path, client: Client) -> None:
    path = tmp_path / "run.checkpoint"
    for where in (None, client):
        said: list[str] = []
        train(spec(), where, checkpoint=path, told=said.append, save=lambda trace: replace_file(path))
        assert path.read_text() == "my own"
        assert any("is no checkpoint" in line for line in said)
        path.unlink()


def test_with_a_disk_that_is_full_at_the_end_nothing_is_lost(tmp_path: Path, run_python: Callable[..., str]) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from relufit.claims import trace_files
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train

spec = TrainingSpec(PlantedModel(210, 12, 3), workers=2, batch_size=20, iterations=60)
path, output, told = Path(sys.argv[1]) / "run.checkpoint", Path(sys.argv[1]) / "run.parquet", []
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

def save(trace):
    trace_files.write(output, trace.table, trace.summary)

def stop(news):
    if news.iteration >= 20:
        raise KeyboardInterrupt

def fill(news):
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))

from relufit.training import loop
loop._NEWS_SECONDS = 0
oracle = train(spec)
try:
    train(spec, checkpoint=path, progress=stop)
except KeyboardInterrupt:
    before = path.read_bytes()
try:
    train(spec, checkpoint=path, progress=fill, told=told.append, save=save)
except OSError as error:
    print(error.strerror)
assert path.read_bytes() == before
assert not output.exists()
# Where the trace is wanted in memory alone, the run ends with it all the same.
trace = train(spec, checkpoint=path, progress=fill, told=told.append)
assert trace.table.equals(oracle.table)
print(len(told), told[0])
"""
    said = run_python(program, tmp_path).splitlines()
    assert said[0] == "File too large"
    assert said[1].startswith("2 no checkpoint could be written to ")


def test_killed_at_any_moment_the_command_loses_nothing(tmp_path: Path, run_python: Callable[..., str]) -> None:
    """Kill it at each change to the file system; a second call then leaves what an undisturbed one leaves."""
    program = """
import contextlib, os, signal, sys
from pathlib import Path
import pandas, pyarrow.parquet, zarr
import relufit.experiments.framework.trials, relufit.planning
from relufit import TrainingSpec, train
from relufit.claims import trace_files
from relufit.cli import main
from relufit.errors import DataError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel

train(TrainingSpec(PlantedModel(20, 10, 0), workers=2, batch_size=20, iterations=1))  # has all loops at hand

folder = Path(sys.argv[1])
data, oracle = folder / "data", folder / "oracle/run.parquet"
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}

def command(output):
    return main(["train", str(data), "-K", "2", "-m", "20", "--iterations", "40", "--checkpoint",
                 str(output.with_suffix(".checkpoint")), "-o", str(output)])

def killed(output, moment):
    left = [moment]

    def hook(event, arguments):
        if event in CHANGES:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return command(output)

def whole(output):
    with contextlib.suppress(DataError):
        return not trace_files.read_pair(output)[0].table.equals(trace_files.read(oracle).table)
    return 1

def status(function, *arguments):
    # In a process of its own, for threads of libraries do not survive a fork.
    child = os.fork()
    if not child:
        os._exit(function(*arguments))
    return os.waitpid(child, 0)[1]

assert status(main, ["dataset", str(data), "-n", "200", "-d", "10"]) == 0
assert status(command, oracle) == 0
moment, ended = 0, False
while not ended:
    moment += 1
    output = folder / f"{moment}/run.parquet"
    ended = status(killed, output, moment) == 0
    checkpoint = output.with_suffix(".checkpoint")
    print("kept" if checkpoint.exists() or status(whole, output) == 0 else "nothing yet")
    assert status(command, output) == 0
    assert status(whole, output) == 0, moment
    assert output.read_bytes() == oracle.read_bytes()
    assert not checkpoint.exists()
"""
    lines = run_python(program, tmp_path).splitlines()
    said = [line for line in lines if line in ("kept", "nothing yet")]
    first = said.index("kept")
    assert set(said[first:]) == {"kept"}, "the run was there, and was lost"
    assert len(said) - first > 5


@pytest.mark.parametrize("at", [0, 1])
def test_the_outcome_is_that_of_the_run_and_not_decided_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The error of restored weights may be another in its last bit than the one that the run ended with."""
    asked = spec(tolerance=0.5, iterations=10_000, dataset=PlantedModel(600, 12, 1))
    first = lost(asked, tmp_path / "run.checkpoint")
    monkeypatch.setattr("relufit.training.master.relative_error", lambda w, w_star: np.nextafter(0.5, 1) * (1 + at))
    assert_same(train(asked, checkpoint=tmp_path / "run.checkpoint"), first)
