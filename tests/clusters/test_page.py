"""Every command of docs/clusters.md is run, in its order; the lines of the batch script as ordinary processes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from real_processes import BIN, ROOT, environment, make_certificate
from waiting import until

from relufit.claims import trace_files
from relufit.clusters import open_cluster
from relufit.experiments import find_group
from relufit.experiments.configuration import load
from relufit.experiments.framework import trials
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train

#: What makes the page's run with real ranks short.
SMALL = "time_to_accuracy={dimension: 100, mini_batch: 8, iterations: 500}"
PAGE = (ROOT / "docs/clusters.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def commands(program: str) -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith(f"{program} ")]


def dask_lines() -> list[str]:
    """The lines that start a scheduler and workers, the first with a variable before it."""
    return [line for block in blocks("sh") for line in block.splitlines() if "dask" in shlex.split(line)]


def succeed(words: list[str]) -> None:
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_no_command_that_no_test_here_knows() -> None:
    programs = {line.split()[0] for block in blocks("sh") for line in block.splitlines()}
    assert programs == {"mkdir", "openssl", "env", "dask", "snakemake"}
    assert (len(dask_lines()), len(commands("snakemake"))) == (2, 2)
    assert (len(blocks("yaml")), len(blocks("bash"))) == (2, 1)


@pytest.mark.parametrize("block", blocks("yaml"), ids=["address", "ssh"])
def test_a_configuration_is_a_possible_one(block: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(block)
    usual, config = load([ROOT / "config.yaml"]), load([ROOT / "config.yaml", tmp_path / "cluster.yaml"])
    assert config["cluster"] == usual["cluster"] | yaml.safe_load(block)["cluster"]


def test_a_run_in_one_process_can_be_planned() -> None:
    words = shlex.split(commands("snakemake")[0])
    succeed([str(BIN / words[0]), "-n", "--nolock", *words[1:]])


def hostile_environment(folder: Path) -> dict[str, str]:
    """An environment whose temporary folder has Dask's usual one in it, with code of somebody else."""
    hostile = folder / "tmp" / "dask-scratch-space"
    hostile.mkdir(parents=True, exist_ok=True)
    for module in ("relufit", "numpy"):
        (hostile / f"{module}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    return {**environment(), "TMPDIR": str(hostile.parent)}


def test_from_the_certificate_to_the_traces_and_back(
    tmp_path: Path, assert_on_loopback: Callable[[list[psutil.Process]], None]
) -> None:
    def here(text: str) -> str:
        return text.replace("~/", f"{tmp_path}/").replace("$HOME/", f"{tmp_path}/")

    for line in (*commands("mkdir"), *commands("openssl")):
        succeed(shlex.split(here(line)))
    assert all((tmp_path / name).stat().st_mode & 0o077 == 0 for name in ("relufit-tls", "relufit-dask"))
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(here(blocks("yaml")[0]))
    running = []
    try:
        for line in dask_lines():
            words = [str(BIN / word) if word == "dask" else word for word in shlex.split(here(line))]
            with (tmp_path / f"{len(running)}.log").open("wb") as log:
                running.append(
                    subprocess.Popen(words, cwd=tmp_path, env=hostile_environment(tmp_path), stdout=log, stderr=log)
                )
        line = commands("snakemake")[1].replace("run=there", f"run=there results={tmp_path}/results")
        line = line.replace("run=there", f"run=there {shlex.quote(SMALL)}")
        line = line.replace(" results/there", f" {tmp_path}/results/there").replace(" cluster.yaml", f" {cluster}")
        words = shlex.split(line)
        succeed([str(BIN / words[0]), "--nolock", *words[1:]])
        assert all(process.poll() is None for process in running)
        children = [child for process in running for child in psutil.Process(process.pid).children(recursive=True)]
        assert_on_loopback([*(psutil.Process(process.pid) for process in running), *children])
        assert not (tmp_path / "ran").exists(), "what another user has put into the temporary folder was run"
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGINT)  # as Ctrl-C
            process.wait(300)
    traces = tmp_path / "results/there/traces"
    ranks = trace_files.read(traces / "time_to_accuracy/runs.timing.parquet").about
    assert ranks["cluster"] == {"kind": "address", "slots": 3, "tls": True}
    trained = [trial for setting in ranks["settings"].values() for trial in setting["trials"]]
    assert trained
    assert all(trial["weights_sha256"] == trial["serial_sha256"] for trial in trained)
    spread = traces / "quantizer_variance/quantizers.parquet"
    assert trace_files.read(trace_files.timing_path(spread)).about["cluster"] == ranks["cluster"]
    config = load([ROOT / "config.yaml", ROOT / "config/smoke.yaml"])
    settings = find_group(config, "quantizer_variance", "quantizers")
    trials.run(settings, config["seed"], tmp_path / "alone.parquet", tmp_path)
    assert spread.read_bytes() == (tmp_path / "alone.parquet").read_bytes()


def test_the_lines_of_the_batch_script_make_a_cluster_that_is_met_by_its_file(tmp_path: Path) -> None:
    tls = make_certificate(tmp_path / "relufit-tls")
    (tmp_path / "relufit/.venv").mkdir(parents=True)
    (tmp_path / "relufit/.venv/bin").symlink_to(BIN)
    # In place of SLURM's own, which starts its command on every node: here there is one.
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nexec "$@"\n')
    srun.chmod(0o755)
    script = tmp_path / "relufit.sbatch"
    (text,) = blocks("bash")
    text = text.replace("dask scheduler ", "dask scheduler --host 127.0.0.1 ")
    script.write_text(text.replace("dask worker ", "dask worker --host 127.0.0.1 "))
    env = {**hostile_environment(tmp_path), "HOME": str(tmp_path), "WORKERS": "3"}
    env["PATH"] = f"{tmp_path}{os.pathsep}{env['PATH']}"
    with (tmp_path / "log").open("wb") as log:
        job = subprocess.Popen(
            ["bash", str(script)], cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        options = {"scheduler_file": str(tmp_path / "relufit-dask/scheduler.json"), "tls": tls, "timeout": 300}
        spec = TrainingSpec(PlantedModel(210, 12, 3), "fp64", workers=2, batch_size=20, iterations=25)
        with open_cluster({"kind": "address", "address": options}, 2) as cluster:
            trace = train(spec, cluster.client)
            assert cluster.describe() == {"kind": "address", "slots": 3, "tls": True}
        assert trace.weights.tobytes() == train(spec).weights.tobytes()
        assert job.poll() is None
        assert not (tmp_path / "ran").exists(), "what another user has put into the temporary folder was run"
    finally:
        os.killpg(job.pid, signal.SIGTERM)  # as scancel
        job.wait(300)

    def gone() -> bool:
        try:
            os.killpg(job.pid, 0)
        except ProcessLookupError:
            return True
        return False

    until(gone, "a process of the job is left")
