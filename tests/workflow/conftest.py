"""What the tests of the workflow share: one run, from which each module has a copy, and who starts the others."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import launcher
import pytest
from checkout import CONFIGURED, First, checkout, snakemake


@pytest.fixture(scope="module", autouse=True)
def _launcher() -> Iterator[None]:
    """The processes that runs of Snakemake are forked from end with the tests of a module."""
    yield
    launcher.close()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    """A copy of the run, which the first process of pytest-xdist that needs it makes for all."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "workflow"
    shared.mkdir(exist_ok=True)
    record = shared / "printed.json"
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            shutil.rmtree(shared / "first", ignore_errors=True)
            done = snakemake(checkout(shared / "first"), *CONFIGURED)
            assert done.returncode == 0, done.stdout + done.stderr
            record.write_text(json.dumps([done.stdout, done.stderr]))
    folder = tmp_path_factory.mktemp("first") / "copy"
    # With the dates of files, by which Snakemake tells what is out of date.
    shutil.copytree(shared / "first", folder)
    # Snakemake remembers where the captions were.
    for path in (folder / ".snakemake/metadata").rglob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace(str(shared / "first"), str(folder)))
    return First(folder, *json.loads(record.read_text()))


@pytest.fixture(scope="module")
def finished(first: First) -> Path:
    """The folder of that copy."""
    return first.folder
