"""Paths mean the same everywhere: absolute from where they enter, with home folders as what they are."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from relufit import TrainingSpec, train
from relufit.cli import COMMANDS, main
from relufit.clusters import open_cluster
from relufit.clusters.tls import read_security
from relufit.errors import ConfigError, DataError, RelufitError
from relufit.experiments import configuration as config
from relufit.files.paths import absolute, location
from relufit.planted import PlantedModel, dataset
from relufit.planted.dataset import Dataset, open_rows
from relufit.planted.stores import find_store

MODEL = PlantedModel(60, 5, 1)
#: Same sizes and planted weights, other rows.
NAMESAKE = PlantedModel(60, 5, 1, noise_std=0.5)
ENTRANCES: dict[str, Callable[[Any], object]] = {
    "a path": absolute,
    "a location": location,
    "a specification": TrainingSpec,
    "rows": open_rows,
    "a data set": Dataset,
    "a store": find_store,
    "a data set to write": lambda path: dataset.write(MODEL, path),
    "a checkpoint": lambda path: train(TrainingSpec(MODEL), checkpoint=path),
    "a configuration": lambda path: config.load([path]),
    "certificates": lambda path: read_security({"ca_file": path, "cert": path, "key": path}, "tls"),
    "a scheduler file": lambda path: open_cluster(
        {"kind": "address", "address": {"scheduler_file": path, "timeout": 0.1}}, 1
    ).__enter__(),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and a working folder beside it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_a_path_is_that_of_the_working_folder_in_which_it_entered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset.write(MODEL, "data")
    dataset.write(NAMESAKE, home / "data")
    asked, opened = TrainingSpec("data", iterations=3), Dataset("data")
    assert asked.dataset == home.parent / "work/data"
    assert asked == TrainingSpec(Path("data"), iterations=3) == TrainingSpec(asked.dataset, iterations=3)
    monkeypatch.chdir(home)
    assert train(asked).table.equals(train(TrainingSpec(MODEL, iterations=3)).table)
    assert opened.shard(0, 1).y.tobytes() == open_rows(MODEL).shard(0, 1).y.tobytes()


def test_a_checkpoint_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = home.parent / "work/run.checkpoint"
    seen: list[bool] = []
    monkeypatch.setattr("relufit.training.open_rows", lambda data: (monkeypatch.chdir(home), open_rows(data))[1])
    train(
        TrainingSpec(MODEL, iterations=3), checkpoint="run.checkpoint", save=lambda trace: seen.append(begun.exists())
    )
    assert seen == [True]


def test_a_home_folder_is_never_a_folder_of_the_working_folder(home: Path) -> None:
    dataset.write(MODEL, "~/data")
    assert (
        main(["train", "~/data", "-o", "~/run.parquet", "--checkpoint", "~/run.checkpoint", "--iterations", "3"]) == 0
    )
    assert main(["dataset", "~/other", "-n", "20", "-d", "3"]) == 0
    assert {path.name for path in home.iterdir()} == {"data", "other", "run.parquet", "run.timing.parquet"}
    assert not list(Path().iterdir())
    user = os.path.expanduser("~root")  # noqa: PTH111
    assert absolute("~root/data") == Path(user) / "data"


def test_a_name_that_begins_with_a_tilde_can_be_had(home: Path) -> None:
    assert absolute("./~data") == home.parent / "work/~data"
    assert absolute("deep/~") == home.parent / "work/deep/~"


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("path", ["~nobody-of-that-name/data", "", 7, "a\0b"])
def test_what_is_no_path_is_refused_in_one_line(home: Path, entrance: str, path: Any) -> None:
    with pytest.raises(RelufitError) as caught:
        ENTRANCES[entrance](path)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(Path().iterdir())


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_without_a_home_folder_one_line_says_so(home: Path, entrance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    with pytest.raises(ConfigError, match="no home folder of this user is known"):
        ENTRANCES[entrance]("~/data")
    assert not list(Path().iterdir())


def test_without_a_working_folder_one_line_says_so(home: Path) -> None:
    Path.cwd().rmdir()
    with pytest.raises(ConfigError, match="the working folder cannot be told"):
        TrainingSpec("data")
    assert TrainingSpec(home / "data").dataset == home / "data"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_in_one_line_that_a_user_is_unknown(
    home: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "~nobody-of-that-name/x"
    arguments = {
        "config": [path],
        "dataset": [path, "-n", "9", "-d", "2"],
        "train": [path, "-o", "x.parquet"],
        "trials": ["qsgd_convergence", "one", "--config", path, "-o", "x"],
        "judge": ["qsgd_convergence", "--config", path, "--traces", "x", "--tables", "x", "-o", "x"],
        "claims": [path, "-o", "x", "--config", "x"],
        "figure": ["qsgd_convergence", "--tables", path, "-o", "x"],
        "report": [path, "-o", "x"],
        "page": [path, "-o", "x"],
        "manifest": [path, "-o", "x"],
        "crate": [path, "-o", "x"],
        "show": [path],
        "compare": [path, path],
        "compress": [path],
        "cluster": ["status", "name", "--state", path],
        "plan": ["--costs", path],
        "doctor": ["--config", path],
    }
    assert main([command, *arguments[command]]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "no home folder of user 'nobody-of-that-name' is known" in said[0]
    assert not list(Path().iterdir())


def test_a_results_folder_in_a_home_folder_is_there(home: Path) -> None:
    from_file = config.load([Path(__file__).parent.parent.parent / "config.yaml"])
    assert config.check({**from_file, "results": "~/runs"})["results"] == str(home / "runs")
    assert config.check({**from_file, "results": "runs"})["results"] == "runs"


def test_ranks_with_another_working_folder_train_on_the_data_that_the_client_means(
    home: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    dataset.write(MODEL, "data", shards=2)
    dataset.write(NAMESAKE, elsewhere / "data", shards=2)
    before = client.run(os.getcwd)
    client.run(os.chdir, elsewhere)
    try:
        asked = TrainingSpec("data", workers=2, batch_size=4, iterations=5)
        trace = train(asked, client)
    finally:
        for address, folder in before.items():
            client.run(os.chdir, folder, workers=[address])
    assert trace.weights.tobytes() == train(asked).weights.tobytes()


def test_a_data_set_that_is_not_on_a_host_is_named_with_the_host_and_nobody_is_to_delete_it(home: Path) -> None:
    dataset.write(MODEL, "data")
    opened = Dataset("data")
    Path("data").rename("moved")
    with pytest.raises(DataError) as caught:
        opened.shard(0, 1)
    assert os.uname().nodename in str(caught.value)
    assert "delete" not in str(caught.value)
    assert caught.value.where == str(home.parent / "work/data")


@pytest.mark.parametrize("other", [NAMESAKE, PlantedModel(60, 5, 2), PlantedModel(61, 5, 1), PlantedModel(60, 6, 1)])
def test_a_namesake_in_place_of_the_data_set_that_was_opened_is_refused(home: Path, other: PlantedModel) -> None:
    """As a host that has another data set under the path that the client has opened."""
    dataset.write(MODEL, "data", shards=2)
    opened = pickle.loads(pickle.dumps(Dataset("data")))
    shutil.rmtree("data")
    dataset.write(other, "data", shards=2)
    for rank in range(2):
        with pytest.raises(DataError, match="is another than the one that was opened") as caught:
            opened.shard(rank, 2)
        assert os.uname().nodename in str(caught.value)
        assert "delete" not in str(caught.value)


def test_damage_is_still_called_damage(home: Path) -> None:
    dataset.write(MODEL, "data")
    opened = Dataset("data")
    shard = Path("data/y/c/0")
    content = bytearray(shard.read_bytes())
    content[9] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="the shard is damaged"):
        opened.shard(0, 1)
