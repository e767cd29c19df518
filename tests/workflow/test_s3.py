"""The workflow with its data sets in a bucket, kept by a moto server: the same results as with data sets on disk."""

from __future__ import annotations

import subprocess
from pathlib import Path

import boto3
import checkout

from relufit.files.atomic import digest

ROOT = Path(__file__).parent.parent.parent
SMALL = "time_to_accuracy={dimension: 100, mini_batch: 8, iterations: 600}"


def snakemake(results: Path, *words: str) -> subprocess.CompletedProcess[str]:
    whole = ["--config", f"results={results}", "run=tiny", "experiments=[time_to_accuracy]", SMALL, *words]
    return checkout.snakemake(ROOT, "--nolock", "--cores", "2", "--configfile", "config/smoke.yaml", *whole)


def test_a_run_reads_and_writes_its_data_sets_in_a_bucket(aws_environment: str, tmp_path: Path) -> None:
    bucket = boto3.resource("s3").create_bucket(Bucket="rows")
    trace = "tiny/traces/time_to_accuracy/runs.parquet"
    asked = ["data=s3://rows/runs", "--", str(tmp_path / "remote" / trace)]
    done = snakemake(tmp_path / "remote", *asked)
    assert done.returncode == 0, done.stderr
    markers = sorted((tmp_path / "remote/tiny/data").iterdir())
    assert [path.suffix for path in markers] == [".s3"] * 2
    for path in markers:
        assert path.read_text() == f"s3://rows/runs/tiny/{path.stem}.zarr\n"
    names = {one.key.split("/")[2] for one in bucket.objects.filter(Prefix="runs/tiny/")}
    assert names == {f"{path.stem}.zarr" for path in markers}
    again = snakemake(tmp_path / "remote", *asked)
    assert "Nothing to be done" in again.stdout + again.stderr
    done = snakemake(tmp_path / "disk", "--", str(tmp_path / "disk" / trace))
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "remote" / trace) == digest(tmp_path / "disk" / trace)


def test_a_place_for_data_that_is_none_is_refused(tmp_path: Path) -> None:
    done = snakemake(tmp_path, "data=ftp://rows", "-n")
    assert done.returncode != 0
    assert "data: 'ftp://rows' is not possible" in done.stderr + done.stdout
