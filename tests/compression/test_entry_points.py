"""Compressors of other packages: one is installed, with no edit here, and works wherever a name is taken."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from relufit.compression import compressor_classes, compressor_names, make_compressor, registry
from relufit.errors import ConfigError
from relufit.exchange import EXCHANGES
from relufit.planning.costs import Codec, Costs, Curve, kind, label, named
from relufit.testing import compressor_checks

PACKAGE = Path(__file__).parent / "example_package"
PAGE = Path(__file__).parents[2] / "docs" / "compressors.md"

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a command of Python where the example package is installed, without a network, and return what it prints."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "target"))
    shutil.copytree(PACKAGE, source / "package", ignore=shutil.ignore_patterns("__pycache__"))
    pip = ["pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    target_options = ["--no-build-isolation", "--target", str(target), str(source / "package")]
    subprocess.run([sys.executable, "-m", *pip, *target_options], check=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def run_command(*arguments: object, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run_command


def test_its_own_tests_call_the_public_suite_and_pass(run: Run, tmp_path: Path) -> None:
    shutil.copy(PACKAGE / "test_random_fraction.py", tmp_path)
    output = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path)
    assert "3 passed" in output


def test_it_is_looked_at_by_compress(run: Run, tmp_path: Path) -> None:
    chosen = ["--compressor", "random_fraction", "--parameter", "fraction=0.5"]
    payload, vector = tmp_path / "payload.bin", tmp_path / "vector.npy"
    output = run("-m", "relufit.cli", "compress", "--gaussian", 2000, *chosen, "-o", payload)
    assert "random_fraction fraction=0.5" in output
    assert "omega, predicted   1\n" in output
    run("-m", "relufit.cli", "compress", "--decode", payload, "--size", 2000, *chosen, "-o", vector)
    wrong = ["--compressor", "random_fraction", "--parameter"]
    for parameter, says in (
        ("fraction=2.0", "fraction: 2.0"),
        ("part=1", "no parameter 'part'"),
        ("half", "NAME=VALUE"),
    ):
        output = run("-m", "relufit.cli", "compress", "--gaussian", 20, *wrong, parameter, code=2)
        assert says in output


TRAINING = """
from relufit import TrainingSpec, train
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.clusters import open_cluster

if __name__ == "__main__":
    with open_cluster({"kind": "local"}, 2) as cluster:
        for exchange in EXCHANGES:
            spec = TrainingSpec(
                PlantedModel(400, 20, 1), {"name": "random_fraction", "fraction": 0.5},
                workers=2, batch_size=40, iterations=20, exchange=exchange,
            )
            serial, real = train(spec), train(spec, cluster.client)
            assert serial.weights.tobytes() == real.weights.tobytes()
            assert serial.table["uplink_bytes"].tolist() == real.table["uplink_bytes"].tolist()
            assert serial.summary["spec"]["compressor"] == {"name": "random_fraction", "fraction": 0.5}, serial.summary
            print(exchange, serial.table["relative_error"].iloc[-1] < serial.table["relative_error"].iloc[0])
"""


def test_it_trains_in_one_process_and_on_real_ranks_to_the_same_bytes(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(TRAINING)
    assert run(program).splitlines() == [f"{exchange} True" for exchange in EXCHANGES]


def test_it_is_trained_with_by_the_command(run: Run, tmp_path: Path) -> None:
    data, trace = tmp_path / "planted.zarr", tmp_path / "trace.parquet"
    run("-m", "relufit.cli", "dataset", data, "-n", 400, "-d", 20, "--shards", 2)
    chosen = ["--compressor", "random_fraction", "--iterations", 5, "-m", 40, "-K", 2, "-o", trace]
    assert "budget spent after 5 iterations" in run("-m", "relufit.cli", "train", data, *chosen)
    assert len(pd.read_parquet(trace)) == 6


def test_it_is_planned_with(run: Run, tmp_path: Path) -> None:
    line = Curve((0, 10**6), (1e-5, 1e-3))
    members = [(make(1000), sigma) for cls in compressor_classes() for sigma, make in cls.family((0.15, 0.6))]
    codecs = {(member.name, member.coding_name(1000), sigma) for member, sigma in members}
    whole = [*sorted(codecs), ("random_fraction", "", 0.0)]
    costs = Costs(line, line, line, 1e-5, 1e-9, tuple(Codec(*each, line, line) for each in whole), {})
    costs.write(tmp_path / "costs.json")
    out = tmp_path / "plan.json"
    asked = ["--dimension", 1000, "--workers", 4, "--rate", 1e8, "--costs", tmp_path / "costs.json", "-o", out]
    run("-m", "relufit.cli", "plan", *asked)
    plans = [row for row in json.loads(out.read_text()) if row["compressor"] == "random_fraction"]
    assert len(plans) == len(EXCHANGES)
    assert {row["omega"] for row in plans} == {3.0}
    Costs(line, line, line, 1e-5, 1e-9, costs.codecs[:-1], {}).write(tmp_path / "costs.json")
    output = run("-m", "relufit.cli", "plan", *asked, code=2)
    assert "no costs of random_fraction; measure again" in output


CONFIG = """
import sys
from relufit.experiments import CATALOGUE
from relufit.figures.error_against_bytes import _colour, _label
from relufit.experiments import configuration
checked = configuration.load([sys.argv[1], sys.argv[2]])
name = "sgd-random_fraction-0.5"
setting, = [its for its in CATALOGUE["bits_to_accuracy"].settings(checked) if its.name == name]
print(setting.spec["compressor"], _label(name), _colour(name))
"""


def test_a_configuration_may_name_it_and_its_runs_have_a_curve(run: Run, tmp_path: Path) -> None:
    root = PAGE.parent.parent
    (tmp_path / "own.yaml").write_text(
        "bits_to_accuracy: {compressors: [{name: random_fraction, fraction: 0.5}]}", encoding="utf-8"
    )
    output = run("-c", CONFIG, root / "config.yaml", tmp_path / "own.yaml")
    assert output.startswith("{'name': 'random_fraction', 'fraction': 0.5} SGD, random_fraction")
    for listed, says in (
        ("name: random", "bits_to_accuracy.compressors.0.name: unknown compressor 'random'"),
        ("name: fp32", "it must not be fp32"),
        ("name: random_fraction, fraction: 0", "bits_to_accuracy.compressors.0.fraction"),
    ):
        (tmp_path / "own.yaml").write_text(f"bits_to_accuracy: {{compressors: [{{{listed}}}]}}", encoding="utf-8")
        assert says in run("-c", CONFIG, root / "config.yaml", tmp_path / "own.yaml", code=1)


ORIGIN = """
import random_fraction
from relufit.compression import make_compressor
from relufit.training.foreign_code import foreign_code
assert foreign_code(make_compressor("fp32")) == ""
print(foreign_code(random_fraction.RandomFraction()))
"""


def test_results_are_those_of_its_code(run: Run) -> None:
    digest = hashlib.sha256((PACKAGE / "random_fraction.py").read_bytes()).hexdigest()
    assert run("-c", ORIGIN) == f" random_fraction {digest}\n"


def test_the_page_shows_the_package_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for file, language in (
        ("pyproject.toml", "toml"),
        ("random_fraction.py", "py"),
        ("test_random_fraction.py", "py"),
    ):
        assert f"```{language}\n{(PACKAGE / file).read_text(encoding='utf-8')}```" in page, file


def test_the_page_lists_the_checks_by_a_program_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(compile(program, str(PAGE), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [check.name for check in compressor_checks()]


Declare = Callable[[str, str], None]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Declare]:
    """Install a distribution with one entry point."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(distribution: str, line: str) -> None:
        folder = tmp_path / f"{distribution}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[relufit.compressors]\n{line}\n")
        registry._declared.cache_clear()
        registry._load.cache_clear()

    yield install
    monkeypatch.undo()
    registry._declared.cache_clear()
    registry._load.cache_clear()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("fp32 = relufit.compression.cast:Float32", "'fp32' is a compressor of relufit and of theirs"),
        ("other = no_such_module:Other", "'other' of theirs cannot be loaded from no_such_module:Other"),
        ("other = math:no_such_name", "AttributeError"),
        ("other = math:pi", "math:pi, is no complete subclass of relufit.compression.Compressor"),
        ("other = relufit.compression:Compressor", "is no complete subclass"),
        ("other = relufit.compression.cast:Float32", "'other' of theirs is a compressor with the name 'fp32'"),
    ],
)
def test_what_is_wrong_with_a_declared_compressor_is_told_with_its_distribution(
    declare: Declare, line: str, says: str
) -> None:
    declare("theirs", line)
    name = line.split(maxsplit=1)[0]
    assert name in compressor_names()
    with pytest.raises(ConfigError) as caught:
        make_compressor(name)
    assert says in str(caught.value)
    assert caught.value.where == "compressor"
    assert "theirs" in caught.value.remedy
    assert make_compressor("fp64").name == "fp64"
    with pytest.raises(ConfigError, match="theirs"):
        list(compressor_classes())


def test_two_distributions_with_one_name_are_both_named(declare: Declare) -> None:
    for distribution in ("theirs", "others"):
        declare(distribution, f"other = {distribution}:Other")
    with pytest.raises(ConfigError, match=r"theirs and of others|others and of theirs"):
        make_compressor("other")


def test_a_label_has_the_parameters_that_are_not_defaults() -> None:
    for made in (
        make_compressor("qsgd", levels=4, norm="max", bucket_size=7),
        make_compressor("ternary", bucket_size=9),
        make_compressor("qsgd", levels=16, coding="rans"),
    ):
        assert named(label(made)) == made
    assert label(make_compressor("qsgd", levels=16, coding="rans")) == "qsgd-s16-rans"
    assert kind(make_compressor("qsgd", levels=4, norm="max")) == "qsgd-norm=max"
