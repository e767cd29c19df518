"""The workflow as in a container: a uid without a name, no home, a read-only checkout and environment, the C locale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import ROOT, checkout

from relufit.claims import trace_files

UID = 54321
# `env` between them, since setpriv itself starts the first program with the rights of root.
BECOME = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--", "env"]
#: Compiled loops that the run needs and does not find beside the sources.
MISSING = "kernels.gradient_sum-*.loop"
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
CONFIGURATION = """
run: tiny
experiments: [qsgd_convergence]
qsgd_convergence: {dimension: 60, workers: 2, mini_batch: 8, levels: [8], max_norm_levels: [], trials: 2}
time_to_accuracy: {dimension: 60, mini_batch: 8, levels: [8], other_codings: [], tolerance: 1.0e-2, trials: 2}
"""


def _can(*command: str | Path) -> bool:
    """Tell whether the other user can run a command."""
    done = subprocess.run([*BECOME, *command], capture_output=True, check=False, cwd="/")
    return done.returncode == 0


def _interpreter() -> Path | None:
    """Return an interpreter of this version that the other user can run."""
    candidates = [Path(sys.base_prefix) / "bin" / VERSION, Path("/usr/bin") / VERSION, Path("/usr/local/bin") / VERSION]
    return next((path for path in candidates if path.exists() and _can(path, "-c", "import ssl, sqlite3, venv")), None)


@pytest.fixture(scope="module")
def container() -> Iterator[Path]:
    """A folder with a checkout and an environment that belong to root, and a working folder of the other user."""
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("becoming another user needs root and setpriv")
    packages = Path(sys.prefix) / "lib" / VERSION / "site-packages"
    python = _interpreter()
    if python is None or not _can("test", "-r", packages / "numba/__init__.py"):
        pytest.skip("another user cannot run this Python, or read its packages")
    folder = Path(tempfile.mkdtemp(prefix="container-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        copied = checkout(folder / "checkout", CONFIGURATION)
        # With the loops that are compiled here already, but for some.
        shutil.copytree(ROOT / "src", copied / "src", ignore=shutil.ignore_patterns(MISSING))
        shutil.copy(ROOT / "Makefile", copied)
        for name in ("pyproject.toml", "envs/requirements.lock"):
            shutil.copy(ROOT / name, copied / name)
        environment = copied / ".venv"
        (environment / "bin").mkdir(parents=True)
        (environment / "lib" / VERSION).mkdir(parents=True)
        (environment / "lib" / VERSION / "site-packages").symlink_to(packages)
        (environment / "bin/python").symlink_to(python)
        (environment / "pyvenv.cfg").write_text(f"home = {python.parent}\nversion = {sys.version.split()[0]}\n")
        for name, module in (("snakemake", "snakemake.cli"), ("relufit", "relufit.cli")):
            script = environment / "bin" / name
            program = f"import sys\nfrom {module} import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
            script.write_text(f"#!{environment}/bin/python\n{program}")
            script.chmod(0o755)
        (environment / ".ready").touch()
        subprocess.run(["chmod", "-R", "a-w,a+rX", str(copied)], check=True)
        for name in ("work", f"{'t' * (100 - len(str(folder)) - 1)}"):
            (folder / name).mkdir()
            os.chown(folder / name, UID, UID)
        yield folder
    finally:
        shutil.rmtree(folder)


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the other user, in its working folder, with next to nothing in the environment."""
    (temporary,) = folder.glob("ttt*")
    assert len(str(temporary)) == 100
    environment = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C",
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(folder / "checkout/src"),
    }
    return subprocess.run(
        [*BECOME, *command],
        cwd=folder / "work",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def _state(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def test_the_workflow_runs_and_writes_to_the_working_folder_alone(container: Path) -> None:
    before = _state(container / "checkout")
    work = str(container / "work")
    done = _run(container, "make", "-C", str(container / "checkout"), "smoke", f"WORK={work}", "CONFIG=tiny.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    claims = json.loads((container / "work/results/tiny/claims.json").read_text())
    assert claims["experiments"]["qsgd_convergence"]["verdict"] in {"confirmed", "refuted", "inconclusive"}
    assert (container / "work/results/tiny/report.html").exists()
    assert "Report: results/tiny/report.html" in done.stderr
    assert list((container / "work/.home/.cache/relufit").rglob(MISSING))
    assert _state(container / "checkout") == before
    (temporary,) = container.glob("ttt*")
    assert not list(temporary.iterdir())


def test_snakemake_itself_runs_from_any_folder_given_a_home_with_ranks_on_a_cluster_of_this_machine(
    container: Path,
) -> None:
    snakefile, configuration = (str(container / "checkout" / name) for name in ("Snakefile", "tiny.yaml"))
    snakemake = str(container / "checkout/.venv/bin/snakemake")
    command = [f"HOME={container / 'work' / '.home'}", snakemake, "-s", snakefile, "--configfile", configuration]
    trace = "results/other/traces/time_to_accuracy/runs.parquet"
    changed = ["--config", "run=other", "experiments=[time_to_accuracy]"]
    done = _run(container, *command, "--cores", "2", *changed, "--", trace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train time_to_accuracy/runs" in done.stderr
    about = trace_files.read(trace_files.timing_path(container / "work" / trace)).about
    assert about["cluster"]["kind"] == "local"
    (temporary,) = container.glob("ttt*")
    assert not list(temporary.iterdir())
