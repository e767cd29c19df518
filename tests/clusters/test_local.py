"""The cluster of processes on this machine."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client
from living import alive, command_line
from waiting import until

from relufit.clusters import local, open_cluster
from relufit.errors import ClusterError
from relufit.transport.protection import frames_in_clear


def descendants() -> list[psutil.Process]:
    """The processes that this one has started, and those that they have."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if alive(process) and "relufit.clusters" in " ".join(_around(process))
    ]


def _around(process: psutil.Process) -> list[str]:
    """The command lines of a process and of those that it comes from."""
    try:
        return [word for one in (process, *process.parents()) for word in one.cmdline()]
    except psutil.Error:
        return []


def test_a_process_that_was_lost_is_started_again_however_long_that_takes() -> None:
    with open_cluster({"kind": "local"}, 1) as cluster:
        client: Any = cluster.client
        before, *_ = client.run(os.getpid).values()
        os.kill(before, signal.SIGKILL)

        def back() -> bool:
            now = client.run(os.getpid, on_error="ignore").values()
            return len(now) == 2 and before not in now

        until(back, "the process was not started again")


def test_processes_that_do_not_start_in_time_are_told_of_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_STARTING_SECONDS", 0.05)  # sooner than processes can start
    with pytest.raises(ClusterError) as caught, open_cluster({"kind": "local"}, 3):
        pass
    assert caught.value.where == "cluster.local"
    assert caught.value.remedy
    until(lambda: not descendants(), "a process is left")


def test_processes_have_the_environment_of_when_they_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "other"):
        monkeypatch.setenv("RELUFIT_TOLD", value)
        with open_cluster({"kind": "local"}, 1) as cluster:
            client: Any = cluster.client
            assert set(client.run(os.getenv, "RELUFIT_TOLD").values()) == {value}


def _folder_of(dask_worker: Any) -> str:
    return str(dask_worker.local_directory)


def _limits_of(dask_worker: Any) -> object:
    return dask_worker.memory_manager.memory_limit


def test_nobody_else_can_reach_the_processes_read_their_key_or_write_their_folders(
    assert_on_loopback: Callable[[list[psutil.Process]], None],
) -> None:
    with open_cluster({"kind": "local"}, 1) as cluster:
        client: Any = cluster.client
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        workers = list(client.run(os.getpid))
        assert all(worker.startswith("tls://127.0.0.1:") for worker in workers)
        with pytest.raises(OSError, match=r"."), dask.config.set({"distributed.comm.retry.count": 0}):
            Client(address.replace("tls://", "tcp://"), timeout=2)
        started = descendants()
        assert_on_loopback(started)
        command_lines = " ".join(word for process in started for word in command_line(process))
        environments = " ".join(value for process in started for value in process.environ().values())
        assert "PRIVATE KEY" not in command_lines + environments
        folders = [Path(folder) for folder in client.run(_folder_of).values()]
        for folder in folders:
            private = next(parent for parent in folder.parents if parent.name.startswith("relufit-"))
            about = private.stat()
            assert (stat.S_IMODE(about.st_mode), about.st_uid) == (0o700, os.getuid())
        assert set(client.run(dask.config.get, "distributed.admin.tick.interval").values()) == {"500ms"}
        assert set(client.run(_limits_of).values()) == {None}, "rows that are mapped are no memory"
        assert set(client.run(frames_in_clear, "127.0.0.1").values()) == {True}
        assert set(client.run(frames_in_clear, "10.0.0.1").values()) == {False}
    assert not any(folder.exists() for folder in folders)


#: A script as people write it, without a main guard.
PLAIN_SCRIPT = """
import os
print("begun", os.getpid(), flush=True)
import relufit
from relufit.clusters import open_cluster
from relufit.planted import PlantedModel

spec = relufit.TrainingSpec(PlantedModel(210, 12, 3), "fp64", workers=2, batch_size=20, iterations=25)
with open_cluster({"kind": "local"}, 2) as cluster:
    trace = relufit.train(spec, cluster.client)
print("same" if trace.weights.tobytes() == relufit.train(spec).weights.tobytes() else "other", flush=True)
"""
OTHERS_SETTINGS = """
scheduler-address: tcp://127.0.0.1:1
temporary-directory: /nowhere
distributed:
  worker: {preload: [no_such_module], resources: {GPU: 1}, memory: {terminate: 0.000001}}
  nanny: {preload: [no_such_module], environ: {RELUFIT_FRAMES: other}}
  scheduler: {preload: [no_such_module], worker-ttl: 1ms, work-stealing: odd}
  comm:
    require-encryption: true
    compression: no-such-compression
    timeouts: {connect: 1ms, tcp: 1ms}
    tls: {ca-file: /nowhere.pem, ciphers: NONE, client: {key: /nowhere.pem, cert: /nowhere.pem}}
"""


def run_plain_script(folder: Path, limit: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(PLAIN_SCRIPT)
    return subprocess.run(
        ["bash", "-c", f'{limit} exec "$@"', "bash", sys.executable, str(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_script_without_a_main_guard_runs_in_a_long_temporary_folder_where_somebody_has_put_code(
    tmp_path: Path,
) -> None:
    temporary = tmp_path / ("x" * 100)
    hostile = temporary / "dask-scratch-space"
    hostile.mkdir(parents=True)
    for module in ("relufit", "numpy", "numba", "yaml"):
        (hostile / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    done = run_plain_script(tmp_path, "ulimit -Sn 100;", TMPDIR=str(temporary))
    assert done.returncode == 0, done.stderr
    begun, comparison = done.stdout.splitlines()
    assert begun.startswith("begun"), "it ran once, in no worker"
    assert comparison == "same"
    assert not (tmp_path / "ran").exists()
    assert list(temporary.iterdir()) == [hostile]


def test_a_dask_configuration_that_would_keep_processes_from_starting_does_not(tmp_path: Path) -> None:
    (tmp_path / "dask.yaml").write_text(OTHERS_SETTINGS)
    done = run_plain_script(
        tmp_path,
        DASK_CONFIG=str(tmp_path / "dask.yaml"),
        DASK_DISTRIBUTED__WORKER__DAEMON="no",
        DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME="tcp",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "same"


def test_a_dask_configuration_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "dask.yaml").write_text("distributed: {worker: [")
    done = run_plain_script(tmp_path, DASK_CONFIG=str(tmp_path / "dask.yaml"))
    last = done.stderr.splitlines()[-1]
    assert "cluster: Dask cannot be imported (" in last
    assert "move away Dask's configuration" in last


def test_too_few_open_files_are_told_before_anything_starts(tmp_path: Path) -> None:
    done = run_plain_script(tmp_path, "ulimit -n 64;")
    assert "cluster.local: 3 processes need about" in done.stderr.splitlines()[-1]
    assert "`ulimit -n " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("defect", "told"),
    [
        ("raise OSError('no process can be started')", "no process can be started"),
        ("import sys; sys.path.clear()", "ModuleNotFoundError"),
        (
            "import distributed.nanny as nanny\n"
            "async def start(self):\n"
            "    raise OSError('no worker can be started')\n"
            "nanny.WorkerProcess.start = start\n",
            "no worker can be started",
        ),
    ],
)
def test_processes_that_do_not_start_say_why_as_soon_as_they_know(
    defect: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_STARTING_SECONDS", 3600.0)  # nothing waits for a deadline
    monkeypatch.setattr(local, "_PROGRAM", local._PROGRAM.replace("from relufit", f"{defect}\nfrom relufit"))
    with pytest.raises(ClusterError) as caught, open_cluster({"kind": "local"}, 1):
        pass
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    until(lambda: not descendants(), "a process is left")


ENDLESS = """
import sys
from relufit.clusters import open_cluster
with open_cluster({"kind": "local"}, 1) as cluster:
    print(cluster.client.scheduler_info(n_workers=-1) and "open", flush=True)
    sys.stdin.read()
"""


def test_a_program_that_is_killed_takes_its_processes_and_their_folder_with_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 4
    process.kill()
    process.communicate()

    until(lambda: not any(map(alive, started)), "a process is left")
    until(lambda: not list(tmp_path.glob("relufit-*")), "a folder is left")
