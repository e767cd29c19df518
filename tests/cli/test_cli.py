"""The command line as a person meets it: what it makes, and what it says to mistakes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import zarr

from relufit.claims import trace_files
from relufit.cli import COMMANDS, main
from relufit.planted.dataset import Dataset

ROOT = Path(__file__).parent.parent.parent
DATA = ["--rows", "600", "--dimension", "30", "--seed", "5"]


def _run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "relufit.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "planted.zarr"
    assert main(["dataset", str(path), *DATA, "--shards", "2"]) == 0
    return path


@pytest.fixture
def smoke(tmp_path: Path) -> Path:
    over = tmp_path / "tiny.yaml"
    over.write_text(
        "run: tiny\n"
        "geometric_convergence: {dimension: 40, ratios: [10], mini_batch: 8, trials: 2}\n"
        "qsgd_convergence: {dimension: 40, workers: 2, mini_batch: 8, levels: [8], max_norm_levels: [], trials: 2}\n"
    )
    config = tmp_path / "config.yaml"
    assert main(["config", str(ROOT / "config.yaml"), str(over), "--output", str(config)]) == 0
    return config


def _leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".part" in path.name]


def test_the_help_names_every_subcommand_and_each_explains_itself() -> None:
    whole = _run("--help")
    assert whole.returncode == 0
    for name in COMMANDS:
        assert name in whole.stdout
        part = _run(name, "--help")
        assert part.returncode == 0
        assert len(part.stdout.split("options:")[0]) > 100


def test_a_data_set_is_made_as_asked_and_can_be_trained_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = zarr.open_group(data, mode="r")
    assert group["x"].shape == (600, 30)
    trace = tmp_path / "trace.parquet"
    arguments = ["--compressor", "qsgd", "--levels", "8", "-K", "2", "-m", "16", "--tolerance", "1e-4"]
    assert main(["train", str(data), *arguments, "--output", str(trace)]) == 0
    output = capsys.readouterr().out
    assert "converged after" in output
    assert "optimal, omega" in output
    table, about = trace_files.read(trace)
    assert table["relative_error"].iloc[-1] <= 1e-4
    coded = {"coding": "packed", "bucket_size": None, "norm": "l2"}
    assert about["spec"]["compressor"] == {"name": "qsgd", "levels": 8, **coded}
    timing = trace_files.read(trace_files.timing_path(trace))
    assert (timing.table["elapsed"].diff().dropna() >= 0).all()
    assert timing.about["machine"]["packages"]["numpy"] == np.__version__


def test_signs_are_trained_with_error_feedback_and_refused_without(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.parquet"
    arguments = ["train", str(data), "-K", "2", "-m", "16", "--tolerance", "1e-4", "--output", str(trace)]
    assert main([*arguments, "--compressor", "sign", "--error-feedback"]) == 0
    output = capsys.readouterr().out
    assert "converged after" in output
    assert "optimal with error feedback" in output
    assert trace_files.read(trace)[1]["spec"]["error_feedback"] is True
    assert main([*arguments, "--compressor", "sign"]) == 2
    assert "set error_feedback to true" in capsys.readouterr().err
    assert main([*arguments, "--error-feedback"]) == 0
    assert "fp64 is exact: error feedback changes nothing" in capsys.readouterr().err
    assert main([*arguments, "--compressor", "sign", "--error-feedback", "--copy-share", "-1"]) == 2
    assert "copy_share" in capsys.readouterr().err


def test_other_gradients_a_mean_and_a_delay_are_asked_for_and_shown(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.parquet"
    arguments = ["train", str(data), "-K", "2", "-m", "16", "--iterations", "40", "--output", str(trace)]
    assert main([*arguments, "--gradient", "kaczmarz", "--average-from", "10", "--delay", "2"]) == 0
    table, about = trace_files.read(trace)
    chosen = {"gradient": "kaczmarz", "average_from": 10, "delay": 2}
    assert {key: about["spec"][key] for key in chosen} == chosen
    assert f"{table['average_error'].iloc[-1]:.3g} of the mean of the weights" in capsys.readouterr().out
    assert main(arguments) == 0
    table, about = trace_files.read(trace)
    assert "average_error" not in table and not set(chosen) & set(about["spec"])
    assert "of the mean" not in capsys.readouterr().out
    assert main([*arguments, "--gradient", "perceptron"]) == 2
    assert "choose one of sgd, glm_tron, kaczmarz" in capsys.readouterr().err


def test_a_run_that_diverges_ends_well_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(data), "-m", "4", "--step-size", "3", "--output", str(tmp_path / "t.parquet")]) == 0
    assert capsys.readouterr().out.startswith("diverged after")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["dataset", "{tmp}/a", "--rows", "10", "--dimension", "0"], "d: 0 is not a positive"),
        (["dataset", "{tmp}/a", "--rows", "10", "--dimension", "2", "--shards", "11"], "workers"),
        (["dataset", "{tmp}/a", "--rows", "10", "--dimension", "2", "--inputs", "tea"], "inputs: unknown"),
        (["train", "{tmp}/nowhere", "-o", "{tmp}/t.parquet"], "make it with `relufit dataset`"),
        (["train", "{data}", "-K", "601", "-m", "601", "-o", "{tmp}/t.parquet"], "workers"),
        (["train", "{data}", "-K", "3", "-m", "2", "-o", "{tmp}/t.parquet"], "batch_size"),
        (["train", "{data}", "--initial-weights", "best", "-o", "{tmp}/t.parquet"], "unknown initial_weights 'best'"),
        (["train", "{data}", "-m", "601", "--sampling", "reshuffled", "-o", "{tmp}/t.parquet"], "without replacement"),
        (["train", "{data}", "--compressor", "zip", "-o", "{tmp}/t.parquet"], "unknown compressor 'zip'"),
        (["train", "{data}", "--compressor", "qsgd", "--levels", "0", "-o", "{tmp}/t.parquet"], "levels"),
        (
            ["train", "{data}", "--compressor", "fp32", "--levels", "4", "-o", "{tmp}/t.parquet"],
            "no parameter 'levels'",
        ),
        (["train", "{data}", "--cluster", "moon", "-o", "{tmp}/t.parquet"], "cluster.kind: unknown kind 'moon'"),
        (["train", "{data}", "--step-size", "-1", "-o", "{tmp}/t.parquet"], "step_size"),
        (["config", "{tmp}/none.yaml"], "cannot be read"),
        (["trials", "tea", "x", "--config", "{config}", "-o", "{tmp}/t"], "unknown experiment 'tea'"),
        (["trials", "qsgd_convergence", "x", "--config", "{config}", "-o", "{tmp}/t"], "sgd-fp64, qsgd-s8"),
        (
            ["judge", "qsgd_convergence", "--config", "{config}", "--traces", "{tmp}", "--tables", "{tmp}", "-o", "x"],
            "make it with `relufit trials`",
        ),
        (["figure", "tea", "--tables", "{tmp}", "-o", "{tmp}"], "unknown figure 'tea'"),
        (["figure", "qsgd_convergence", "--tables", "{tmp}", "-o", "{tmp}"], "make it with `relufit judge`"),
    ],
)
def test_a_mistake_gets_one_message_with_its_place_and_leaves_nothing(
    arguments: list[str], says: str, data: Path, smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(tmp_path.rglob("*"))
    filled = [part.format(tmp=tmp_path, data=data, config=smoke) for part in arguments]
    capsys.readouterr()
    assert main(filled) == 2
    message = capsys.readouterr().err
    assert message.startswith("relufit: error: ")
    assert says in message
    assert message.count("\n") == 1
    assert set(tmp_path.rglob("*")) == before


def test_data_made_with_other_parameters_are_not_trained_on(
    smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    for trial in range(3):
        assert main(["dataset", str(folder / f"time_to_accuracy-{trial}.zarr"), *DATA]) == 0
    arguments = ["time_to_accuracy", "runs", "--config", str(smoke), "--data", str(folder)]
    assert main(["trials", *arguments, "--output", str(tmp_path / "t")]) == 2
    assert "made with other parameters: n is 600, not 16000" in capsys.readouterr().err
    assert not (tmp_path / "t/runs.parquet").exists()


@pytest.mark.parametrize("harm", ["missing", "truncated", "nan"])
def test_a_damaged_shard_is_named(harm: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = data / "x" / "c" / "1" / "0"
    if harm == "missing":
        shard.unlink()
    elif harm == "truncated":
        os.truncate(shard, shard.stat().st_size - 7)
    else:
        with shard.open("r+b") as file:
            file.write(np.float32(np.nan).tobytes())
    assert main(["train", str(data), "-K", "2", "-m", "4", "--output", str(tmp_path / "t.parquet")]) == 2
    message = capsys.readouterr().err
    assert str(shard) in message
    assert "make the data set again" in message
    assert not (tmp_path / "t.parquet").exists()


def _in_a_small_world(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script as root of a user namespace, with a file system of 1 MB on ``small``."""
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=1m none {small} && cd {small} && {script}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
    if not shutil.which("unshare") or subprocess.run([*command[:4], "true"], check=False).returncode:
        pytest.skip("this kernel gives no user namespaces")
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_a_full_disk_is_told_and_nothing_half_written_stays(tmp_path: Path, data: Path) -> None:
    relufit = f"{sys.executable} -m relufit.cli"
    script = (
        f"head -c 1040000 /dev/zero > ballast; {relufit} train {data} -m 4 --iterations 20000 --output {{}}; "
        "echo status $?; rm ballast; ls -A"
    )
    done = _in_a_small_world(tmp_path, script.format("t.parquet"))
    assert "status 2" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("status 2"), done.stdout
    assert "No space left" in done.stderr
    assert "free some space" in done.stderr


def test_a_data_set_that_does_not_fit_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    done = _in_a_small_world(
        tmp_path, f"{sys.executable} -m relufit.cli dataset big -n 100000 -d 100; echo status $?; ls -A"
    )
    assert done.stdout.strip() == "status 2", done.stdout + done.stderr
    assert "the disk has" in done.stderr


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, data: Path) -> None:
    done = _in_a_small_world(
        tmp_path,
        f"mount -o remount,ro . && {sys.executable} -m relufit.cli train {data} -m 4 --iterations 5 -o r/t.parquet",
    )
    assert done.returncode == 2, done.stderr
    assert "is on a read-only file system; choose another folder" in done.stderr
    blocked = tmp_path / "file"
    blocked.touch()
    assert main(["train", str(data), "-m", "4", "--iterations", "5", "-o", str(blocked / "t.parquet")]) == 2


def test_an_interrupt_leaves_no_process_and_no_half_file(tmp_path: Path, data: Path) -> None:
    arguments = ["-K", "2", "-m", "8", "--step-size", "1e-9", "--iterations", "10000000", "--cluster", "local"]
    command = [sys.executable, "-m", "relufit.cli", "train", str(data), *arguments, "-o", str(tmp_path / "t.parquet")]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert running.stderr
    assert "relative error" in running.stderr.readline()
    children = psutil.Process(running.pid).children(recursive=True)
    assert len(children) >= 3
    running.send_signal(signal.SIGINT)
    assert running.wait(300) == 130
    stderr = running.stderr.read()
    assert "interrupted; nothing half-written is left" in stderr
    assert "Traceback" not in stderr
    _, alive = psutil.wait_procs(children, timeout=300)
    assert not alive
    assert [path.name for path in tmp_path.iterdir()] == ["planted.zarr"]


def test_a_killed_client_takes_its_processes_with_it(tmp_path: Path, data: Path) -> None:
    arguments = ["-K", "2", "-m", "8", "--step-size", "1e-9", "--iterations", "10000000", "--cluster", "local"]
    command = [sys.executable, "-m", "relufit.cli", "train", str(data), *arguments, "-o", str(tmp_path / "t.parquet")]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert running.stderr
    running.stderr.readline()
    children = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    running.wait(300)
    assert not psutil.wait_procs(children, timeout=300)[1]


def test_without_a_terminal_progress_is_plain_lines(tmp_path: Path) -> None:
    done = _run("dataset", str(tmp_path / "p.zarr"), *DATA)
    assert re.fullmatch(r"data set p\.zarr: 600/600 rows \[\d+ s\]\n", done.stderr)


def test_trials_claims_and_figures_follow_one_another_by_hand(smoke: Path, tmp_path: Path) -> None:
    traces, tables = tmp_path / "run/traces/qsgd_convergence", tmp_path / "run/tables"
    settings = ["sgd-fp64", "qsgd-s8"]
    assert main(["trials", "qsgd_convergence", *settings, "--config", str(smoke), "-o", str(traces)]) == 0
    judged = tmp_path / "run/claims/qsgd_convergence.json"
    where = ["--config", str(smoke), "--traces", str(traces), "--tables", str(tables)]
    assert main(["judge", "qsgd_convergence", *where, "-o", str(judged)]) == 0
    claims = tmp_path / "run/claims.json"
    assert main(["claims", str(judged), "--config", str(smoke), "-o", str(claims)]) == 0
    assert main(["figure", "qsgd_convergence", "--tables", str(tables), "-o", str(tmp_path / "run/figures")]) == 0
    assert (tmp_path / "run/figures/qsgd_convergence.svg").read_text().startswith("<?xml")
    assert (tmp_path / "run/claims.md").read_text().startswith("# Verdicts of the run `tiny`")
    assert not _leftovers(tmp_path)


def test_what_another_run_has_already_is_taken_over_and_not_made_again(smoke: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / "results" / run / "traces/qsgd_convergence/qsgd-s8.parquet" for run in "ab")
    begin = ["trials", "qsgd_convergence", "qsgd-s8", "--config", str(smoke), "--reuse", "--output"]
    assert main([*begin, str(first.parent)]) == 0
    assert main([*begin, str(second.parent)]) == 0
    for mine, other in ((first, second), (trace_files.timing_path(first), trace_files.timing_path(second))):
        assert mine.read_bytes() == other.read_bytes(), "with the seconds of the first run"
        assert not mine.samefile(other)
    smoke.write_text(smoke.read_text().replace("seed: 20190119", "seed: 7"))
    third = tmp_path / "results/c/traces/qsgd_convergence/qsgd-s8.parquet"
    assert main([*begin, str(third.parent)]) == 0
    assert third.read_bytes() != first.read_bytes()
    for run in "ab":
        assert main(["dataset", str(tmp_path / f"results/{run}/data/p.zarr"), *DATA, "--reuse"]) == 0
    inner = Path("data/p.zarr/x/c/0/0")
    assert (tmp_path / "results/a" / inner).samefile(tmp_path / "results/b" / inner)
    assert main(["dataset", str(tmp_path / "results/c/data/p.zarr"), *DATA[:-1], "6", "--reuse"]) == 0
    assert Dataset(tmp_path / "results/c/data/p.zarr").model.seed == 6


def test_a_data_set_whose_making_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "relufit.cli", "dataset", str(tmp_path / "p.zarr"), "-n", "3000000", "-d", "100"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.rglob("c/0/0")):
        time.sleep(0.05)
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert running.wait(300) == 130
    assert not list(tmp_path.iterdir())


def test_every_command_that_a_page_or_a_message_names_exists() -> None:
    # The protocol has bytes that begin like commands.
    files = [path for path in (ROOT / "docs").glob("*.md") if path.stem != "protocol"]
    files += [ROOT / "README.md", ROOT / "results/README.md", *(ROOT / "workflow").glob("*/*.*")]
    files += [path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".j2"}]
    named = {name for path in files for name in re.findall(r"`relufit ([a-z]+)", path.read_text())}
    assert {"judge", "claims", "trials"} <= named <= set(COMMANDS)
