"""The workflow as a whole, on a small configuration, in folders of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from checkout import CONFIGURED, ROOT
from checkout import checkout as _checkout
from checkout import planned as _planned
from checkout import snakemake as _snakemake
from waiting import until

from relufit.exchange import EXCHANGES


def test_a_run_leaves_claims_report_manifest_figures_and_traces(finished: Path) -> None:
    run = finished / "results/tiny"
    claims = json.loads((run / "claims.json").read_text())
    assert {claim["verdict"] for claim in claims["claims"]} <= {"confirmed", "refuted", "inconclusive"}
    exact = claims["experiments"]["time_to_accuracy"]["verdicts"]["communication"]
    # Two for each run: three compressors with a master, one of them in every other exchange, and fp32 by all-reduce.
    assert len(exact) == 2 * (len(EXCHANGES) + 3)
    assert {verdict["verdict"] for verdict in exact} == {"confirmed"}
    report = (run / "report.html").read_text()
    assert "Relative error of SGD and QSGD against iterations" in report
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?:', report), "the report fetches nothing"
    for name in ("geometric_convergence", "qsgd_convergence", "iteration_time.timing"):
        assert (run / f"figures/{name}.png").stat().st_size > 10_000
        assert (run / f"figures/{name}.svg").stat().st_size > 5_000
    assert (run / "traces/time_to_accuracy/runs.timing.parquet").exists()
    assert not [path for path in finished.rglob("*") if ".part" in path.name]


def test_every_file_that_is_the_same_on_every_run_is_in_the_manifest(finished: Path) -> None:
    manifest = json.loads((finished / "results/tiny/manifest.json").read_text())
    listed = set(manifest["sha256"]) | set(manifest["depends_on_the_clock"])
    for pattern in ("traces/*/*.parquet", "tables/*.csv", "figures/*", "claims/*.json", "data/*.zarr"):
        paths = {
            path.relative_to(finished / "results/tiny").as_posix() for path in finished.glob(f"results/tiny/{pattern}")
        }
        assert paths
        assert paths <= listed
    assert manifest["command"].startswith("snakemake --cores 2")
    assert manifest["machine"]["packages"]["numba"]


def test_a_second_run_has_nothing_to_do(finished: Path) -> None:
    done = _snakemake(finished, *CONFIGURED)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_change_of_one_setting_runs_that_setting_alone(finished: Path) -> None:
    done = _snakemake(finished, "-n", *CONFIGURED, "--config", "qsgd_convergence={tolerance: 1e-3}")
    text = done.stdout + done.stderr
    assert re.search(r"^train +2$", text, re.M), text
    assert "judge_qsgd_convergence" in text
    assert "judge_geometric_convergence" not in text
    assert not re.search(r"^dataset ", text, re.M)


@pytest.mark.parametrize(
    ("edited", "kinds"),
    [
        (("cli/show.py", "clusters/ec2/preflight.py"), set()),
        (("planted/model.py",), {"dataset", "train", "judge", "claims", "figures", "manifest", "report", "crate"}),
        (("training/loop.py",), {"train", "judge", "claims", "figures", "manifest", "report", "crate"}),
        (("claims/statistics.py",), {"judge", "claims", "figures", "manifest", "report", "crate"}),
        (("figures/style.py",), {"figures", "manifest", "report", "crate"}),
        (("pipeline/manifest.py",), {"manifest", "report", "crate"}),
        (("pipeline/crate.py",), {"crate"}),
        (("report/style.css",), {"report", "crate"}),
    ],
)
def test_an_edit_of_the_package_runs_the_stages_that_depend_on_the_file(
    finished: Path, tmp_path: Path, edited: tuple[str, ...], kinds: set[str]
) -> None:
    # With the compiled loops beside it, which these edits do not touch.
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.pyc"))
    for file in edited:
        path = tmp_path / "src/relufit" / file
        path.write_text(f"{path.read_text() if path.exists() else ''}\n# edited\n")
    done = _snakemake(finished, "-n", *CONFIGURED, PYTHONPATH=str(tmp_path / "src"))
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert _planned(text).keys() == kinds, text
    assert kinds or "Nothing to be done" in text


def test_an_edit_of_an_experiment_or_of_a_cluster_runs_what_is_its_own(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.pyc"))
    for edited, jobs in (
        ("experiments/qsgd_convergence/experiment.py", (0, 1)),
        ("clusters/local_processes.py", (1, 1)),
    ):
        path = tmp_path / "src/relufit" / edited
        before = path.read_text()
        path.write_text(f"{before}\n# edited\n")
        done = _snakemake(finished, "-n", *CONFIGURED, PYTHONPATH=str(tmp_path / "src"))
        path.write_text(before)
        planned = _planned(done.stdout + done.stderr)
        assert (planned.get("train", 0), planned["judge"]) == jobs, done.stdout + done.stderr


def test_another_seed_makes_all_data_and_traces_anew(finished: Path) -> None:
    done = _snakemake(finished, "-n", *CONFIGURED, "--config", "seed=5")
    text = done.stdout + done.stderr
    assert re.search(r"^dataset +2$", text, re.M), text
    assert re.search(r"^train +5$", text, re.M), text


def test_an_ablation_takes_from_another_run_what_is_unchanged(finished: Path) -> None:
    changed = ["--config", "run=ablation", "experiments=[qsgd_convergence]", "qsgd_convergence={levels: [4, 8]}"]
    done = _snakemake(finished, *CONFIGURED, *changed)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = [finished / f"results/{run}/traces/qsgd_convergence" for run in ("tiny", "ablation")]
    for name in ("sgd-fp64", "qsgd-s8"):
        for kind in ("parquet", "timing.parquet"):
            assert (runs[0] / f"{name}.{kind}").read_bytes() == (runs[1] / f"{name}.{kind}").read_bytes()
    assert not (runs[0] / "qsgd-s4.parquet").exists()
    assert (finished / "results/ablation/figures/qsgd_convergence.svg").exists()
    assert not (finished / "results/ablation/figures/geometric_convergence.svg").exists()
    folders = [str(finished / "results" / run) for run in ("tiny", "ablation")]
    command = [sys.executable, "-m", "relufit.cli", "compare", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
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


@pytest.mark.parametrize(
    ("added", "says"),
    [
        (b"# caf\xe9\n", "config.yaml: is no text in UTF-8 (byte 0xe9 in line "),
        (b"seed: [1\n", "config.yaml: is not YAML ("),
        (b"seed: &a [*a]\nrun: 2\n", "config.yaml: "),
    ],
)
def test_what_cannot_be_read_in_the_project_s_own_configuration_is_one_line(
    tmp_path: Path, added: bytes, says: str
) -> None:
    folder = _checkout(tmp_path)
    with (folder / "config.yaml").open("ab") as file:
        file.write(added)
    done = _snakemake(folder, "--cores", "1", "--dry-run")
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert says in text
    assert "Traceback" not in text
    assert 'File "' not in text


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
        target = "results/tiny/traces/time_to_accuracy/runs.parquet"
        done = _snakemake(finished, *CONFIGURED, "--forcerun", "train", "--", target)
    finally:
        shard.write_bytes(kept)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "time_to_accuracy-1.zarr/x/c/1/0: the shard has" in text
    assert "logs/train/time_to_accuracy/runs.log" in text
    assert "Traceback" not in text


def test_an_interrupted_run_leaves_no_process_and_no_half_file_and_is_finished_on_one_core_with_the_same_digests(
    finished: Path, tmp_path: Path
) -> None:
    folder = _checkout(tmp_path)
    # Without `time_to_accuracy`, which has the machine to itself, and would not have begun; it compares all that does
    # not depend on the clock with the serial engine itself.
    experiments = ["--config", "experiments=[geometric_convergence, qsgd_convergence]"]
    slow = [*experiments, "geometric_convergence={tolerance: 1e-12, dimension: 400, trials: 1000}"]
    command = [sys.executable, "-m", "snakemake", *CONFIGURED]
    running = subprocess.Popen(
        [*command, *slow], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    log = folder / "results/tiny/logs/train/geometric_convergence"

    def has_begun() -> bool:
        assert running.poll() is None
        return any("/1000 trials" in path.read_text() for path in log.glob("*.log"))

    until(has_begun, "no job has begun to train")
    processes = psutil.Process(running.pid).children(recursive=True)
    assert processes
    # As a terminal does it: the signal goes to everything in the foreground.
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(300) != 0
    assert not psutil.wait_procs(processes, timeout=300)[1]
    assert not [path for path in folder.rglob("*") if ".part" in path.name]
    done = _snakemake(folder, "--cores", "1", "--configfile", "tiny.yaml", *experiments)
    assert done.returncode == 0, done.stdout + done.stderr
    here, there = (json.loads((one / "results/tiny/manifest.json").read_text())["sha256"] for one in (finished, folder))
    of_a_run = {"claims.json", "claims.md", "config.yaml"}
    files = {path for path in here if path not in of_a_run and "time_to_accuracy" not in path} & set(there)
    assert {path: here[path] for path in files} == {path: there[path] for path in files}
    assert {path for path in there if path not in of_a_run} == files
    assert len(files) > 12
