"""The environments that cannot be made here, as far as parsers go, and the script that is run in one of them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
ENVIRONMENT, SCRIPT = ROOT / "envs/environment.yaml", ROOT / "envs/environment.post-deploy.sh"
#: The instructions of a Dockerfile that are used here.
INSTRUCTIONS = {"FROM", "RUN", "COPY", "WORKDIR", "ENTRYPOINT", "CMD"}


def test_the_environment_of_conda_has_the_pythons_that_are_supported_and_pip() -> None:
    content = yaml.safe_load(ENVIRONMENT.read_text())
    assert set(content) == {"name", "channels", "dependencies"}
    python, pip = content["dependencies"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Requirement(python).specifier == SpecifierSet(project["requires-python"])
    assert pip == "pip"


def test_each_rule_with_a_command_has_that_environment_and_snakemake_finds_its_script() -> None:
    assert SCRIPT.name == f"{ENVIRONMENT.stem}.post-deploy.sh"
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        text = path.read_text()
        assert text.count('"../../envs/environment.yaml"') == text.count("shell:\n"), path
    assert (path.parent / "../../envs/environment.yaml").exists()


@pytest.mark.parametrize("named", [True, False])
def test_the_script_installs_the_lock_with_hashes_and_then_the_checkout(tmp_path: Path, named: bool) -> None:
    """A Python that writes down what it is asked for stands in for that of the environment."""
    checkout = tmp_path / "a checkout"
    (checkout / "envs").mkdir(parents=True)
    script = checkout / "envs" / SCRIPT.name
    script.write_bytes(SCRIPT.read_bytes())
    copy = tmp_path / "copy.sh"
    copy.write_bytes(SCRIPT.read_bytes())
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text(
        '#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done >> "$ASKED"\necho "---" >> "$ASKED"\n'
    )
    python.chmod(0o755)
    environment = {"PATH": f"{python.parent}:{os.defpath}", "ASKED": str(tmp_path / "asked")}
    if named:
        environment["RELUFIT_CHECKOUT"] = str(checkout)
    # Snakemake runs a copy, which cannot tell from its own place where the checkout is.
    subprocess.run(["sh", str(copy if named else script)], cwd=tmp_path, env=environment, check=True)
    lock, relufit = [part.split("\n")[:-1] for part in (tmp_path / "asked").read_text().split("---\n")[:-1]]
    assert lock == ["-m", "pip", "install", "--require-hashes", "--requirement", f"{checkout}/envs/requirements.lock"]
    assert relufit == ["-m", "pip", "install", "--no-deps", "--no-build-isolation", "--editable", str(checkout)]


def test_the_script_ends_with_an_error_if_the_lock_cannot_be_installed(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho asked >> "$ASKED"\nexit 3\n')
    python.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.defpath}", "ASKED": str(tmp_path / "asked")}
    done = subprocess.run(["sh", str(SCRIPT)], env=environment, check=False)
    assert done.returncode == 3
    assert (tmp_path / "asked").read_text() == "asked\n"


def _instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_the_image_has_a_python_that_is_supported_and_is_made_from_the_lock_and_the_checkout() -> None:
    instructions = _instructions()
    assert {name for name, _ in instructions} == INSTRUCTIONS
    assert instructions[0][0] == "FROM"
    (version,) = re.findall(r"^python:(\d+\.\d+)-slim-\w+$", instructions[0][1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"{version}.0" in SpecifierSet(project["requires-python"])
    runs = [shlex.split(line) for name, line in instructions if name == "RUN"]
    assert all(subprocess.run(["sh", "-n", "-c", shlex.join(words)], check=False).returncode == 0 for words in runs)
    lock, relufit = [words for words in runs if "pip" in words]
    assert "--require-hashes" in lock
    assert lock[-1] == "/opt/relufit/envs/requirements.lock"
    assert {"--no-deps", "--no-build-isolation"} <= set(relufit)
    assert relufit[-1] == "/opt/relufit"
    for name, line in instructions:
        if name == "COPY":
            assert (ROOT / line.split()[0]).exists()
        elif name in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(word, str) for word in yaml.safe_load(line))
    entry = yaml.safe_load(dict(instructions)["ENTRYPOINT"])
    assert entry == ["snakemake", "--snakefile", "/opt/relufit/Snakefile"]


def test_the_pages_say_that_nobody_has_run_them() -> None:
    assert "**have not been run**" in (ROOT / "docs/workflow.md").read_text()
    for path in (ENVIRONMENT, ROOT / "Dockerfile"):
        assert "Untested" in path.read_text()
