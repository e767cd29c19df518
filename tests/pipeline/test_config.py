"""The configuration: what it accepts, and what it says to what it does not."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from relufit.cli import main
from relufit.clusters.section import cluster
from relufit.errors import ConfigError
from relufit.experiments import CATALOGUE
from relufit.experiments.configuration import check, load

ROOT = Path(__file__).parent.parent.parent


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


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


#: Lists of ten lists of ten lists ...: ten million values in 200 characters.
_LAUGHS = "a: &a [x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]\n" for below, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("run: 2026-11-25", 'run: 2026-11-25 is read as a date; put it in quotes if text is meant: "2026-11-25"'),
        ("run: 2026", 'run: 2026 is not possible; it must be text: put it in quotes, `run: "2026"`'),
        ("run: 1.10", "must be text"),
        ("seed: .nan", "seed: nan is no finite number; give a finite number"),
        ("seed: nan", "seed: 'nan' is not possible; it must be of type integer"),
        ("qsgd_convergence: {tolerance: .inf}", "qsgd_convergence.tolerance: inf is no finite number"),
        ("qsgd_convergence: {tolerance: 1e400}", "qsgd_convergence.tolerance: '1e400' is not possible"),
        ("link_speed: {reference: {rates: [1e400]}}", "link_speed.reference"),
        (f"qsgd_convergence: {{tolerance: 1{'0' * 400}}}", "qsgd_convergence.tolerance: 1000"),
        (f"seed: {'9' * 5000}", "seed: '9999"),
        ("experiments: !!set {trajectory}", "experiments: a set (`!!set`) is not possible; write a list: [a, b]"),
        ("run: !!binary aGVsbG8=", "run: binary data (`!!binary`) are not possible; write text"),
        ("run: !!python/object/apply:os.getcwd []", "is not YAML (could not determine a constructor for the tag"),
        ("run: !!int abc", None),
        ("run: 2026-13-45", None),
        ("seed: !!int abc", "seed: 'abc' is not possible; it must be of type integer"),
        ("experiments: &a [*a]", "experiments.0: refers to itself"),
        ("cluster: &a {local: *a}", "cluster.local: refers to itself"),
        (f"run: {_nested(60)}", "run: is nested too deeply"),
        (f"run: {_nested(5000)}", "is nested too deeply"),
        (_LAUGHS, "more than 100000 values"),
        ("seed: 1\nrun: a\nseed: 2", "seed: stands twice in the mapping that begins in line 1; leave one"),
        ("cluster:\n  kind: local\n  kind: ssh", "kind: stands twice in the mapping that begins in line 2"),
        ("run: a\0b", "is not YAML (unacceptable character"),
        ("", "holds no keys"),
        ("- 1", "holds no keys"),
        ("2026: 1", "2026: is no name of a key"),
        ("[a, b]: 1", "is not YAML"),
        ("seed: yes", "seed: True is not possible; it must be of type integer"),
        ("experiments: trajectory", "experiments: 'trajectory' is not possible; it must be of type array"),
        ("results: 'a{b}'", "results: 'a{b}' has { and }, which rules of a workflow read as patterns"),
        ("results: 'a{'", "results: 'a{' has {"),
        ("data: 's3://bucket/{b}'", "data: 's3://bucket/{b}' has { and }"),
        ('run: "abc\\n"', "run: 'abc\\n' has characters that cannot be printed"),
        ('results: "a\\nb"', "has characters that cannot be printed"),
        (f"run: {'a' * 300}", "(302 characters) is not possible; it must have at most 100 characters"),
        (f"results: {'a' * 300}", "has a part of 300 bytes; use at most 200"),
        (f"results: {'a/' * 1500}", "a path of 3000 bytes; use at most 2000"),
        ("results: ''", "results: '' is not possible; it must not be empty"),
        ('results: "a b\'c/\u00e9"', None),
        ("results: ../elsewhere", None),
    ],
)
def test_a_value_that_yaml_holds_and_a_configuration_does_not_is_one_line_with_its_key(
    tmp_path: Path, content: str, says: str | None
) -> None:
    over = tmp_path / "over.yaml"
    over.write_text(content, encoding="utf-8")
    if says is None:
        load([ROOT / "config.yaml", over])
        return
    with pytest.raises(ConfigError) as caught:
        load([ROOT / "config.yaml", over])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_file_in_another_encoding_is_read_or_refused_in_one_line(tmp_path: Path, encoding: str) -> None:
    over = tmp_path / "over.yaml"
    text = "results: caf\u00e9\n"
    over.write_bytes(("\ufeff" * encoding.endswith("le") + text).encode(encoding))
    assert load([ROOT / "config.yaml", over])["results"] == "caf\u00e9"
    over.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"over\.yaml: is no text in UTF-8 \(byte 0xe9 in line 1\); save it"):
        load([ROOT / "config.yaml", over])


def test_a_folder_and_a_pipe_are_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="is no file; give a YAML file"):
            load([path])


@pytest.mark.parametrize("text", ["{", "[1]", "7", '{"seed": NaN}', '{"a": ' * 3000, ""])
def test_json_that_is_no_configuration_is_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--json", text]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "options", ["rate: .nan", "rate: 1e400", "a: &a [*a]", "rate: 1, rate: 2", "!!set {a}", "1: 2"]
)
def test_options_of_a_cluster_are_held_against_the_same_rules(options: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cluster("emulated", options)
    assert "\n" not in str(caught.value)
