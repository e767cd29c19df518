"""The settings of the shell that a command finds itself in change nothing in what it writes."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from relufit.numerics import compiled_cache

#: Several commands in one process, each as by hand.
_COMMANDS = """
import json, sys
from relufit.cli import main
for words in json.loads(sys.argv[1]):
    status = main(words)
    if status:
        sys.exit(status)
"""
#: A program whose results could depend on the number of threads of a BLAS library.
_LINEAR = """
import hashlib, numpy as np
from relufit import planted, theory
from relufit.compression import make_compressor
from relufit.solvers.least_squares import fit
x, y, w_star = planted.generate(500, 200, 1)
spectrum = theory.instance_spectrum(x, y, w_star)
results = [fit(x[y > 0], y[y > 0]), *spectrum]
results.append(theory.descent_curve(*spectrum[:2], 0.9, 10**6, initial_error_squared=spectrum[2]))
for name, parameters in (
    *(("top_k", {"fraction": fraction}) for fraction in (0.01, 0.05)), ("top_k_sign", {"fraction": 0.2}),
    *(("eden", {"bits": bits}) for bits in (1, 2, 4)), ("natural", {}), ("sign", {}), ("one_bit", {}),
    *(("qsgd", {"levels": levels, "norm": norm}) for levels in (4, 3000) for norm in ("l2", "max")),
):
    compressor = make_compressor(name, **parameters)
    for d in (6, 125, 1000, 100_000):
        known = [*compressor.encoding(d), compressor.variance(d) or 0.0, compressor.expected_bits(d) or 0.0]
        results.append(np.array(known))
results.append(np.array([theory.qsgd_sum_variance(d, 300, 64) for d in (125, 100_000)]))
print(*(hashlib.sha256(array.tobytes()).hexdigest() for array in results))
"""
_QUANTIZER = ["--compressor", "qsgd", "--levels", "4"]
_MATPLOTLIBRC = """text.usetex: true
savefig.bbox: tight
figure.dpi: 33
font.family: no such font
backend: TkAgg
no.such.key: 7
lines.linewidth: thick
"""


def _inputs(folder: Path) -> None:
    """Write the table that a figure is drawn from."""
    (folder / "tables").mkdir(parents=True)
    rows = [f"{16 * k},{1.2 * k},{k},{1.4 * k},{1.1 * k}" for k in range(1, 5)]
    head = "iteration,relative_error,low,high,predicted"
    lines = [f"{name},{row}" for name in ("sgd-fp64", "qsgd-s4-packed") for row in rows]
    (folder / "tables" / "qsgd_convergence.curves.csv").write_text("\n".join([f"setting,{head}", *lines]) + "\n")


def _run(
    folder: Path, *, before: Sequence[str] = (), after: str = "", mask: int = 0o022, **settings: str | None
) -> tuple[dict[str, str], str]:
    """Return the digests of what some commands write under some settings, and what they said on standard error."""
    _inputs(folder)
    commands = [
        ["dataset", "data.zarr", "-n", "60", "-d", "5"],
        ["train", "data.zarr", "-o", "trace.parquet", "-m", "4", "--iterations", "5", *_QUANTIZER],
        ["compress", "--gaussian", "300", *_QUANTIZER, "--trials", "2", "-o", "payload"],
        ["figure", "qsgd_convergence", "--tables", "tables", "-o", "figures"],
    ]
    environment: dict[str, str] = {**os.environ, "HOME": str(folder)}
    for name, value in settings.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    words = [*before, sys.executable, "-c", _COMMANDS, json.dumps(commands)]
    done = subprocess.run(
        ["sh", "-c", f"umask {mask:03o}; exec {shlex.join(words)} {after}"],
        env=environment,
        capture_output=True,
        check=False,
        cwd=folder,
    )
    stderr = done.stderr.decode(errors="replace")
    assert done.returncode == 0, stderr
    assert "Traceback" not in stderr + done.stdout.decode(errors="replace")
    made = [
        path
        for part in ("data.zarr", "payload", "figures", "trace.parquet")
        for path in [folder / part, *(folder / part).rglob("*")]
        if path.is_file()
    ]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in made}, stderr


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    digests, _ = _run(tmp_path_factory.mktemp("plain"))
    assert len(digests) > 8
    return digests


class Shell(NamedTuple):
    """How a shell starts a command."""

    settings: dict[str, str | None]
    #: Streams that it closes, and the umask.
    closed: str = ""
    mask: int = 0o022
    #: A file of settings of matplotlib in the working folder.
    file: str = ""


#: Settings that concern one thing each; the same processes stand for several, since each takes seconds to start.
_SHELLS = {
    "an unknown backend of matplotlib, all streams closed, what is written closed to others": Shell(
        {"MPLBACKEND": "nonsense"}, "<&- >&- 2>&-", 0o077
    ),
    "threads, standard error closed, what is written open to others": Shell(
        {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "1"}, "2>&-", 0o000
    ),
    "a backend of notebooks, in ASCII": Shell(
        {
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYTHONIOENCODING": "ascii",
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        }
    ),
    "a backend without a display, warnings as errors, neither assertions nor docstrings": Shell(
        {"MPLBACKEND": "TkAgg", "DISPLAY": None, "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2"}
    ),
    "no home, Latin-1, a file of settings of matplotlib": Shell(
        {"HOME": None, "XDG_CACHE_HOME": None, "PYTHONIOENCODING": "latin-1"}, file=_MATPLOTLIBRC
    ),
    "a home that is not there, a narrow terminal, another time zone": Shell(
        {
            "HOME": "/nonexistent",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "COLUMNS": "20",
            "TZ": "Pacific/Kiritimati",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    ),
}


@pytest.mark.parametrize("name", _SHELLS)
def test_what_a_shell_sets_changes_no_output(tmp_path: Path, expected: dict[str, str], name: str) -> None:
    shell, folder = _SHELLS[name], tmp_path / "run"
    folder.mkdir()
    if shell.file:
        (folder / "matplotlibrc").write_text(shell.file)
    digests, stderr = _run(folder, after=shell.closed, mask=shell.mask, **shell.settings)
    assert digests == expected
    assert "matplotlibrc" not in stderr


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_a_user_without_a_name_writes_the_same(expected: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("/tmp") / f"relufit-settings-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        nobody = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
        if subprocess.run([*nobody, sys.executable, "-c", "import relufit"], check=False, cwd="/").returncode:
            pytest.skip("the interpreter is closed to other users")
        (folder / "run").mkdir()
        # The loops that are compiled here, where that user may not look; `test_loop_folders` has it compile its own.
        monkeypatch.setattr(compiled_cache.config, "CACHE_DIR", str(folder / "loops"))
        (theirs, _), (ours, _) = islice(compiled_cache._candidates(), 2)
        if ours.exists():
            shutil.copytree(ours, theirs)
        for path in (folder / "run", folder / "loops", *(folder / "loops").rglob("*")):
            if path.exists():
                os.chown(path, 54321, 54321)
        unnamed: dict[str, str | None] = dict.fromkeys(("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"))
        cache = {"NUMBA_CACHE_DIR": str(folder / "loops")}
        assert _run(folder / "run", before=nobody, **unnamed, **cache)[0] == expected
    finally:
        shutil.rmtree(folder)


def test_linear_algebra_gives_the_same_bits_with_any_number_of_threads(run_python: Callable[..., str]) -> None:
    answers = {run_python(_LINEAR, OPENBLAS_NUM_THREADS=count, OMP_NUM_THREADS=count) for count in ("1", "2", "4")}
    assert len(answers) == 1
