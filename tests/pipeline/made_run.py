"""The folder of a run in which each result is a file with its own name in it, or a folder with one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relufit.cli import main
from relufit.experiments import configuration as config
from relufit.experiments.framework.run_files import RunFiles
from relufit.files.atomic import write_json

ROOT = Path(__file__).parent.parent.parent
EXPERIMENTS = ("qsgd_convergence", "time_to_accuracy")


def configuration(folder: Path, **values: Any) -> Mapping[str, Any]:
    """Write a checked configuration to the folder of a run, and return it."""
    over = folder / "over.yaml"
    write_json(over, {"experiments": [*EXPERIMENTS], **values})
    path = folder / "config.yaml"
    assert main(["config", str(ROOT / "config.yaml"), str(over), "--output", str(path)]) == 0
    over.unlink()
    return config.load([path])


def make_run(folder: Path) -> Path:
    """Make the results of a run, without what is made of all of them together."""
    for path in RunFiles(configuration(folder)).results():
        if path.suffix == ".zarr":
            (folder / path).mkdir(parents=True)
            (folder / path / "zarr.json").write_text(str(path))
        elif path.name != "config.yaml":
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(str(path))
    return folder


#: What another configuration, a killed process or somebody has left in the folder.
LEFT = [
    "traces/qsgd_convergence/qsgd-s999.parquet",
    "traces/trajectory/all.parquet",
    "tables/trajectory.curves.csv",
    "claims/trajectory.json",
    "figures/.qsgd_convergence.svg.0123456789abcdef.part",
    "figures/photo.svg",
    "data/old-0.zarr/zarr.json",
    "data/.time_to_accuracy-1.zarr.0123456789abcdef.part/new/zarr.json",
]


def leave(folder: Path) -> None:
    """Put there what does not belong to the run."""
    for name in LEFT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("left")
