"""The configuration: what it accepts, and what it says to what it does not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from relufit.config import check, cluster, load
from relufit.errors import ConfigError
from relufit.experiments import CATALOGUE

ROOT = Path(__file__).parent.parent


@pytest.fixture
def config() -> dict[str, Any]:
    return load([ROOT / "config.yaml"])


def test_the_full_configuration_is_valid_and_comes_back_as_it_is_written(config: dict[str, Any]) -> None:
    assert config == yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_that_is_shipped_is_valid_and_has_a_run_of_its_own(path: Path) -> None:
    merged = load([ROOT / "config.yaml", path])
    assert merged["run"] not in ("paper", "")


def test_a_later_file_changes_only_the_keys_it_names(tmp_path: Path, config: dict[str, Any]) -> None:
    over = tmp_path / "over.yaml"
    over.write_text("qsgd_convergence: {trials: 9}\n")
    merged = load([ROOT / "config.yaml", over])
    config["qsgd_convergence"]["trials"] = 9
    assert merged == config


@pytest.mark.parametrize(
    ("text", "number"), [("1e-3", 1e-3), ("0.25", 0.25), ("5e-1", 0.5), (" 1e-4", 1e-4), ("1E-5", 1e-5)]
)
def test_a_number_written_as_text_becomes_a_number_where_one_is_wanted(
    config: dict[str, Any], text: str, number: float
) -> None:
    config["qsgd_convergence"]["tolerance"] = text
    config["qsgd_convergence"]["trials"] = "7"
    config["geometric_convergence"]["ratios"] = ["3", "4.5"]
    config["run"] = "2024"
    checked = check(config)
    assert checked["qsgd_convergence"]["tolerance"] == number
    assert checked["qsgd_convergence"]["trials"] == 7
    assert isinstance(checked["qsgd_convergence"]["trials"], int)
    assert checked["geometric_convergence"]["ratios"] == [3, 4.5]
    assert checked["run"] == "2024"


def test_a_seed_of_19_digits_keeps_all_of_them(config: dict[str, Any]) -> None:
    config["seed"] = "9223372036854775807"
    assert check(config)["seed"] == 9223372036854775807


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("sed", 3, "did you mean 'seed'"),
        ("qsgd_convergence.leveles", [3], "did you mean 'levels'"),
        ("qsgd_convergence.dimension", 0, "at least 1"),
        ("qsgd_convergence.dimension", "many", "type integer"),
        ("qsgd_convergence.dimension", 10.5, "type integer"),
        ("qsgd_convergence.levels", [0], "at least 1"),
        ("qsgd_convergence.levels", [40000], "at most 32767"),
        ("qsgd_convergence.levels", [], "at least one"),
        ("qsgd_convergence.levels", [4, 4], "repeat"),
        ("time_to_accuracy.coding", "morse", "one of packed"),
        ("qsgd_convergence.workers", 100000, "fewer workers"),
        ("qsgd_convergence.mini_batch", 4, "at least one"),
        ("qsgd_convergence.tolerance", 2, "below 1"),
        ("qsgd_convergence.tolerance", "nan", "type number"),
        ("qsgd_convergence.ratio", 2, "above 2"),
        ("geometric_convergence.mini_batch", 5000, "with_replacement"),
        ("geometric_convergence.samplings", ["fresh"], "one of"),
        ("cluster.kind", "moon", "one of inprocess, local, address, ssh, emulated, ec2"),
        ("experiments", ["tea"], "one of"),
        ("seed", -1, "at least 0"),
        ("run", "../elsewhere", "letters"),
    ],
)
def test_an_impossible_value_is_refused_with_its_key_and_the_remedy(
    config: dict[str, Any], key: str, value: object, says: str
) -> None:
    wrong = copy.deepcopy(config)
    place = wrong
    *outer, last = key.split(".")
    for part in outer:
        place = place[part]
    place[last] = value
    with pytest.raises(ConfigError) as caught:
        check(wrong)
    assert key in str(caught.value)
    assert says in str(caught.value)


def test_the_options_of_a_cluster_are_read_and_their_numbers_are_numbers() -> None:
    wanted = {"kind": "emulated", "emulated": {"rate": 1e9, "round_trip": 5e-4, "tls": True}}
    assert cluster("emulated", "rate: 1e9, round_trip: 5e-4, tls: true") == wanted
    assert cluster("emulated", "{rate: 1e9, round_trip: 5e-4, tls: true}") == wanted
    assert cluster("local", "") == {"kind": "local"}


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("emulated", "rat: 1e9", r"cluster\.emulated\.rat: unknown key; did you mean 'rate'"),
        ("emulated", "rate: fast", r"cluster\.emulated\.rate: 'fast' is not possible; it must be of type number"),
        ("emulated", "loss: 1", r"cluster\.emulated\.loss: 1 is not possible; it must be below 1"),
        ("emulated", "rate: [", r"cluster options: 'rate: \[' is not YAML; write `key: value, key: value`"),
        ("local", "rate: 1e9", r"cluster\.local: unknown key"),
    ],
)
def test_options_that_a_cluster_cannot_have_are_refused(kind: str, options: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        cluster(kind, options)


def test_a_missing_key_is_named(config: dict[str, Any]) -> None:
    del config["time_to_accuracy"]["trials"]
    with pytest.raises(ConfigError, match=r"time_to_accuracy\.trials: missing"):
        check(config)


@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), ("a: [", "is not YAML"), ("7", "no keys")])
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=says) as caught:
        load([path])
    assert str(path) in str(caught.value)


def test_the_schema_knows_exactly_the_experiments_of_the_catalogue() -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    assert schema["properties"]["experiments"]["items"]["enum"] == list(CATALOGUE)
    assert set(CATALOGUE) <= set(schema["properties"])
