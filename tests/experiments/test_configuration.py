"""The models of the configuration: in step with the code that they configure, with the schema, and quick to import."""

from __future__ import annotations

import copy
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from relufit.cli import main
from relufit.clusters import KINDS
from relufit.clusters.section import ClusterSection
from relufit.compression import COMPRESSORS
from relufit.compression.choice import AUTO
from relufit.compression.coding import CODINGS
from relufit.compression.qsgd import MAX_LEVELS, NORMS
from relufit.errors import ConfigError
from relufit.experiments import CATALOGUE
from relufit.experiments.bits_to_accuracy.section import _RUN_ANYWAY
from relufit.experiments.configuration import check, load, model, schema
from relufit.experiments.framework.compressor_section import USUAL
from relufit.experiments.link_speed import runs
from relufit.experiments.sample_complexity.recovery import METHODS
from relufit.planted.model import INPUTS
from relufit.training.sampling import SAMPLINGS

ROOT = Path(__file__).parents[2]
_CELL = {"dimension": 9, "workers": 2, "rates": [1e7]}
_RUN = {"compressor": "fp32", "exchanges": ["relay", "master"], "rates": [5e6]}


@pytest.fixture
def config() -> dict[str, Any]:
    return load([ROOT / "config.yaml"])


def test_the_schema_is_the_one_that_make_schema_writes(tmp_path: Path) -> None:
    assert main(["config", "--schema", "-o", str(tmp_path / "schema.yaml")]) == 0
    written = (tmp_path / "schema.yaml").read_text()
    assert written == (ROOT / "workflow/schemas/config.schema.yaml").read_text(), "run `make schema`"


def test_the_schema_accepts_what_is_shipped_and_refuses_what_the_models_refuse(config: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    assert list(validator.iter_errors(config)) == []
    config["qsgd_convergence"]["leveles"] = config["qsgd_convergence"].pop("levels")
    config["trajectory"]["runs"][0]["workers"] = 0
    assert len(list(validator.iter_errors(config))) == 3


def test_editors_find_the_schema_from_the_configuration() -> None:
    first = (ROOT / "config.yaml").read_text().splitlines()[0]
    place = first.removeprefix("# yaml-language-server: $schema=")
    assert yaml.safe_load((ROOT / place).read_text()) == schema()


def _described(part: type[BaseModel], path: str = "") -> Iterator[tuple[str, str | None]]:
    for name, field in part.model_fields.items():
        yield f"{path}{name}", field.description
        for inner in _models(field.annotation):
            yield from _described(inner, f"{path}{name}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)


def test_every_key_is_described() -> None:
    described = dict(_described(model()))
    assert {"qsgd_convergence.levels", "link_speed.whole.runs.rates", "cluster.ec2.ami"} <= set(described)
    assert not [path for path, words in described.items() if not words]


def _names(part: dict[str, Any], *path: str) -> list[str]:
    for key in path:
        part = part["properties"][key]
    return (part.get("items") or part)["enum"]


def test_names_are_those_of_the_code_that_has_them() -> None:
    """The models have the names themselves: what they are the names of takes long to import."""
    whole = schema()
    assert _names(whole, "time_to_accuracy", "coding") == [*CODINGS, AUTO]
    assert set(_names(whole, "ablations", "buckets", "norms")) == set(NORMS)
    assert set(_names(whole, "ablations", "inputs")) == set(INPUTS)
    assert set(_names(whole, "sample_complexity", "methods")) == set(METHODS)
    assert set(_names(whole, "initialization_scale", "methods")) == {"gradient_descent", "sgd", "qsgd"}
    samplings = {*_names(whole, "qsgd_convergence", "sampling"), *_names(whole, "geometric_convergence", "samplings")}
    assert samplings == set(SAMPLINGS)
    run = whole["properties"]["link_speed"]["properties"]["whole"]["properties"]["runs"]["items"]
    assert set(_names(run, "compressor")) == set(runs.compressors(100))
    assert set(_names(run, "exchanges")) == set(runs.EXCHANGES)
    replicating = {name for name, exchange in runs.EXCHANGES.items() if exchange.replicas}
    assert set(_names(whole, "link_speed", "overlap", "exchanges")) == replicating
    assert _names(whole, "cluster", "kind") == list(KINDS)
    assert set(ClusterSection.model_fields) - {"kind", "timeouts"} < set(KINDS)
    assert {*USUAL, *_RUN_ANYWAY} <= set(COMPRESSORS)
    assert whole["properties"]["qsgd_convergence"]["properties"]["levels"]["items"]["maximum"] == MAX_LEVELS


def test_a_compressor_of_the_registry_can_be_configured(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config["bits_to_accuracy"]["compressors"] = [{"name": "mine"}]
    with pytest.raises(ConfigError, match=r"compressors\.0\.name: unknown compressor 'mine'; choose one of fp64"):
        check(config)
    monkeypatch.setitem(COMPRESSORS, "mine", COMPRESSORS["fp64"])
    assert check(config) == config


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("trajectory.runs.0.workers", 5000, "5000 ranks for 1200 rows; use fewer workers or more rows"),
        ("trajectory.runs.1.mini_batch", 3, "3 samples for 4 ranks; give each rank at least one"),
        ("link_speed.whole.mini_batch", 1, "1 samples for 2 ranks; give each rank at least one"),
        ("link_speed.iterations", [30, 8], "30 iterations at least and 8 at most; write the lesser one first"),
        ("batch_scaling.ratio", 1e-9, "there is no row in the data set; raise it"),
        ("worker_scaling.mini_batch", 63, "63 samples for 64 ranks; give each rank at least one"),
        ("sample_complexity.sgd.trials", [3, 3], "2 numbers of trials for 4 dimensions; give one for each"),
        ("initialization_scale.sgd.ratios", [3, 3.001], "two of [3, 3.001] are the same number of samples in 50"),
        ("link_speed.cells", [_CELL | {"rates": [1e8]}, _CELL], "2 cells have d = 9 and 2 ranks; give one of them"),
        ("link_speed.whole.runs", [_RUN, _RUN | {"exchanges": ["relay"]}], "fp32 stands 2 times in relay at 5 Mbit/s"),
        ("cluster.address", {"timeout": 3}, "neither address nor scheduler_file given; give one of address and"),
        ("cluster.ec2.ami", "ubuntu", "'ubuntu' is not possible; it must be one such as ami-0123, see docs/ec2.md"),
    ],
)
def test_keys_that_do_not_go_together_are_refused_with_the_path_of_one(
    config: dict[str, Any], key: str, value: object, says: str
) -> None:
    config["cluster"]["ec2"] = {
        "region": "us-east-1",
        "ami": "ami-0",
        "subnet": "subnet-0",
        "security_groups": ["sg-0"],
        "instance_type": "c5.large",
        "image": "image",
        "ceiling": 1,
    }
    assert check(config) == config
    wrong: Any = copy.deepcopy(config)
    *outer, last = key.split(".")
    part = wrong
    for name in outer:
        part = part[int(name) if name.isdigit() else name]
    part[last] = value
    with pytest.raises(ConfigError) as caught:
        check(wrong)
    assert caught.value.where == key
    assert f"{caught.value.what}; {caught.value.remedy}".startswith(says)


def test_the_configuration_is_checked_without_importing_what_is_configured() -> None:
    program = (
        "import sys\n"
        "from relufit.experiments.configuration import load\n"
        f"load([{str(ROOT / 'config.yaml')!r}])\n"
        "heavy = {'numpy', 'pandas', 'numba', 'scipy', 'dask', 'distributed', 'cryptography', 'jsonschema'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_experiment_has_the_name_that_the_catalogue_has_for_it() -> None:
    assert [experiment.NAME for experiment in CATALOGUE.values()] == list(CATALOGUE) == list(CATALOGUE.sections())
    assert CATALOGUE["trajectory"] is CATALOGUE["trajectory"]
