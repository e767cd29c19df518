"""The package as it is published: its metadata, what is in the wheel and the sdist, and both in a clean environment."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import relufit

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "relufit"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ["3.11", "3.12", "3.13"]
#: Modules that are imported, of a package that another one brings and that only works with its own version of it.
BROUGHT = {"llvmlite": "numba", "pydantic_core": "pydantic", "botocore": "boto3"}

_BUILD = """
import sys
from flit_core import buildapi
print(buildapi.build_wheel(sys.argv[1]), buildapi.build_sdist(sys.argv[1]))
"""


def _build(source: Path, target: Path) -> tuple[Path, Path]:
    """Build the wheel and the sdist of a folder, as an installer does, and return where they are."""
    target.mkdir()
    command = [sys.executable, "-c", _BUILD, str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wheel, sdist = done.stdout.split()
    return target / wheel, target / sdist


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist of a fresh checkout."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "checkout").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "checkout")
    shutil.copytree(PACKAGE, folder / "checkout/src/relufit", ignore=shutil.ignore_patterns("__pycache__"))
    return _build(folder / "checkout", folder / "dist")


@pytest.fixture(scope="module")
def rebuilt(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built[1]) as archive:
        archive.extractall(folder, filter="data")
    return _build(folder / f"relufit-{relufit.__version__}", folder / "dist")[0]


def _content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _metadata(wheel: Path) -> Message:
    content = _content(wheel)
    return Parser().parsestr(content[f"relufit-{relufit.__version__}.dist-info/METADATA"].decode())


def _ours(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts}


def test_the_wheel_has_every_file_of_the_package_and_says_that_it_is_typed(built: tuple[Path, Path]) -> None:
    content = _content(built[0])
    information = f"relufit-{relufit.__version__}.dist-info"
    assert {name for name in content if not name.startswith(information)} == {
        f"relufit/{name}" for name in _ours(PACKAGE)
    }
    assert "relufit/py.typed" in content
    assert content[f"{information}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"relufit=relufit.cli:main" in content[f"{information}/entry_points.txt"]


def test_the_wheel_of_the_sdist_is_the_same(built: tuple[Path, Path], rebuilt: Path) -> None:
    assert _content(rebuilt) == _content(built[0])


def test_the_metadata_name_the_pythons_that_are_supported_and_no_address_that_there_is_not(
    built: tuple[Path, Path],
) -> None:
    metadata = _metadata(built[0])
    classifiers = metadata.get_all("Classifier", [])
    assert [name.rpartition(" ")[2] for name in classifiers if re.search(r":: 3\.\d+$", name)] == PYTHONS
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    assert metadata.get_all("Project-URL", []) == []
    assert "repository-code" not in yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_version_is_written_down_once_and_the_other_files_agree(built: tuple[Path, Path]) -> None:
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert _metadata(built[0])["Version"] == relufit.__version__ == citation["version"]
    dated = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert dated[0] == f"{citation['version']} ({citation['date-released'].isoformat()})"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d{2}-\d{2}\)", heading) for heading in dated)


def _requirements() -> Iterator[Requirement]:
    for extra, lines in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items():
        yield from (Requirement(line) for line in lines if extra != "dev")


def test_each_dependency_has_a_lower_bound_and_the_lock_is_within_all(built: tuple[Path, Path]) -> None:
    lock = (ROOT / "envs/requirements.lock").read_text()
    locked = {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.M)}
    for requirement in _requirements():
        assert [bound.operator for bound in requirement.specifier] == [">="], requirement
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier, requirement
    published = {str(Requirement(line)) for line in _metadata(built[0]).get_all("Requires-Dist", [])}
    assert {str(Requirement(line)) for line in PROJECT["dependencies"]} <= published


def test_every_package_that_is_imported_is_a_dependency() -> None:
    named = {canonicalize_name(requirement.name) for requirement in _requirements()}
    distributions = packages_distributions()
    imported: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    foreign = imported - sys.stdlib_module_names - {"relufit"}
    assert {"numpy", "numba", "matplotlib"} <= foreign
    for module in foreign:
        owners = {canonicalize_name(name) for name in distributions[module]}
        assert owners & named or BROUGHT.get(module) in named, module


_USE = """
import importlib.metadata, sys
import relufit
from relufit.compression import make_compressor
from relufit.planted import PlantedModel
from relufit.testing import check_compressor

assert relufit.__file__.startswith(sys.prefix), relufit.__file__
assert importlib.metadata.version("relufit") == relufit.__version__
chosen = {"name": "qsgd", "levels": 8}
model = PlantedModel(n=400, d=40, seed=1)
spec = relufit.TrainingSpec(model, compressor=chosen, workers=4, batch_size=20, iterations=5000, tolerance=1e-6)
print(relufit.train(spec).outcome)
check_compressor(make_compressor("qsgd", levels=8))
from relufit.pipeline.manifest import commit
print(commit())
"""


def test_it_works_in_a_clean_environment(rebuilt: Path, tmp_path: Path) -> None:
    """The dependencies are those of this environment, found by a path; relufit comes from the wheel of the sdist."""
    venv.create(tmp_path / "clean")
    python = tmp_path / "clean/bin/python"
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "clean")}))
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", str(rebuilt)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    # Loops that are compiled already are not compiled again.
    loops = PACKAGE / "__pycache__" / "loops"
    if loops.exists():
        shutil.copytree(loops, packages / "relufit/__pycache__/loops", dirs_exist_ok=True)
    done = subprocess.run(
        [tmp_path / "clean/bin/relufit", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "show" in done.stdout
    done = subprocess.run([python, "-c", _USE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["converged", "None"]
