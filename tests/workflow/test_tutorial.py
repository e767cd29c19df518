"""The commands and the program of docs/tutorial.md are run in their order, and print what the page shows."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import launcher
import pytest
from checkout import ROOT, checkout, snakemake

PAGE = (ROOT / "docs/tutorial.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
#: Seconds of a run and speeds, which differ from machine to machine, and the machine.
_CLOCK = re.compile(r", [\d.]+ s$|( +[\d.]+){2}$|on this machine \(.*\)", re.M)


def _shown(name: str) -> str:
    """Return the block of output that has a name, without what clocks say."""
    (block,) = re.findall(rf"```{name}\n(.*?)```", PAGE, re.S)
    return _CLOCK.sub("", block)


def _of(program: str) -> list[str]:
    return [line for line in COMMANDS if shlex.split(line)[0] == program]


def _printed(command: str, folder: Path) -> str:
    """Run a command of the page with files of its own, and return what it prints, without what clocks say."""
    words = [word.replace("/tmp/", f"{folder}/") for word in shlex.split(command)]
    program = launcher.commands() / words[0]
    done = subprocess.run([program, *words[1:]], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return _CLOCK.sub("", done.stdout)


def test_there_is_no_command_and_no_block_that_no_test_here_knows() -> None:
    assert [line for line in COMMANDS if not line.startswith("relufit ")] == [
        "make setup",
        ". .venv/bin/activate",
        *_of("snakemake"),
    ]
    assert (len(_of("snakemake")), len(_of("relufit"))) == (1, 5)
    blocks = set(re.findall(r"^```(\w+)$", PAGE, re.M))
    assert blocks == {"sh", "python", "verdicts", "sgd", "qsgd", "levels", "compare"}


@pytest.mark.parametrize("command", ["make setup", "make smoke"])
def test_a_make_command_of_the_page_has_a_target(command: str) -> None:
    assert command in PAGE
    done = subprocess.run(["make", "-n", command.split()[1]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_first_run_has_the_verdicts_of_the_page_and_a_report(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "clone")
    (command,) = _of("snakemake")
    done = snakemake(folder, *shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    show, *_ = _of("relufit")
    assert _printed(show, folder) == _shown("verdicts")
    assert "Report: results/first/report.html" in _shown("verdicts")
    assert (folder / "results/first/report.html").exists()


def test_the_runs_by_hand_end_as_on_the_page(tmp_path: Path) -> None:
    _, dataset, sgd, qsgd, compress = _of("relufit")
    _printed(dataset, tmp_path)
    assert _printed(sgd, tmp_path) == _shown("sgd")
    assert _printed(qsgd, tmp_path) == _shown("qsgd")
    assert _printed(compress, tmp_path) == _shown("compare")
    first, second = (map(int, re.findall(r"(\d+) (?:iterations|bytes up)", _shown(name))) for name in ("sgd", "qsgd"))
    iterations, sent = (b / a for a, b in zip(first, second, strict=True))
    text = " ".join(PAGE.split())
    assert f"takes {iterations:.2f} times the iterations" in text
    assert f"send {1 / sent:.1f} times fewer bytes" in text


def test_the_program_prints_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(program, "docs/tutorial.md", "exec"), {})
    assert capsys.readouterr().out == _shown("levels")
    sent = {line.split()[2]: float(line.split()[-2]) for line in _shown("levels").splitlines()}
    assert min(sent, key=lambda levels: sent[levels]) == "20:"
    assert "Of these three 20 levels send the fewest bytes." in PAGE
