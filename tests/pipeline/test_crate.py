"""A run as an RO-Crate: of the structure that the specifications demand, and of the files that are there."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from made_run import LEFT, configuration, leave, make_run

from relufit.cli import main
from relufit.errors import DataError
from relufit.experiments.framework.run_files import RunFiles
from relufit.files.atomic import digest
from relufit.pipeline.crate import NAME, crate

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
Graph = dict[str, dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run."""
    folder = make_run(tmp_path / "run")
    command = ["--made-by", "snakemake --cores all"]
    assert main(["manifest", str(folder), "--output", str(folder / "manifest.json"), *command]) == 0
    for path in RunFiles(configuration(folder)).presented():
        if path.name != "manifest.json":
            (folder / path).write_text(f"{path} of <everything> & more")
    return folder


def read(folder: Path) -> Graph:
    """Make the crate of a run, and return its entities by their identifiers."""
    assert main(["crate", str(folder), "--output", str(folder / NAME)]) == 0
    content = json.loads((folder / NAME).read_text())
    assert content["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    # Where the profile's terms are, `sha256` among them.
    assert content["@context"][1:] == ["https://w3id.org/ro/terms/workflow-run/context"]
    assert set(content) == {"@context", "@graph"}
    entities: list[dict[str, Any]] = content["@graph"]
    named = {entity["@id"]: entity for entity in entities}
    assert len(named) == len(entities)
    return named


def references(value: Any) -> list[str]:
    """Return the identifiers that a property refers to, of whatever entity."""
    values = value if isinstance(value, list) else [value]
    return [one["@id"] for one in values if isinstance(one, dict)]


def test_it_has_a_descriptor_a_root_and_a_profile_and_every_reference_leads_somewhere(run: Path) -> None:
    graph = read(run)
    descriptor, root = graph["ro-crate-metadata.json"], graph["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["@type"] == "Dataset"
    assert references(root["conformsTo"]) == [PROFILE]
    assert graph[PROFILE]["@type"] == "CreativeWork"
    assert graph[PROFILE]["version"] == "0.5"
    assert {"name", "description", "license", "datePublished"} <= set(root)
    assert datetime.fromisoformat(root["datePublished"]).tzinfo is not None
    outside = {"https://w3id.org/ro/crate/1.1"}
    for entity in graph.values():
        assert {"@id", "@type"} <= set(entity)
        assert entity is descriptor or "name" in entity
        for value in entity.values():
            assert set(references(value)) <= set(graph) | outside, entity["@id"]


def test_each_file_is_there_with_the_size_and_the_digest_of_the_manifest(run: Path) -> None:
    graph, manifest = read(run), json.loads((run / "manifest.json").read_text())
    parts = references(graph["./"]["hasPart"])
    assert len(parts) == len(set(parts))
    files = {unquote(part) for part in parts if graph[part]["@type"] == "File"}
    folders = {unquote(part).rstrip("/") for part in parts if graph[part]["@type"] == "Dataset"}
    presented = {"claims.json", "claims.md", "manifest.json", "report.html"}
    assert files | folders == {*manifest["sha256"], *manifest["depends_on_the_clock"], *presented}
    assert folders == {name for name in manifest["sha256"] if name.endswith(".zarr")}
    for part in parts:
        entity, path = graph[part], run / unquote(part)
        assert entity["name"] == unquote(part).rstrip("/")
        if path.is_file():
            assert int(entity["contentSize"]) == path.stat().st_size
            assert entity["sha256"] == digest(path) == manifest["sha256"].get(entity["name"], digest(path))
        else:
            assert part.endswith("/")
            assert int(entity["contentSize"]) == sum(file.stat().st_size for file in path.rglob("*"))
    assert graph["figures/qsgd_convergence.svg"]["encodingFormat"] == "image/svg+xml"
    assert {graph[part].get("encodingFormat") for part in parts} <= {
        None,
        *("application/json", "application/vnd.apache.parquet", "application/yaml"),
        *("image/png", "image/svg+xml", "text/csv", "text/html", "text/markdown"),
    }


def test_the_action_made_all_but_the_configuration_with_this_relufit_and_its_packages(run: Path) -> None:
    graph, manifest = read(run), json.loads((run / "manifest.json").read_text())
    (action,) = references(graph["./"]["mentions"])
    entity = graph[action]
    assert entity["@type"] == "CreateAction"
    assert entity["description"] == manifest["command"] == "snakemake --cores all"
    assert references(entity["object"]) == ["config.yaml"]
    assert {*references(entity["result"]), "config.yaml"} == set(references(graph["./"]["hasPart"]))
    assert datetime.fromisoformat(entity["endTime"]).tzinfo is not None
    software = graph[references(entity["instrument"])[0]]
    assert (software["@type"], software["name"]) == ("SoftwareApplication", "relufit")
    commit = manifest["commit"]
    local = f"+{commit.replace('-', '.')}" if commit else ""
    assert software["softwareVersion"] == f"{manifest['version']}{local}"
    packages = {
        graph[name]["name"]: graph[name]["softwareVersion"] for name in references(software["softwareRequirements"])
    }
    assert packages == {name: one for name, one in manifest["machine"]["packages"].items() if name != "relufit"}
    assert packages["numpy"]


def test_a_package_that_was_installed_has_its_version_alone(run: Path) -> None:
    path = run / "manifest.json"
    manifest = {**json.loads(path.read_text()), "commit": None, "command": ""}
    path.write_text(json.dumps(manifest))
    graph = read(run)
    assert graph["#relufit"]["softwareVersion"] == manifest["version"]
    assert graph[references(graph["./"]["mentions"])[0]]["description"] == "The command is not known"


def test_what_does_not_belong_to_the_run_is_not_listed(run: Path) -> None:
    before = read(run)
    leave(run)
    assert read(run) == before
    assert not {name.split("/zarr.json")[0] for name in LEFT} & {unquote(part).rstrip("/") for part in before}


def test_names_are_percent_encoded(run: Path) -> None:
    path = Path("tables/odd name #1.csv")
    (run / path).write_text("1")
    graph = crate(run, "odd", [path, Path("config.yaml")])["@graph"]
    (entity,) = [entity for entity in graph if entity.get("name") == str(path)]
    assert entity["@id"] == "tables/odd%20name%20%231.csv"


def test_a_file_that_is_missing_or_another_than_the_manifest_lists_is_one_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = run / "tables/qsgd_convergence.summary.csv"
    table.write_text("changed")
    command = ["crate", str(run), "--output", str(run / NAME)]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{table}: is not what manifest.json lists; run the workflow again")
    table.unlink()
    assert main(command) == 2
    assert "summary.csv: there is no such result; finish the run" in capsys.readouterr().err
    assert not (run / NAME).exists()


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"sha256": 1, "version": "", "commit": null, "command": ""}'])
def test_a_manifest_that_is_missing_or_damaged_is_one_line(run: Path, text: str | None) -> None:
    path = run / "manifest.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match="there is no manifest" if text is None else "no manifest of ours") as caught:
        crate(run, "tiny", [Path("config.yaml")])
    assert len(str(caught.value).splitlines()) == 1


def test_an_output_over_a_result_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crate", str(run), "--output", str(run / "report.html")]) == 2
    assert "is the same file as the result report.html" in capsys.readouterr().err
