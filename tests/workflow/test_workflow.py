"""The workflow as a whole, on a small configuration, in folders of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent.parent
TINY = """
run: tiny
experiments: [geometric_convergence, qsgd_convergence, time_to_accuracy]
geometric_convergence: {dimension: 60, ratios: [10], mini_batch: 8, trials: 3}
qsgd_convergence: {dimension: 60, workers: 2, mini_batch: 8, levels: [8], trials: 3}
time_to_accuracy: {dimension: 60, mini_batch: 8, levels: [8], other_codings: [], trials: 2}
"""
CONFIGURED = ["--cores", "2", "--configfile", "tiny.yaml"]


def _checkout(folder: Path) -> Path:
    """Copy what the workflow needs, as a fresh clone would have it."""
    for name in ("Snakefile", "config.yaml", "config", "workflow", "profiles", "envs", "results/README.md"):
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    (folder / "tiny.yaml").write_text(TINY)
    return folder


def _snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _checkout(tmp_path_factory.mktemp("first"))
    done = _snakemake(folder, *CONFIGURED)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_run_leaves_claims_report_manifest_figures_and_traces(finished: Path) -> None:
    run = finished / "results/tiny"
    claims = json.loads((run / "claims.json").read_text())
    assert {claim["verdict"] for claim in claims["claims"]} <= {"confirmed", "refuted", "inconclusive"}
    exact = claims["experiments"]["time_to_accuracy"]["verdicts"]["communication"]
    assert len(exact) == 10
    assert {verdict["verdict"] for verdict in exact} == {"confirmed"}
    report = (run / "report.html").read_text()
    assert "Relative error against iterations" in report
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?:', report), "the report fetches nothing"
    for name in ("geometric_convergence", "qsgd_convergence", "iteration_time.timing"):
        assert (run / f"figures/{name}.png").stat().st_size > 10_000
        assert (run / f"figures/{name}.svg").stat().st_size > 5_000
    assert (run / "traces/time_to_accuracy/qsgd-s8.timing.parquet").exists()
    assert not [path for path in finished.rglob("*") if ".part" in path.name]


def test_every_file_that_is_the_same_on_every_run_is_in_the_manifest(finished: Path) -> None:
    manifest = json.loads((finished / "results/tiny/manifest.json").read_text())
    listed = set(manifest["sha256"]) | set(manifest["depends_on_the_clock"])
    for pattern in ("traces/*/*.parquet", "tables/*.csv", "figures/*", "claims/*.json", "data/*.zarr"):
        found = {
            path.relative_to(finished / "results/tiny").as_posix() for path in finished.glob(f"results/tiny/{pattern}")
        }
        assert found
        assert found <= listed
    assert manifest["command"].startswith("snakemake --cores 2")
    assert manifest["machine"]["packages"]["numba"]


def test_a_second_run_has_nothing_to_do(finished: Path) -> None:
    done = _snakemake(finished, *CONFIGURED)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_the_same_configuration_elsewhere_and_on_one_core_gives_the_same_digests(
    finished: Path, tmp_path: Path
) -> None:
    again = _checkout(tmp_path / "second")
    done = _snakemake(again, "--cores", "1", "--configfile", "tiny.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (
        json.loads((folder / "results/tiny/manifest.json").read_text())["sha256"] for folder in (finished, again)
    )
    assert first == second
    assert len(first) > 20


def test_a_change_of_one_setting_runs_that_setting_alone(finished: Path) -> None:
    done = _snakemake(finished, "-n", *CONFIGURED, "--config", "qsgd_convergence={tolerance: 1e-3}")
    text = done.stdout + done.stderr
    assert re.search(r"^train +2$", text, re.M), text
    assert "claims_qsgd_convergence" in text
    assert "claims_geometric_convergence" not in text
    assert not re.search(r"^dataset ", text, re.M)


def test_another_seed_makes_all_data_and_traces_anew(finished: Path) -> None:
    done = _snakemake(finished, "-n", *CONFIGURED, "--config", "seed=5")
    text = done.stdout + done.stderr
    assert re.search(r"^dataset +2$", text, re.M), text
    assert re.search(r"^train +9$", text, re.M), text


def test_an_ablation_takes_from_another_run_what_is_unchanged(finished: Path) -> None:
    changed = ["--config", "run=ablation", "experiments=[qsgd_convergence]", "qsgd_convergence={levels: [4, 8]}"]
    done = _snakemake(finished, *CONFIGURED, *changed)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [finished / f"results/{run}/traces/qsgd_convergence" for run in ("tiny", "ablation")]
    for name in ("sgd-fp64", "qsgd-s8"):
        assert (runs[0] / f"{name}.parquet").samefile(runs[1] / f"{name}.parquet")
    assert not (runs[0] / "qsgd-s4.parquet").exists()
    assert (finished / "results/ablation/figures/qsgd_convergence.svg").exists()
    assert not (finished / "results/ablation/figures/geometric_convergence.svg").exists()
    folders = [str(finished / "results" / run) for run in ("tiny", "ablation")]
    command = [sys.executable, "-m", "relufit.cli", "compare", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "| iterations to 1e-06 over the prediction | qsgd-s4 | — |" in done.stdout
    assert "- ablation: not run" in done.stdout


def test_a_single_trace_can_be_asked_for_by_its_path(tmp_path: Path) -> None:
    folder = _checkout(tmp_path)
    target = "results/tiny/traces/qsgd_convergence/qsgd-s8.parquet"
    done = _snakemake(folder, *CONFIGURED, "--", target)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {
        path.name for path in (folder / "results/tiny").rglob("*.*") if path.suffix in (".parquet", ".json", ".svg")
    }
    assert made == {"qsgd-s8.parquet", "qsgd-s8.timing.parquet"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("qsgd_convergence={leveles: [3]}", "qsgd_convergence.leveles: unknown key; did you mean 'levels'?"),
        ("cluster={kind: moon}", "cluster.kind: 'moon' is not possible; it must be one of inprocess, local"),
        ("qsgd_convergence={workers: 500}", "qsgd_convergence.workers"),
    ],
)
def test_a_wrong_configuration_is_one_message_and_no_traceback(finished: Path, override: str, says: str) -> None:
    done = _snakemake(finished, *CONFIGURED, "--config", override)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_results_that_cannot_be_written_are_told_before_anything_runs(tmp_path: Path) -> None:
    folder = _checkout(tmp_path)
    (folder / "results/tiny").write_text("a file in the way")
    done = _snakemake(folder, *CONFIGURED)
    assert done.returncode != 0
    assert f"{folder}/results/tiny: is a file, not a folder; move it" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_failing_job_shows_its_message_and_where_its_log_is(finished: Path) -> None:
    shard = finished / "results/tiny/data/time_to_accuracy-1.zarr/x/c/1/0"
    kept = shard.read_bytes()
    try:
        shard.write_bytes(kept[:-9])
        target = "results/tiny/traces/time_to_accuracy/sgd-fp64.parquet"
        done = _snakemake(finished, *CONFIGURED, "--forcerun", "train", "--", target)
    finally:
        shard.write_bytes(kept)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "time_to_accuracy-1.zarr/x/c/1/0: the shard has" in text
    assert "logs/train/time_to_accuracy/sgd-fp64.log" in text
    assert "Traceback" not in text


def test_an_interrupted_run_leaves_no_process_and_no_half_file_and_can_be_finished(tmp_path: Path) -> None:
    folder = _checkout(tmp_path)
    slow = ["--config", "geometric_convergence={tolerance: 1e-12, dimension: 400, trials: 40}"]
    command = [sys.executable, "-m", "snakemake", *CONFIGURED]
    running = subprocess.Popen(
        [*command, *slow], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    log = folder / "results/tiny/logs/train/geometric_convergence"
    end = time.monotonic() + 300
    while not any("iteration" in path.read_text() for path in log.glob("*.log")):
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.2)
    processes = psutil.Process(running.pid).children(recursive=True)
    assert processes
    # As a terminal does it: the signal goes to everything in the foreground.
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(120) != 0
    assert not psutil.wait_procs(processes, timeout=30)[1]
    assert not [path for path in folder.rglob("*") if ".part" in path.name]
    done = _snakemake(folder, *CONFIGURED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "results/tiny/manifest.json").exists()
