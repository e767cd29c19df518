"""Make the environment in .venv: every package of the lock, checked against its hash, then relufit itself.

Runs with any Python 3 and its standard library alone; `make setup` calls it. What pip says goes to .venv/setup.log.
"""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(
        "relufit: error: Python {}.{} ({}) is not supported; install Python 3.11, 3.12 or 3.13 and run "
        "`make setup PYTHON=/path/to/python3.12`".format(*sys.version_info[:2], sys.executable)
    )

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER, LOCK = ROOT / ".venv", ROOT / "envs" / "requirements.lock"
LOG = FOLDER / "setup.log"
#: Seconds between two lines where there is no terminal, and the share of the packages between two lines.
EVERY, SHARE = 15.0, 0.1
_TAIL = 8

_NETWORK = (
    "the package index cannot be reached; check the network; behind a proxy set HTTPS_PROXY; for a mirror set "
    "PIP_INDEX_URL or use `pip config set global.index-url URL`; then run `make setup` again"
)
#: What pip or venv says when something fails, and what to do about it; the first that fits is told.
REMEDIES = (
    (
        r"DO NOT MATCH THE HASHES|Hashes are required|Expected sha256",
        "a download is not what envs/requirements.lock names, and was not installed; the lock or the index was "
        "changed: compare the lock with `git diff envs/requirements.lock`, or use another index",
    ),
    (r"No space left on device|Disk quota exceeded", "the disk is full; the environment takes about 2 GB"),
    (r"Permission denied|Read-only file system", "this folder cannot be written to; use a copy that is yours"),
    (
        r"ensurepip|No module named '?(venv|pip)",
        "this Python cannot make virtual environments; on Debian and Ubuntu run `apt-get install python3-venv`",
    ),
    (
        r"ConnectionError|Connection refused|Connection broken|ConnectTimeout|ReadTimeout|timed out|ProxyError|"
        r"name resolution|SSLError|Network is unreachable|HTTPError|Max retries|40[37] Client Error|50\d Server Error",
        _NETWORK,
    ),
    (
        r"No matching distribution found",
        "the index that pip uses does not have that package for this Python and machine, or " + _NETWORK,
    ),
)


class SetupError(Exception):
    """A step has failed; its text says what to do."""


def remedy(output: str) -> str:
    """Return what to do about a failure, from what the failing program has printed."""
    return next((todo for pattern, todo in REMEDIES if re.search(pattern, output)), f"see {LOG}")


class Reporter:
    """Says how far a step is: a line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int) -> None:
        self._total, self._terminal = total, sys.stderr.isatty()
        self._told_at, self._told = time.monotonic(), 0

    def tell(self, count: int, name: str) -> None:
        """Say that package number `count` is being fetched."""
        text = f"relufit: {count} of {self._total} packages: {name}"
        now = time.monotonic()
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)
        elif now - self._told_at >= EVERY and count - self._told >= SHARE * self._total:
            self._told_at, self._told = now, count
            print(text, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Say a line."""
        print(f"\r\x1b[K{text}" if self._terminal else text, file=sys.stderr, flush=True)


def run(command: Sequence[str], what: str, reporter: Reporter) -> None:
    """Run a command, its output to the log, and say which package pip has come to.

    Raises
    ------
    SetupError
        If it fails, with what to do.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            lines.append(line)
            if line.startswith("Collecting "):
                reporter.tell(sum(one.startswith("Collecting ") for one in lines), line.split()[1])
            elif line.startswith("Installing collected packages"):
                reporter.say("relufit: all hashes match; installing, a minute or so")
    output = "".join(lines)
    try:
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n{output}")
    except OSError:
        pass
    if running.returncode:
        errors = [line.rstrip() for line in lines if re.search(r"ERROR|Error|error|Expected|Got", line)] or lines
        told = "".join(f"    {line.strip()[:200]}\n" for line in errors[-_TAIL:])
        raise SetupError(f"{told}relufit: error: {what} has failed: {remedy(output)}")


def packages() -> int:
    """Return how many packages the lock has for any machine; some of them are not for this one."""
    return len(re.findall(r"^[A-Za-z0-9]", LOCK.read_text(encoding="utf-8"), re.M))


def main() -> None:
    """Make the environment."""
    total = packages()
    reporter = Reporter(total)
    reporter.say(f"relufit: setting up .venv: {total} packages, some minutes; log: .venv/setup.log")
    pip = [
        str(FOLDER / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
    ]
    run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], "making the virtual environment", reporter)
    run([*pip, "--require-hashes", "-r", str(LOCK)], "installing the packages of envs/requirements.lock", reporter)
    run([*pip, "--no-deps", "--no-build-isolation", "--editable", "."], "installing relufit itself", reporter)
    reporter.say("relufit: .venv is ready")


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(("\r\x1b[K" if sys.stderr.isatty() else "") + str(error))
    except OSError as error:
        sys.exit(f"relufit: error: {error}: {remedy(str(error))}")
    except KeyboardInterrupt:
        sys.exit("\nrelufit: interrupted; run `make setup` again")
