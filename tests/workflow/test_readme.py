"""Every command in the README and the docs is run, or, where it takes minutes, planned."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import launcher
import pytest
from checkout import snakemake

from relufit.clusters.emulated import probe

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Pages whose commands need more than this, each with its own test.
ELSEWHERE = {"clusters": "clusters/test_page.py", "tutorial": "workflow/test_tutorial.py"}
HERE = [page for page in PAGES if page.stem not in ELSEWHERE]
BIN = Path(sys.executable).parent
_FOUND = probe()
EMULATES = "tbf" in _FOUND.works and _FOUND.delay is not None and _FOUND.loss is not None


def _blocks(language: str) -> list[str]:
    return [block for page in HERE for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)]


def _commands(program: str) -> list[str]:
    lines = [line for block in _blocks("sh") for line in block.strip().splitlines()]
    return [line for line in lines if shlex.split(line)[0] == program]


def _inline(program: str) -> list[str]:
    return [command for page in HERE for command in re.findall(rf"`({program} [^`]+)`", page.read_text())]


def test_there_is_no_command_that_no_test_here_knows() -> None:
    lines = [line for block in _blocks("sh") for line in block.strip().splitlines()]
    assert {shlex.split(line)[0] for line in lines} == {"make", "snakemake", "relufit", "."}
    assert {line for line in lines if line.startswith(". ")} == {". .venv/bin/activate"}


@pytest.mark.parametrize("command", sorted({*_commands("make"), *_inline("make")}))
def test_a_make_command_has_a_target(command: str) -> None:
    done = subprocess.run(
        ["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@cache
def _plan(*arguments: str) -> None:
    """Plan a run, each once."""
    words = [word for word in arguments if word != "--dry-run"]
    targets = [words.pop()] if words[-1].startswith("results/") else []
    if len(words) < len(arguments) and not targets:
        _plan(*words)
        return
    done = snakemake(ROOT, "-n", "--nolock", *words, "--", *targets)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", sorted({*_commands("snakemake"), *_inline("snakemake --c")}))
def test_a_snakemake_command_can_be_planned(command: str) -> None:
    _plan(*shlex.split(command)[1:])


@pytest.mark.parametrize("path", sorted((ROOT / "config/ablations").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_ablation_can_be_planned_and_is_on_its_page(path: Path) -> None:
    page = (ROOT / "docs/ablations.md").read_text()
    assert f"| `{path.name}` |" in page
    content = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    if path.stem == "ratio":
        assert content in page
    _plan("--cores", "all", "--configfile", str(path.relative_to(ROOT)))


def test_the_relufit_commands_work_one_after_the_other(tmp_path: Path) -> None:
    commands = _commands("relufit")
    assert len(commands) >= 3
    by_hand = PAGES[0].read_text()
    for command in commands:
        if "--cluster emulated" in command and not EMULATES:
            continue
        words = [word.replace("/tmp/", f"{tmp_path}/") for word in shlex.split(command)]
        # Those of the README as a reader runs them, the others without the time that Python takes to import.
        program = (BIN if command in by_hand else launcher.commands()) / words[0]
        done = subprocess.run([program, *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "real.parquet").exists()


def test_the_python_example_works(capsys: pytest.CaptureFixture[str]) -> None:
    example, *_ = _blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("converged")


def test_a_page_whose_commands_are_not_run_here_has_a_test_of_its_own() -> None:
    assert all((ROOT / "tests" / module).exists() for module in ELSEWHERE.values())


@pytest.mark.skipif(not EMULATES, reason="hosts, or a delay or a loss between them, cannot be emulated here")
def test_the_python_example_of_an_emulated_network_works(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [block for block in _blocks("python") if "emulated" in block]
    namespace: dict[str, Any] = {}
    exec(compile(example, "docs/emulated.md", "exec"), namespace)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("{'round_trip': ")
    assert int(lines[1]) > 200 * 2 * namespace["trace"].weights.nbytes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
