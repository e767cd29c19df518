"""`make setup`: what it says, what it does where something fails, and that nothing half-made counts."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
#: A project that builds itself, without packages from anywhere.
BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "own-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("own-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n")
        wheel.writestr("own-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("own-1.dist-info/RECORD", "")
    return name
"""


def _wheel(folder: Path) -> str:
    """Write the wheel of a package that holds nothing, and return its SHA-256."""
    folder.mkdir()
    path = folder / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        wheel.writestr(
            "small-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("small-1.0.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout whose lock has one package, which lies in a folder beside it."""
    folder = tmp_path / "checkout"
    (folder / "envs").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "envs/setup.py", folder / "envs")
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (folder / "pyproject.toml").write_text(f'{build}[project]\nname = "own"\nversion = "1"\n')
    (folder / "backend.py").write_text(BACKEND)
    (folder / "envs/requirements.lock").write_text(f"small==1.0 --hash=sha256:{_wheel(tmp_path / 'wheels')}\n")
    return folder


def _setup(folder: Path, python: str = sys.executable, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `make setup` with wheels from a folder, without an index."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder.parent / "wheels"), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        ["make", "setup", f"PYTHON={python}"],
        cwd=folder,
        env={**clean, **wheels, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _stub(folder: Path, before: str) -> str:
    """Return an interpreter that does something before the program it is given."""
    path = folder.parent / "python3"
    program = f"import runpy, sys; {before}; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def _module() -> ModuleType:
    description = importlib.util.spec_from_file_location("setup", ROOT / "envs/setup.py")
    assert description is not None
    assert description.loader is not None
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    return module


def test_a_set_up_says_what_it_does_and_when_it_is_done_and_is_not_repeated(project: Path) -> None:
    done = _setup(project)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("relufit: setting up .venv: 1 packages")
    assert lines[-1] == "relufit: .venv is ready"
    assert "Successfully installed small-1.0" in (project / ".venv/setup.log").read_text()
    assert (project / ".venv/.ready").exists()
    again = _setup(project)
    assert (again.returncode, again.stderr) == (0, "")


def test_a_wrong_hash_installs_nothing_and_says_what_to_do(project: Path) -> None:
    (project / "envs/requirements.lock").write_text(f"small==1.0 --hash=sha256:{'0' * 64}\n")
    done = _setup(project)
    assert done.returncode != 0
    assert "a download is not what envs/requirements.lock names, and was not installed" in done.stderr
    assert "git diff envs/requirements.lock" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 12
    assert not (project / ".venv/.ready").exists()
    assert not list(project.glob(".venv/lib/*/site-packages/small*"))


def test_an_index_that_cannot_be_reached_says_what_to_do(project: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        done = _setup(project, PIP_NO_INDEX="0", PIP_FIND_LINKS="", PIP_INDEX_URL=address, PIP_RETRIES="0")
    assert done.returncode != 0
    for word in ("the package index cannot be reached", "HTTPS_PROXY", "PIP_INDEX_URL", "run `make setup` again"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".venv/.ready").exists()


def test_what_failed_is_made_whole_by_the_next_set_up(project: Path) -> None:
    kept = (project / "envs/requirements.lock").read_text()
    assert _setup(project).returncode == 0
    (project / "envs/requirements.lock").write_text(f"small==1.0 --hash=sha256:{'0' * 64}\n")
    os.utime(project / ".venv/.ready", (0, 0))
    assert _setup(project).returncode != 0
    assert not (project / ".venv/.ready").exists()
    (project / "envs/requirements.lock").write_text(kept)
    assert _setup(project).returncode == 0
    assert (project / ".venv/.ready").exists()


@pytest.mark.parametrize("version", ["(3, 6, 9)", "(3, 10, 4)", "(3, 14, 0)"])
def test_a_python_that_is_not_supported_is_told_in_a_line(project: Path, version: str) -> None:
    done = _setup(project, _stub(project, f"sys.version_info = {version}"))
    assert done.returncode != 0
    first = done.stderr.splitlines()[0]
    assert first.startswith(f"relufit: error: Python {version[1:].replace(', ', '.', 1).split(',')[0]} ")
    assert "make setup PYTHON=" in first
    assert not (project / ".venv").exists()


def test_an_old_python_can_read_the_program_far_enough_to_say_so() -> None:
    head = (ROOT / "envs/setup.py").read_text().partition("\nimport re\n")[0]
    compile(head, "setup.py", "exec")
    assert "__future__" not in head
    assert "f'" not in head
    assert 'f"' not in head


def test_a_python_without_the_venv_module_says_what_to_install(project: Path) -> None:
    stub = _stub(project, "sys.version_info[0]")
    Path(stub).write_text(
        '#!/bin/sh\n[ "$1" = -m ] && { echo "Error: ensurepip is not available" >&2; exit 1; }\n'
        f"exec {sys.executable} -c \"import runpy, sys; sys.executable = '{stub}'; sys.argv = sys.argv[1:]; "
        'runpy.run_path(sys.argv[0], run_name=\'__main__\')" "$@"\n'
    )
    done = _setup(project, stub)
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr
    assert not (project / ".venv/.ready").exists()


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying (Retry(total=0)) after connection broken by 'ProxyError('Cannot connect", "HTTPS_PROXY"),
        ("Temporary failure in name resolution", "check the network"),
        ("[Errno 13] Permission denied: '/x/.venv'", "cannot be written to"),
        ("something that nobody has seen before", "setup.log"),
    ],
)
def test_each_kind_of_failure_has_a_remedy(output: str, word: str) -> None:
    assert word in _module().remedy(output)
