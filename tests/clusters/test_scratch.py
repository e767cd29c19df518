"""Private folders of Dask's processes: they are gone after every end, also of a process that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import until

from relufit.clusters.scratch import private_folder

#: Runs in place of Dask: tells its folder, and leaves a process that writes there after this one has ended.
MODULE = """
import subprocess, sys, time
import dask
folder = dask.config.get("temporary-directory")
busy = "import pathlib, sys\\nfor n in range(2000): (pathlib.Path(sys.argv[1]) / f'{n}').write_text('x')"
subprocess.Popen([sys.executable, "-c", busy, folder], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(folder, flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [None, signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_the_folder_of_a_command_goes_with_its_process(tmp_path: Path, number: signal.Signals | None) -> None:
    (tmp_path / "stands_in.py").write_text(MODULE)
    process = subprocess.Popen(
        [sys.executable, "-m", "relufit.clusters.launch", "stands_in", "0" if number is None else "600"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    if number is not None:
        assert folder.is_dir()
        os.killpg(process.pid, number)
    process.communicate()
    until(lambda: not folder.exists(), "the folder is gone")


def test_the_folder_of_a_context_is_gone_when_it_ends() -> None:
    with private_folder() as folder:
        assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o700, os.getuid())
        (folder / "in" / "side").mkdir(parents=True)
    assert not folder.exists()
