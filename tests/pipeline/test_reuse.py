"""What is taken over from other runs: the same content, sound; everything else is passed over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from relufit.claims import trace_files
from relufit.cli import main
from relufit.errors import DataError
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.capability import take_over
from relufit.pipeline import reuse
from relufit.planted import PlantedModel, dataset
from relufit.planted import rows as rows_module
from relufit.planted.dataset import Dataset

MODEL = PlantedModel(100, 7, 3, noise_std=0.1)
COMMAND = ["--rows", "100", "--dimension", "7", "--seed", "3", "--noise-std", "0.1", "--shards", "2", "--reuse"]
INNER = Path("data/planted.zarr")


def flip(file: Path) -> None:
    """Change a bit of a file in place."""
    with file.open("r+b") as opened:
        first = opened.read(1)
        opened.seek(0)
        opened.write(bytes([first[0] ^ 1]))


def beside(folder: Path, run: str, model: PlantedModel = MODEL, shards: int = 2) -> Path:
    """Make the data set of another run."""
    dataset.write(model, folder / run / INNER, shards=shards)
    return folder / run / INNER


def make(folder: Path) -> Path:
    """Make the data set of this run by the command, and return where it is."""
    assert main(["dataset", str(folder / "mine" / INNER), *COMMAND]) == 0
    return folder / "mine" / INNER


def has_linked(mine: Path, other: Path) -> bool:
    """Tell whether two data sets have the same files."""
    return (mine / "x/c/0/0").stat().st_ino == (other / "x/c/0/0").stat().st_ino


def loop(path: Path) -> None:
    """Make a link of a file that leads to itself, which nobody can read, whatever his rights."""
    path.unlink()
    path.symlink_to(path)


def older(path: Path) -> None:
    """Put the data set in place of what code before wrote."""
    shutil.rmtree(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "code_digest", lambda stage: "of other code")
        dataset.write(MODEL, path, shards=2)


#: What may be wrong with the data set of another run.
WRONGS: dict[str, Callable[[Path], object]] = {
    "made by other code": older,
    "a shard is missing": lambda path: (path / "x/c/1/0").unlink(),
    "all shards are missing": lambda path: (shutil.rmtree(path / "x/c"), shutil.rmtree(path / "y/c")),
    "a shard is cut": lambda path: os.truncate(path / "y/c/1", 100),
    "a shard is damaged": lambda path: flip(path / "x/c/1/0"),
    "an index is damaged": lambda path: os.truncate(path / "x/c/0/0", 0),
    "metadata are damaged": lambda path: flip(path / "x/zarr.json"),
    "no attributes": lambda path: (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}'),
    "no metadata": lambda path: (path / "zarr.json").unlink(),
    "a shard that cannot be read": lambda path: loop(path / "x/c/1/0"),
    "metadata that cannot be read": lambda path: loop(path / "y/zarr.json"),
    "a pipe for a shard": lambda path: ((path / "x/c/1/0").unlink(), os.mkfifo(path / "x/c/1/0")),
    "a file": lambda path: (shutil.rmtree(path), path.write_text("a note")),
    "an empty folder": lambda path: (shutil.rmtree(path), path.mkdir()),
    "more shards": lambda path: (shutil.rmtree(path), dataset.write(MODEL, path, shards=4)),
    "another recipe": lambda path: (shutil.rmtree(path), dataset.write(PlantedModel(100, 7, 3), path, shards=2)),
}


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_data_set_of_another_run_that_is_not_the_same_or_not_sound_is_passed_over(tmp_path: Path, wrong: str) -> None:
    bad = beside(tmp_path, "a")
    WRONGS[wrong](bad)
    mine = make(tmp_path)
    assert (mine / "x/c/0/0").stat().st_nlink == 1, "made anew"
    Dataset(mine, expected=MODEL).check()
    shutil.rmtree(mine)
    good = beside(tmp_path, "z")
    assert has_linked(make(tmp_path), good), "the next one is as good"
    assert not list((tmp_path / "mine/data").glob(".*"))


def test_a_folder_that_vanishes_while_it_is_linked_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, link = beside(tmp_path, "a"), os.link

    def vanishing(source: Path, target: Path) -> None:
        if first.exists() and str(source).startswith(str(first)):
            shutil.rmtree(first)
        link(source, target)

    monkeypatch.setattr(os, "link", vanishing)
    mine = make(tmp_path)
    assert not first.exists()
    Dataset(mine, expected=MODEL).check()


def test_runs_that_cannot_be_listed_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside(tmp_path, "a")

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        assert list(reuse.elsewhere(tmp_path / "mine" / INNER, depth=1)) == []
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refuse)
        patch.setattr(Path, "is_dir", lambda self: True)
        assert len(list(reuse.elsewhere(tmp_path / "mine" / INNER, depth=1))) == 1


def test_damage_is_not_inherited_by_what_the_remedy_makes_again(tmp_path: Path) -> None:
    good = beside(tmp_path, "a")
    mine = make(tmp_path)
    assert has_linked(mine, good)
    flip(good / "x/c/0/0")
    for either in (mine, good):
        with pytest.raises(DataError, match="damaged"):
            Dataset(either).check()
    shutil.rmtree(mine)
    Dataset(make(tmp_path), expected=MODEL).check()
    assert not has_linked(mine, good)


def test_a_damaged_data_set_is_replaced_by_the_command_though_it_is_not_deleted(tmp_path: Path) -> None:
    mine = make(tmp_path)
    flip(mine / "x/c/0/0")
    Dataset(make(tmp_path), expected=MODEL).check()


def test_the_mark_of_snakemake_is_not_linked(tmp_path: Path) -> None:
    other = beside(tmp_path, "a")
    (other / ".snakemake_timestamp").touch()
    mine = make(tmp_path)
    assert has_linked(mine, other)
    assert not (mine / ".snakemake_timestamp").exists()


def test_a_marker_is_written_for_a_data_set_that_was_taken_over(tmp_path: Path) -> None:
    beside(tmp_path, "a")
    output, marker = tmp_path / "mine" / INNER, tmp_path / "marker"
    assert main(["dataset", str(output), *COMMAND, "--marker", str(marker)]) == 0
    assert marker.read_text() == f"{output}\n"


SPEC = {"compressor": "fp64", "workers": 2, "batch_size": 10, "iterations": 5, "sampling": "with_replacement"}
SETTINGS = [Setting("qsgd_convergence", "one", {"n": 50, "d": 5}, SPEC, 2, group="one")]
TRACES = Path("traces/qsgd_convergence/one.parquet")

#: What may be wrong with the traces of another run.
WRONG_TRACES: dict[str, Callable[[Path], object]] = {
    "no origin": lambda path: trace_files.write(path, trace_files.read(path).table, {}),
    "no description": lambda path: trace_files.write(path, trace_files.read(path).table, []),  # type: ignore[arg-type]
    "another origin": lambda path: trace_files.write(path, trace_files.read(path).table, {"origin": {"code": "other"}}),
    "no timings": lambda path: trace_files.timing_path(path).unlink(),
    "timings without origin": lambda path: trace_files.write(
        trace_files.timing_path(path), trace_files.read(trace_files.timing_path(path)).table, {}
    ),
    "cut": lambda path: os.truncate(path, 100),
    "empty": lambda path: os.truncate(path, 0),
    "cannot be read": loop,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "timings cannot be read": lambda path: loop(trace_files.timing_path(path)),
}


@pytest.mark.parametrize("wrong", WRONG_TRACES)
def test_traces_of_another_run_that_are_not_the_same_or_not_sound_are_passed_over(tmp_path: Path, wrong: str) -> None:
    first, second, mine = (tmp_path / run / TRACES for run in ("a", "b", "mine"))
    trials.run(SETTINGS, 1, first, tmp_path)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    WRONG_TRACES[wrong](first)
    if os.path.lexists(first) and not first.is_dir():
        assert take_over(SETTINGS, 1, mine)
        assert mine.read_bytes() == second.read_bytes()
        assert mine.stat().st_ino != second.stat().st_ino, "a copy has no damage in common with what it is of"
    shutil.rmtree(tmp_path / "mine", ignore_errors=True)
    shutil.rmtree(tmp_path / "b")
    assert not take_over(SETTINGS, 1, mine)
    assert not mine.exists()


def test_traces_of_another_seed_are_passed_over(tmp_path: Path) -> None:
    trials.run(SETTINGS, 1, tmp_path / "a" / TRACES, tmp_path)
    assert not take_over(SETTINGS, 2, tmp_path / "mine" / TRACES)
