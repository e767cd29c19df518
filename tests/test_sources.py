"""An edit of the package reruns the stages that depend on the file, and no others."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import relufit
from relufit import sources
from relufit.clusters import KINDS
from relufit.experiments import CATALOGUE
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.procedures import MODULES, PROCEDURES
from relufit.experiments.framework.trials import code_of
from relufit.figures import FIGURES, module_of
from relufit.sources import ENTRIES, ON_FIRST_USE, code_digest

PACKAGE = Path(relufit.__file__).parent
#: What is looked at: a stage, and what else makes the part of it.
PARTS = {
    "dataset": ("dataset",),
    "checkpoints": ("training",),
    "trials here": ("trials",),
    "trials on local": ("trials", "clusters.local"),
    "trials on ec2": ("trials", "clusters.ec2"),
    "trials on links": ("trials", "experiments.framework.emulated_trials", "clusters.emulated"),
    "costs": ("trials", "experiments.framework.plan_costs", "clusters.inprocess"),
    "verdicts of initial_error": ("judge", "experiments.initial_error"),
    "verdicts of qsgd_convergence": ("judge", "experiments.qsgd_convergence"),
    "verdicts of link_speed": ("judge", "experiments.link_speed"),
    "claims": ("claims",),
    "figures of initial_error": ("figures", "figures.initial_error"),
    "figures of trajectory": ("figures", "figures.trajectory"),
    "report": ("report",),
    "manifest": ("manifest",),
    "crate": ("crate",),
}
JUDGED = {part for part in PARTS if part.startswith("verdicts")}
DRAWN = {part for part in PARTS if part.startswith("figures")}
TRIED = {part for part in PARTS if part.startswith("trials")} | {"costs"}
TRAINED = TRIED | JUDGED | {"checkpoints"}
REAL = {"trials on local", "trials on ec2", "trials on links"}
#: Files of each room, and the parts whose output depends on them.
EDITS: dict[str, set[str]] = {
    "__init__.py": {"report", "manifest"},
    "errors.py": set(PARTS) - {"claims"},
    "interrupts.py": TRAINED | {"dataset"},
    "parameters.py": TRAINED | {"dataset"},
    "py.typed": set(),
    "sources.py": TRAINED | {"dataset"},
    "streams.py": TRAINED | {"dataset"},
    "claims/__init__.py": set(),
    "claims/abstract.py": {"claims", "report"},
    "claims/compare.py": set(),
    "claims/statistics.py": JUDGED | {"claims", "report"},
    "claims/trace_files.py": TRIED | JUDGED | {"report"},
    "cli/figure.py": set(),
    "clusters/__init__.py": TRIED | JUDGED,
    "clusters/certificates.py": REAL,
    "clusters/ec2/preflight.py": {"trials on ec2"},
    "clusters/ec2/process.py": {"trials on ec2"},
    "clusters/emulated/link_probe.py": {"trials on links"},
    "clusters/emulated/network.py": {"trials on links"},
    "clusters/local_processes.py": {"trials on local"},
    "clusters/persistent/state.py": {"trials on ec2"},
    "compression/coding/rans.py": TRAINED,
    "compression/qsgd.py": TRAINED,
    "doctor/machine.py": set(),
    "experiments/__init__.py": set(),
    "experiments/framework/curves.py": {"verdicts of qsgd_convergence", "verdicts of link_speed"},
    "experiments/framework/emulated_trials.py": {"trials on links"},
    "experiments/framework/judging.py": JUDGED,
    "experiments/framework/trials.py": TRIED | JUDGED,
    "exchange/relay.py": TRAINED | DRAWN | {"report"},
    "experiments/configuration.py": set(),
    "experiments/initial_error/experiment.py": {"verdicts of initial_error"},
    "experiments/link_speed/verdicts.py": {"verdicts of link_speed"},
    "figures/__init__.py": DRAWN | {"report"},
    "figures/initial_error.py": {"figures of initial_error"},
    "figures/style.py": DRAWN | {"report"},
    "files/atomic.py": TRAINED | DRAWN | {"dataset", "report", "manifest", "crate"},
    "files/mapped.py": TRAINED | {"dataset"},
    "instance_types/on_demand.toml": {"costs", "trials on ec2", "verdicts of link_speed"},
    "numerics/blas.py": TRAINED,
    "numerics/compiled_cache.py": TRAINED | {"dataset"},
    "numerics/simd/rounding.py": TRAINED,
    "pipeline/crate.py": {"crate"},
    "pipeline/manifest.py": {"manifest", "report"},
    "pipeline/reuse.py": set(),
    "planning/costs.py": {"costs", "verdicts of link_speed"},
    "planted/dataset.py": TRAINED | {"dataset"},
    "planted/model.py": TRAINED | {"dataset"},
    "report/page.py": {"report"},
    "report/report.html.j2": {"report"},
    "report/style.css": {"report"},
    "schema/section.py": TRAINED,
    "solvers/least_squares.py": TRIED | JUDGED,
    "terminal/display.py": set(),
    "testing/check.py": set(),
    "theory/sgd.py": TRAINED,
    "training/loop.py": TRAINED,
    "transport/frames.py": TRAINED,
}
_DIGESTS = """
import json, sys
from pathlib import Path
from relufit import sources
package, (parts, edits) = Path(sources.__file__).parent, json.load(sys.stdin)

def digests():
    for function in (sources.code_digest, sources._graph, sources._data_files):
        function.cache_clear()
    return {part: sources.code_digest(*words) for part, words in parts.items()}

def parts_changed(file, text):
    path = package / file
    content = path.read_bytes() if path.exists() else None
    path.write_bytes((content or b"") + text.encode())
    found = digests()
    path.unlink() if content is None else path.write_bytes(content)
    return [part for part in parts if found[part] != before[part]]

before = digests()
json.dump([parts_changed(*edit) for edit in edits], sys.stdout)
"""


def _changed(folder: Path, edits: list[tuple[str, str]]) -> list[set[str]]:
    """Return the parts whose digests change with each of some texts added to files of a copy of the package."""
    shutil.copytree(PACKAGE, folder / "relufit", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", _DIGESTS],
        input=json.dumps([PARTS, edits]),
        env={"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [set(parts) for parts in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    changed = _changed(tmp_path_factory.mktemp("edited"), [(file, "\n# edited\n") for file in EDITS])
    return dict(zip(EDITS, changed, strict=True))


@pytest.mark.parametrize("file", EDITS)
def test_an_edit_changes_the_digests_of_what_depends_on_the_file(edited: dict[str, set[str]], file: str) -> None:
    assert edited[file] == EDITS[file]


def test_every_room_has_a_file_among_these() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.*") if "__pycache__" not in path.parts}
    assert {Path(file).parts[0] for file in EDITS} == rooms


def test_a_new_import_or_template_is_seen(tmp_path: Path) -> None:
    edits = [
        ("pipeline/manifest.py", "\ndef late():\n    from relufit.theory import sgd\n"),
        ("theory/new.py", ""),
        ("figures/colours.txt", "red"),
        ("report/.page.py.swp", "what an editor leaves"),
    ]
    assert _changed(tmp_path, edits) == [{"manifest", "report"}, set(), DRAWN | {"report"}, set()]


def test_what_only_a_type_checker_imports_does_not_count_and_what_a_function_imports_does() -> None:
    files = {path.relative_to(PACKAGE).as_posix() for path in sources.sources("trials")}
    assert "claims/verdict.py" not in files  # of experiments.framework.base
    assert "training/tasks.py" in files  # of experiments.framework.spread


def _module(path: Path) -> str:
    """Return the name of a module below the package; that of the package itself is empty."""
    name = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix("__init__").removesuffix(".")


def test_modules_that_are_imported_by_computed_names_are_known() -> None:
    computed = {_module(path) for path in PACKAGE.rglob("*.py") if "import_module(" in path.read_text()}
    assert computed <= set(ON_FIRST_USE)
    assert set(map(_module, PACKAGE.rglob("*.py"))) >= set(ON_FIRST_USE)


def test_modules_that_strings_name_are_sources_of_what_starts_them() -> None:
    """They run as processes, or are imported by programs for other processes."""
    files, modules = {_module(path): path for path in PACKAGE.rglob("*.py")}, set()
    for module, path in files.items():
        nodes = list(ast.walk(ast.parse(path.read_text())))
        said = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
        strings = [node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in said]
        text = " ".join(string for string in strings if isinstance(string, str))
        started = {name for name in re.findall(r"\brelufit\.([\w.]*\w)", text) if name in files}
        assert {files[name] for name in started} <= set(sources.sources("claims", module) if started else [])
        modules |= started
    assert modules >= {"clusters.launch", "clusters.local_processes", "clusters.ec2.process", "clusters.versions"}


def test_whatever_a_rule_asks_for_has_a_digest() -> None:
    for name in CATALOGUE:
        assert PACKAGE / "planted" / "model.py" in sources.sources("judge", f"experiments.{name}")
    for name in FIGURES:
        assert PACKAGE / "figures" / "style.py" in sources.sources("figures", module_of(name))
    for procedure in PROCEDURES:
        for kind in KINDS:
            setting = Setting("initial_error", "a", {}, {}, 1, procedure, cluster={"kind": kind})
            own = [MODULES[procedure]] if procedure in MODULES else []
            assert code_of([setting]) == code_digest("trials", *own, f"clusters.{kind}")
    assert set(ENTRIES) == {words[0] for words in PARTS.values()}


def test_a_module_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no modules relufit\.experiments\.nothing"):
        code_digest("judge", "experiments.nothing")


def test_imports_are_looked_at_once_in_a_process_and_not_when_the_package_is_imported() -> None:
    program = """
import sys
import relufit.planted.rows, relufit.training, relufit.clusters.versions
assert "grimp" not in sys.modules
from relufit import sources
first = sources.code_digest("trials")
sources._graph = sources.sources = None
assert sources.code_digest("trials") == first
"""
    subprocess.run([sys.executable, "-c", program], check=True)
