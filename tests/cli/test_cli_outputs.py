"""What each command does where its outputs cannot be: it refuses before it computes, and nothing is lost."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relufit.claims import trace_files
from relufit.cli import main
from relufit.experiments import CATALOGUE
from relufit.files.atomic import digest, write_json
from relufit.planted.dataset import Dataset

ROOT = Path(__file__).parent.parent.parent
DATA = ["--rows", "200", "--dimension", "10"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of somebody who uses relufit, with a data set, a vector, a configuration and a thesis."""
    assert main(["dataset", str(tmp_path / "planted.zarr"), *DATA]) == 0
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    np.save(tmp_path / "vector.npy", np.arange(1.0, 20.0))
    config = tmp_path / "config.yaml"
    over = tmp_path / "over.yaml"
    over.write_text(
        "qsgd_convergence: {dimension: 40, workers: 2, mini_batch: 8, levels: [8], max_norm_levels: [], trials: 2}\n"
    )
    assert main(["config", str(ROOT / "config.yaml"), str(over), "--output", str(config)]) == 0
    write_json(tmp_path / "judged.json", {})
    (tmp_path / "run").mkdir()
    for name in ("claims.json", "manifest.json"):
        write_json(tmp_path / "run" / name, {})
    (tmp_path / "run" / "config.yaml").write_text(config.read_text())
    return tmp_path


#: Commands, with OUT for the output, and what each of them would compute.
COMMANDS = {
    "train": ["train", "planted.zarr", "-o", "OUT"],
    "train, its checkpoint": ["train", "planted.zarr", "-o", "trace.parquet", "--checkpoint", "OUT"],
    "dataset": ["dataset", "OUT", *DATA],
    "dataset, its marker": ["dataset", "new.zarr", *DATA, "--marker", "OUT"],
    "judge": ["judge", "qsgd_convergence", "--config", "config.yaml", "--traces", "t", "--tables", "s", "-o", "OUT"],
    "claims": ["claims", "judged.json", "--config", "config.yaml", "-o", "OUT"],
    "report": ["report", "run", "-o", "OUT"],
    "manifest": ["manifest", "run", "-o", "OUT"],
    "compare": ["compare", "run", "run", "-o", "OUT"],
    "compress": ["compress", "vector.npy", "--compressor", "fp64", "-o", "OUT"],
    "compress, decoding": ["compress", "--decode", "judged.json", "--size", "2", "--compressor", "fp64", "-o", "OUT"],
    "config": ["config", "config.yaml", "-o", "OUT"],
}


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What of a command has begun to compute or to read what it computes from."""
    begun = list[str]()
    list(CATALOGUE.values())  # experiments make compressors as they are imported, which is on first use

    def spy(name: str) -> Callable[..., None]:
        def refuse(*_: Any, **__: Any) -> None:
            begun.append(name)
            raise AssertionError(f"{name} was called before the outputs were looked at")

        return refuse

    for name in (
        "relufit.training.train",
        "relufit.clusters.open_cluster",
        "relufit.planted.PlantedModel.rows",
        "relufit.experiments.framework.trials.read",
        "relufit.experiments.framework.trials.run",
        "relufit.claims.report.as_json",
        "relufit.report.read",
        "relufit.pipeline.manifest.manifest",
        "relufit.claims.compare.as_markdown",
        "relufit.compression.make_compressor",
    ):
        monkeypatch.setattr(name, spy(name))
    return begun


def state(folder: Path) -> str:
    return digest(folder) + " ".join(sorted(str(path) for path in folder.rglob("*")))


@pytest.mark.parametrize(
    ("name", "out"),
    [
        pair
        for pair in itertools.product(COMMANDS, ["thesis", "planted.zarr", "link", "a/circle"])
        if pair != ("dataset", "planted.zarr")  # a data set may be replaced by one
    ],
)
def test_a_folder_in_the_place_of_an_output_is_refused_before_anything_is_computed(
    folder: Path,
    computing: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    out: str,
) -> None:
    (folder / "link").symlink_to("thesis")
    (folder / "a").symlink_to(".")
    (folder / "circle").symlink_to("circle")
    monkeypatch.chdir(folder)
    before = state(folder)
    assert main([argument.replace("OUT", out) for argument in COMMANDS[name]]) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert f"{out}: is a" in message
    assert not computing
    assert state(folder) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "planted.zarr", "-o", "planted.zarr/x/zarr.json"], "lies inside the data set"),
        (["train", "planted.zarr", "-o", "t", "--checkpoint", "t"], "is the same file as --output"),
        (["train", "planted.zarr", "-o", "t", "--checkpoint", "t.timing.parquet"], "is the same file as the timings"),
        (["train", "planted.zarr", "-o", "t", "--checkpoint", "planted.zarr/state"], "lies inside the data set"),
        (["train", "planted.zarr", "-o", "t", "--checkpoint", "/dev/null"], "is a device or a pipe"),
        (["compress", "vector.npy", "--compressor", "fp64", "-o", "vector.npy"], "is the same file as the vector"),
        (
            ["compress", "--decode", "v", "--size", "9", "--compressor", "fp64", "-o", "v"],
            "is the same file as --decode",
        ),
        (["config", "config.yaml", "-o", "config.yaml"], "is the same file as the input"),
        (["dataset", "planted.zarr/more", *DATA], "lies inside the data set"),
        (["dataset", "new.zarr", *DATA, "--marker", "new.zarr/marker"], "lies inside the data set"),
        (["dataset", "new.zarr", *DATA, "--marker", "new.zarr"], "is the same file as the data set"),
        (["claims", "judged.json", "--config", "config.yaml", "-o", "v.md"], "is the same file as --output"),
        (["claims", "judged.json", "--config", "config.yaml", "-o", "judged.json"], "is the same file as the input"),
        (["compare", "run", "run", "-o", "run/claims.json"], "is the same file as the verdicts of "),
        (["report", "run", "-o", "run/config.yaml"], "is the same file as the input config.yaml"),
        (["manifest", "run", "-o", "run/config.yaml"], "is the same file as the result config.yaml"),
        (["figure", "qsgd_convergence", "--tables", "t", "-o", "config.yaml"], "config.yaml: is a file, not a folder"),
        (
            ["trials", "qsgd_convergence", "qsgd-s8", "--config", "config.yaml", "-o", "vector.npy"],
            "vector.npy: is a file, not a folder",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_output_that_is_an_input_or_another_output_is_refused_and_nothing_changes(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(folder)
    before = state(folder)
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert says in message
    assert state(folder) == before


def test_a_folder_of_somebody_is_never_replaced_by_a_data_set(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "planted.zarr" / "notes.txt").write_text("which seed was it?")
    (folder / "other.zarr").mkdir()
    (folder / "other.zarr" / "zarr.json").write_text('{"node_type": "group", "attributes": {}}')
    before = state(folder)
    for name, foreign in [
        ("thesis", "thesis.tex"),
        ("planted.zarr", "notes.txt"),
        ("other.zarr", "zarr.json"),
        (".", "config.yaml"),
    ]:
        monkeypatch.chdir(folder)
        assert main(["dataset", name, *DATA]) == 2
        assert (
            f"{folder / name}: is a folder with something else in it ({foreign}), and is not replaced"
            in capsys.readouterr().err
        )
        assert state(folder) == before


def test_a_data_set_takes_the_place_of_one_and_of_an_empty_folder(folder: Path) -> None:
    (folder / "planted.zarr" / ".snakemake_timestamp").touch()  # as the workflow leaves it
    (folder / "empty").mkdir()
    (folder / "link").symlink_to("planted.zarr")
    for name, seed in [("planted.zarr", 1), ("empty", 2), ("link", 3)]:
        assert main(["dataset", str(folder / name), *DATA, "--seed", str(seed)]) == 0
        assert Dataset(folder / name).model.seed == seed
    assert (folder / "link").is_symlink()
    assert Dataset(folder / "planted.zarr").model.seed == 3


def test_a_data_set_that_is_taken_over_does_not_replace_the_folder_of_somebody(tmp_path: Path) -> None:
    assert main(["dataset", str(tmp_path / "one/data/a.zarr"), *DATA]) == 0
    (tmp_path / "two/data/a.zarr").mkdir(parents=True)
    (tmp_path / "two/data/a.zarr/thesis.tex").write_text("years of work")
    assert main(["dataset", str(tmp_path / "two/data/a.zarr"), *DATA, "--reuse"]) == 2
    assert (tmp_path / "two/data/a.zarr/thesis.tex").read_text() == "years of work"


def test_a_trace_goes_through_a_link_and_into_a_pipe(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "trace.parquet").symlink_to("elsewhere/real.parquet")
    short = ["--iterations", "3"]
    assert main(["train", str(folder / "planted.zarr"), *short, "-o", str(folder / "trace.parquet")]) == 0
    assert (folder / "trace.parquet").is_symlink()
    expected = trace_files.read(folder / "elsewhere" / "real.parquet")
    command = [sys.executable, "-m", "relufit.cli", "train", "planted.zarr", *short, "-o", "/dev/stderr"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    start, end = done.stderr.index(b"PAR1"), done.stderr.rindex(b"PAR1") + 4
    (folder / "piped.parquet").write_bytes(done.stderr[start:end])
    table, about = trace_files.read(folder / "piped.parquet")
    assert table.equals(expected.table)
    assert about == expected.about
    assert main(["train", str(folder / "planted.zarr"), *short, "-o", "/dev/null"]) == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert not Path("/dev/null.timing.parquet").exists()


def test_a_tilde_is_the_folder_of_the_user_also_where_no_shell_has_said_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.chdir(folder)
    arguments = ["train", "planted.zarr", "--iterations", "3", "-o", "~/trace.parquet", "--checkpoint", "~/state"]
    assert main(arguments) == 0
    assert sorted(os.listdir(folder / "home")) == ["trace.parquet", "trace.timing.parquet"]
    assert not (folder / "~").exists()


FULL = """
import sys
from relufit.cli import main
disk, *arguments = sys.argv[1:]
with open(f"{disk}/filler", "ab", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
print(main(arguments))
"""
MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$0" && cp "$1"/* "$0" && shift && exec "$@"'


@pytest.mark.parametrize("name", ["compress", "config", "compare"])
def test_on_a_full_disk_what_was_there_stays(
    folder: Path, tmp_path: Path, run_python: Callable[..., str], name: str
) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    (tmp_path / "disk").mkdir()
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "out").write_text("what was there")
    try:
        subprocess.run([*namespace, MOUNT, tmp_path / "disk", tmp_path / "before", "true"], check=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("a small disk needs user namespaces, which this machine does not allow")
    claims = {"run": "a", "seed": 0, "claims": [], "findings": [], "experiments": {}}
    write_json(folder / "run" / "claims.json", claims)
    np.save(folder / "vector.npy", np.arange(1.0, 20000.0))
    arguments = [
        str(tmp_path / "disk" / "out") if argument == "OUT" else argument
        for argument in [str(folder / it) if (folder / it).exists() else it for it in COMMANDS[name]]
    ]
    program = FULL + "print(open(f'{disk}/out').read(), sorted(__import__('os').listdir(disk)))"
    prefix = [*namespace, MOUNT, str(tmp_path / "disk"), str(tmp_path / "before")]
    lines = run_python(program, tmp_path / "disk", *arguments, prefix=prefix).splitlines()
    assert lines[-2:] == ["2", "what was there ['filler', 'out']"]
