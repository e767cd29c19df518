"""The examples of docs/extending.md: added to a copy of the package, file by file as they stand there, and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
#: A file from nothing: its path ends a sentence, and the block that follows is all of it.
_NEW = re.compile(r"`([\w/.]+)`:\n\n```(?:py|rst)\n(.*?)```", re.DOTALL)
#: Lines in a file that there is, after one of its lines.
_AFTER = re.compile(r"In `([\w/.]+)`, after\s+`([^`]+)`:\n\n```\n(.*?)```", re.DOTALL)
(_SECTION,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def _put_in(path: Path, after: str, lines: str) -> None:
    text = path.read_text(encoding="utf-8")
    at = [line for line in text.splitlines() if line.startswith(after)]
    assert len(at) == 1, f"{path} has {len(at)} lines that begin with {after!r}"
    path.write_text(text.replace(f"{at[0]}\n", f"{at[0]}\n{lines}"), encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, with its compiled loops, to which all examples were added."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("src", "workflow"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
    changes = _AFTER.findall(PAGE)
    files = [file for file in _NEW.findall(PAGE) if not (folder / file[0]).exists()]
    assert (len(files), len(changes)) == (8, 6)
    for name, content in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    for name, after, lines in changes:
        _put_in(folder / name, after, lines)
    return folder


@pytest.fixture(scope="module")
def run(extended: Path) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=extended,
            env={**os.environ, "PYTHONPATH": str(extended / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


TRAINED = """
import sys
import relufit
from relufit.clusters import open_cluster
from relufit.planted import PlantedModel

assert relufit.__file__.startswith(sys.argv[1])
if __name__ == "__main__":
    for exchange in ("master", "echo"):
        spec = relufit.TrainingSpec(
            PlantedModel(200, 20, 1),
            {"name": "qsgd", "levels": 4},
            workers=2,
            batch_size=20,
            iterations=30,
            exchange=exchange,
        )
        with open_cluster({"kind": "dask_local"}, 2) as cluster:
            trace = relufit.train(spec, cluster.client)
        last = trace.table.iloc[-1]
        assert all(trace.received[count] == last[count] for count in ("uplink_bytes", "downlink_bytes"))
        assert trace.weights.tobytes() == relufit.train(spec).weights.tobytes()
        print(exchange)
"""


def test_the_exchange_trains_on_the_cluster_to_the_bits_of_the_serial_engine(
    extended: Path, run: Callable[..., str], tmp_path: Path
) -> None:
    # Processes of Dask import the program again, so that it is a file.
    (tmp_path / "trained.py").write_text(TRAINED)
    assert run(tmp_path / "trained.py", extended).split() == ["master", "echo"]


def test_the_experiment_is_run_and_judged(extended: Path, run: Callable[..., str], tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "config.yaml").read_text()) | yaml.safe_load(_SECTION)
    content["experiments"] = ["zero_start"]
    config, traces = tmp_path / "config.yaml", tmp_path / "traces" / "zero_start"
    config.write_text(yaml.safe_dump(content))
    run("-m", "relufit.cli", "trials", "zero_start", "zero", "--config", config, "--output", traces)
    judged = tmp_path / "zero_start.json"
    options = ("--traces", traces, "--tables", tmp_path / "tables", "--output", judged)
    run("-m", "relufit.cli", "judge", "zero_start", "--config", config, *options)
    (verdict,) = json.loads(judged.read_text())["verdicts"]["other starts"]
    assert verdict["verdict"] == "confirmed"
    assert len(pd.read_csv(tmp_path / "tables" / "zero_start.trials.csv")) == 5


def test_the_figure_is_drawn(run: Callable[..., str], tmp_path: Path) -> None:
    tables = ROOT / "tests" / "figures" / "tables"
    run("-m", "relufit.cli", "figure", "initial_z", "--tables", tables, "--output", tmp_path)
    assert (tmp_path / "initial_z.svg").stat().st_size > 5000
    assert (tmp_path / "initial_z.png").exists()


def test_the_configuration_knows_what_was_added(run: Callable[..., str]) -> None:
    schema = yaml.safe_load(run("-m", "relufit.cli", "config", "--schema"))
    assert {"zero_start"} <= set(schema["properties"])
    text = json.dumps(schema)
    assert all(f'"{name}"' in text for name in ("echo", "dask_local", "zero_start"))
