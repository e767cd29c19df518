"""A run as an RO-Crate 1.1 of the profile Process Run Crate 0.5: which files there are, and what made them.

The specifications are https://w3id.org/ro/crate/1.1 and https://w3id.org/ro/wfrun/process/0.5. The crate is of no
profile that demands the workflow among its files: that is a package and many rules, and is named by version and commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from relufit.errors import DataError
from relufit.files.atomic import digest

#: The name that the specification gives the file.
NAME = "ro-crate-metadata.json"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
SPECIFICATION, PROFILE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/wfrun/process/0.5"
PAPER = "https://doi.org/10.1109/ISIT.2019.8849667"
_SOFTWARE = "#relufit"
_LICENSE = "To be chosen by whoever publishes the run; relufit itself is under the MIT license"
_FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml",
}

Entity = dict[str, Any]


def crate(folder: Path, run: str, paths: Iterable[Path]) -> dict[str, Any]:
    """Return the content of ro-crate-metadata.json.

    Parameters
    ----------
    folder : Path
        The run's folder, with manifest.json.
    run : str
        The name of the run.
    paths : iterable of Path
        What the configuration of the run makes, relative to the folder: files, and folders of data sets. Whatever else
        is in the folder is not listed.

    Returns
    -------
    dict
        JSON-LD. Each file has its size in bytes and its SHA-256, and each folder the size of its files.

    Raises
    ------
    DataError
        If one of the paths is missing, there is no manifest, or a file is not the one that the manifest lists.
    """
    paths, manifest = sorted(paths), _manifest(folder / "manifest.json")
    parts = [_part(folder, path, manifest["sha256"]) for path in paths]
    made_at = _time(max((folder / path).stat().st_mtime for path in paths))
    # The same run has the same name, and another run another one.
    action = f"#run-{digest(folder / 'manifest.json')[:32]}"
    inputs = [part for part in parts if part["@id"] == "config.yaml"]
    packages = [
        _package(name, version) for name, version in manifest["machine"]["packages"].items() if name != "relufit"
    ]
    return {
        "@context": CONTEXT,
        "@graph": [
            {
                "@id": NAME,
                "@type": "CreativeWork",
                "conformsTo": {"@id": SPECIFICATION},
                "about": {"@id": "./"},
            },
            {
                "@id": "./",
                "@type": "Dataset",
                "name": f"Run {run} of relufit",
                "description": "Verdicts on the claims of the paper, with report, figures, tables, traces and data",
                "datePublished": made_at,
                "license": _LICENSE,
                "conformsTo": [{"@id": PROFILE}],
                "citation": {"@id": PAPER},
                "hasPart": _references(parts),
                "mentions": {"@id": action},
            },
            {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
            {
                "@id": PAPER,
                "@type": "ScholarlyArticle",
                "name": "Fitting ReLUs via SGD and Quantized SGD",
                "identifier": PAPER,
            },
            {
                "@id": _SOFTWARE,
                "@type": "SoftwareApplication",
                "name": "relufit",
                "softwareVersion": _version(manifest),
                "softwareRequirements": _references(packages),
            },
            *packages,
            {
                "@id": action,
                "@type": "CreateAction",
                "name": f"Run of the workflow of relufit: {run}",
                "description": manifest["command"] or "The command is not known",
                "endTime": made_at,
                "instrument": {"@id": _SOFTWARE},
                "object": _references(inputs),
                "result": _references(part for part in parts if part not in inputs),
                "actionStatus": "http://schema.org/CompletedActionStatus",
            },
            *parts,
        ],
    }


def _manifest(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wanted = (content["sha256"], content["version"], content["commit"], content["command"])
        if not all(isinstance(part, dict) for part in (wanted[0], content["machine"]["packages"])):
            raise TypeError("its digests or packages are no mapping")
    except FileNotFoundError as error:
        raise DataError("there is no manifest", where=str(path), remedy="make it with `relufit manifest`") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"no manifest of ours ({error})", where=str(path), remedy="make it again") from error
    return content


def _part(folder: Path, path: Path, digests: dict[str, str]) -> Entity:
    """Return the entity of a file, or of the folder of a data set, after a look at whether it is the one listed."""
    name, result = path.as_posix(), folder / path
    if not result.exists():
        raise DataError("there is no such result", where=str(result), remedy="finish the run")
    sha256 = digest(result)
    if digests.get(name, sha256) != sha256:
        raise DataError("is not what manifest.json lists", where=str(result), remedy="run the workflow again")
    if result.is_dir():
        size = sum(file.stat().st_size for file in result.rglob("*") if file.is_file())
        return {
            "@id": f"{quote(name)}/",
            "@type": "Dataset",
            "name": name,
            "description": "Planted data, Zarr v3; its digest is in manifest.json",
            "contentSize": str(size),
        }
    return {
        "@id": quote(name),
        "@type": "File",
        "name": name,
        "encodingFormat": _FORMATS.get(path.suffix, "application/octet-stream"),
        "contentSize": str(result.stat().st_size),
        "sha256": sha256,
    }


def _package(name: str, version: str) -> Entity:
    return {"@id": f"#{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version}


def _version(manifest: dict[str, Any]) -> str:
    """Return the version of relufit, with the commit of its checkout if there is one (a local version of PEP 440)."""
    commit = manifest["commit"]
    return f"{manifest['version']}+{commit.replace('-', '.')}" if commit else str(manifest["version"])


def _references(entities: Iterable[Entity]) -> list[Entity]:
    return [{"@id": entity["@id"]} for entity in entities]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
