"""The workflow inside another one: from a checkout elsewhere, in another working folder, with a prefix and without."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import ROOT, checkout, planned, snakemake

SMALL = """
run: tiny
experiments: [geometric_convergence]
geometric_convergence: {dimension: 60, ratios: [10], samplings: [reshuffled], mini_batch: 8, trials: 3}
"""
#: Of a workflow that uses relufit's rules, and has one of its own.
OUTER = """
module relufit:
    snakefile: {snakefile!r}
{options}

use rule * from relufit as relufit_*

rule own:
    default_target: True
    input:
        rules.relufit_all.input,
        claims=rules.relufit_claims.output.json,
    output:
        "own.txt",
    shell:
        "cp {{input.claims}} {{output}}"
"""
SNAKEFILES = ["Snakefile", "workflow/Snakefile"]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that is not the working folder."""
    return checkout(tmp_path_factory.mktemp("elsewhere") / "relufit", SMALL)


def _outer(folder: Path, snakefile: Path, *, prefix: str = "", config: str = "") -> Path:
    """Write a workflow that uses the one of `snakefile`."""
    options = f"    prefix: {prefix!r}\n" if prefix else ""
    options += f"    config: {yaml.safe_load(config)!r}\n" if config else ""
    folder.mkdir(exist_ok=True)
    (folder / "Snakefile").write_text(OUTER.format(snakefile=str(snakefile), options=options))
    return folder


def _made(folder: Path) -> set[str]:
    """Return the files below a folder but Snakemake's own, relative to it."""
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {name.as_posix() for name in names if name.parts[0] != ".snakemake"}


@pytest.mark.parametrize("prefix", ["", "part"])
@pytest.mark.parametrize("snakefile", SNAKEFILES)
def test_it_can_be_planned_as_a_module_and_nothing_is_written(
    elsewhere: Path, tmp_path: Path, snakefile: str, prefix: str
) -> None:
    outer = _outer(tmp_path / "outer", elsewhere / snakefile, prefix=prefix, config=SMALL)
    before = _made(outer), _made(elsewhere)
    done = snakemake(outer, "-n", "--cores", "2")
    assert done.returncode == 0, done.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.M))
    names = ["configuration", "train", "judge_geometric_convergence", "claims", "figures_geometric_convergence"]
    assert jobs == {
        **{f"relufit_{name}": "1" for name in [*names, "manifest", "report", "crate"]},
        "own": "1",
        "total": "9",
    }
    assert f"output: {f'{prefix}/' if prefix else ''}results/tiny/manifest.json\n" in done.stdout
    assert (_made(outer), _made(elsewhere)) == before


@pytest.fixture(scope="module")
def finished(elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of it with a prefix, in the working folder of the other workflow."""
    outer = _outer(tmp_path_factory.mktemp("outer"), elsewhere / "Snakefile", prefix="a/part", config=SMALL)
    done = snakemake(outer, "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    return outer


def test_a_run_as_a_module_leaves_what_a_run_leaves_below_the_prefix(finished: Path, elsewhere: Path) -> None:
    run = finished / "a/part/results/tiny"
    assert (finished / "own.txt").read_bytes() == (run / "claims.json").read_bytes()
    assert {name.split("/")[0] for name in _made(finished)} == {"Snakefile", "own.txt", "a"}
    manifest = json.loads((run / "manifest.json").read_text())
    assert "figures/geometric_convergence.svg" in manifest["sha256"]
    assert manifest["command"].startswith("snakemake --cores 2")
    assert yaml.safe_load((run / "config.yaml").read_text())["geometric_convergence"]["dimension"] == 60
    report = (run / "report.html").read_text()
    assert "Mini-batch SGD from the initial weights" in report
    assert "d = 60" in report
    assert _made(elsewhere) == _made(checkout(finished.parent / "fresh", SMALL))


def test_a_second_run_as_a_module_has_nothing_to_do(finished: Path) -> None:
    done = snakemake(finished, "--cores", "2")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stderr


def test_a_change_of_a_setting_of_a_module_runs_what_depends_on_it(finished: Path) -> None:
    written = (finished / "Snakefile").read_text()
    try:
        for before, after, jobs in (
            ("'trials': 3", "'trials': 4", {"configuration", "train", "judge", "claims", "figures", "manifest"}),
            ("'run': 'tiny'", "'run': 'tiny', 'trajectory': {'end': 0.25}", {"configuration", "manifest"}),
        ):
            assert before in written
            (finished / "Snakefile").write_text(written.replace(before, after))
            done = snakemake(finished, "-n", "--cores", "2")
            assert done.returncode == 0, done.stderr
            assert planned(done.stdout.replace("relufit_", "")).keys() == {*jobs, "report", "crate", "own"}, done.stdout
    finally:
        (finished / "Snakefile").write_text(written)


def test_snakemake_s_own_report_of_a_module_has_the_captions(finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "snakemake.html"
    done = snakemake(finished, "--report", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Mini-batch SGD from the initial weights" in page.read_text()


def test_without_a_configuration_it_has_that_of_the_project_and_of_the_command_line(
    elsewhere: Path, tmp_path: Path
) -> None:
    outer = _outer(tmp_path / "outer", elsewhere / "workflow/Snakefile")
    target = "results/tiny/tables/geometric_convergence.curves.csv"
    done = snakemake(outer, "--cores", "2", "--configfile", str(elsewhere / "tiny.yaml"), "--", target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (outer / target).read_text().count("\n") > 3
    done = snakemake(outer, "-n", "--cores", "2")
    assert "output: results/paper/report.html\n" in done.stdout


def test_a_wrong_configuration_of_a_module_is_told_with_the_remedy(elsewhere: Path, tmp_path: Path) -> None:
    outer = _outer(tmp_path / "outer", elsewhere / "Snakefile", config="{run: tiny, sed: 4}")
    done = snakemake(outer, "-n", "--cores", "2")
    assert done.returncode == 1
    assert "sed: unknown key; did you mean 'seed'?" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("snakefile", SNAKEFILES)
def test_both_snakefiles_are_the_same_workflow(elsewhere: Path, tmp_path: Path, snakefile: str) -> None:
    done = snakemake(tmp_path, "-n", "-s", str(elsewhere / snakefile), "--configfile", str(elsewhere / "tiny.yaml"))
    assert done.returncode == 0, done.stderr
    assert set(planned(done.stdout)) == {"train", "judge", "claims", "figures", "manifest", "report", "crate"}
    assert re.search(r"^all +1$", done.stdout, re.M)
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.parametrize("snakefile", SNAKEFILES)
def test_where_relufit_is_not_installed_one_line_says_what_to_install(
    elsewhere: Path, tmp_path: Path, snakefile: str
) -> None:
    program = "import sys; sys.modules['relufit'] = None; import snakemake.cli; snakemake.cli.main()"
    command = [sys.executable, "-c", program, "-n", "-s", str(elsewhere / snakefile)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    remedy = f"run `{sys.executable} -m pip install '{elsewhere}[workflow]'`"
    assert f"relufit is not installed in the Python that runs Snakemake; {remedy}" in done.stdout.splitlines()
    assert "Traceback" not in done.stdout + done.stderr


def test_the_example_of_the_docs_can_be_planned(elsewhere: Path, tmp_path: Path) -> None:
    (example,) = re.findall(r"```snakemake\n(.*?)```", (ROOT / "docs/workflow.md").read_text(), re.S)
    assert '"/path/to/relufit/workflow/Snakefile"' in example
    (tmp_path / "Snakefile").write_text(example.replace("/path/to/relufit", str(elsewhere)))
    done = snakemake(tmp_path, "-n", "--cores", "2")
    assert done.returncode == 0, done.stderr
    assert "output: relufit/results/looser/claims.json" in done.stdout
    assert "relufit_judge_qsgd_convergence" in done.stdout


def test_the_catalogue_s_files_are_there_and_have_the_keys_that_it_reads() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    deployment = usage["software-stack-deployment"]
    assert set(deployment) == {"conda", "apptainer", "apptainer+conda", "report"}
    assert {type(value) for value in deployment.values()} == {bool}
    assert usage["report"] is deployment["report"] is True


def test_the_page_on_the_configuration_has_each_key_and_links_that_lead_somewhere() -> None:
    page = ROOT / "config/README.md"
    text = page.read_text()
    configuration = yaml.safe_load((ROOT / "config.yaml").read_text())
    general = [key for key in configuration if key not in configuration["experiments"]]
    assert all(f"| `{key}` |" in text for key in general)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
