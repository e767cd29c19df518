"""Trials spread over the workers of a cluster: the same bits as in this process, one clear error, nothing left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from distributed import Client, Future
from waiting import until

from relufit import clusters
from relufit.clusters.workers import DaskCluster
from relufit.errors import ClusterError, ConfigError
from relufit.experiments.framework import spread as spreading
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.plan_costs import measured_costs
from relufit.experiments.framework.procedures import model_of
from relufit.experiments.framework.spread import spread
from relufit.planted import dataset
from relufit.planted.stores import inside
from relufit.training.slots import admission

SPEC: dict[str, Any] = {
    "compressor": {"name": "qsgd", "levels": 4},
    "workers": 2,
    "batch_size": 10,
    "iterations": 40,
    "sampling": "with_replacement",
}
TRAIN = [Setting("qsgd_convergence", name, {"n": 100, "d": 10}, SPEC, 5, group="all") for name in ("one", "other")]
QUANTIZE = [
    Setting("quantizer_variance", "q", {"d": 64}, {"compressor": SPEC["compressor"], "vectors": 20}, 4, "quantize")
]
ENDLESS = Setting("qsgd_convergence", "endless", {"n": 100, "d": 10}, {**SPEC, "iterations": 10**8}, 3)


@pytest.fixture
def _elsewhere(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of cluster with workers elsewhere that is the cluster of the tests."""

    @contextmanager
    def open_it(options: Any, workers: int) -> Iterator[Any]:
        assert workers == 0
        yield DaskCluster(client, {"kind": "there"})

    monkeypatch.setitem(clusters.KINDS, "there", open_it)
    monkeypatch.setattr(trials, "ELSEWHERE", {"there"})


def busy(client: Client) -> bool:
    """Tell whether a worker does anything."""

    def count(dask_worker: Any) -> int:
        return int(dask_worker.state.executing_count)

    return any(client.run(count).values())


def wait_until_idle(client: Client) -> None:
    until(lambda: not busy(client), "a trial is still running")


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("settings", [TRAIN, QUANTIZE], ids=["train", "quantize"])
def test_the_results_are_the_same_file_as_in_this_process(tmp_path: Path, settings: list[Setting]) -> None:
    here, there, updates = tmp_path / "here/t.parquet", tmp_path / "there/t.parquet", list[Any]()
    trials.run(settings, 7, here, tmp_path)
    trials.run(settings, 7, there, tmp_path, lambda *news: updates.append(news), {"kind": "there"})
    assert here.read_bytes() == there.read_bytes()
    total = sum(setting.trials for setting in settings)
    assert updates == [(done, total, None) for done in range(1, total + 1)]
    (about,) = [trials.trace_files.read(trials.trace_files.timing_path(there)).about]
    assert about["cluster"] == {"kind": "there"}


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("cluster", [None, {"kind": "there"}], ids=["here", "there"])
def test_data_sets_are_found_wherever_a_trial_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: dict[str, str] | None
) -> None:
    setting = replace(TRAIN[0], trials=1, datasets=("rows",))
    (tmp_path / "data").mkdir()
    dataset.write(model_of(setting, 7, 0), tmp_path / "data/rows.zarr", shards=2)
    monkeypatch.chdir(tmp_path)  # where the workers are not
    trials.run([setting], 7, tmp_path / "t.parquet", "data", cluster=cluster)
    assert (tmp_path / "t.parquet").exists()


def test_data_sets_may_be_in_a_bucket(aws_environment: str, tmp_path: Path) -> None:
    boto3.client("s3").create_bucket(Bucket="rows")
    setting = replace(TRAIN[0], trials=1, datasets=("rows",))
    for place in (str(tmp_path), "s3://rows/runs"):
        dataset.write(model_of(setting, 7, 0), inside(place, "rows.zarr"), shards=2)
    for name, place in (("disk", str(tmp_path)), ("bucket", "s3://rows/runs")):
        trials.run([setting], 7, tmp_path / f"{name}.parquet", place)
    results = [trials.trace_files.read(tmp_path / f"{name}.parquet").table for name in ("disk", "bucket")]
    assert results[0].equals(results[1])


def test_settings_with_real_ranks_and_clusters_on_this_machine_are_left_alone() -> None:
    own = Setting("time_to_accuracy", "own", {"n": 100, "d": 10}, SPEC, 1, cluster={"kind": "address"})
    assert trials.spread_over([own], {"kind": "address"}) is None
    for kind in ("address", "ssh", "ec2"):
        assert trials.spread_over(TRAIN, {"kind": kind}) == {"kind": kind}
    for kind in ("inprocess", "local", "emulated"):
        assert trials.spread_over(TRAIN, {"kind": kind}) is None
    assert trials.spread_over(TRAIN, None) is None
    # What is measured of this machine is measured here.
    assert trials.spread_over([measured_costs("link_speed")], {"kind": "address"}) is None


def test_no_more_tasks_are_under_way_than_the_workers_have_threads_for(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    submit, release, under_way, most = client.submit, Future.release, set[str](), [0]

    def count(*arguments: Any, **options: Any) -> Future:
        assert "resources" not in options, "a rank's slot was taken"
        future = submit(*arguments, **options)
        under_way.add(future.key)
        most[0] = max(most[0], len(under_way))
        return future

    def uncount(self: Future) -> None:
        under_way.discard(self.key)
        release(self)

    monkeypatch.setattr(client, "submit", count)
    monkeypatch.setattr(Future, "release", uncount)
    many = [(QUANTIZE[0], trial) for trial in range(40)]
    assert len(spread(client, many, 7, tmp_path, lambda done: None)) == 40
    assert most[0] == 2 * sum(client.nthreads().values())


@pytest.mark.parametrize(
    ("compressor", "error", "told"),
    [("moon", ConfigError, "moon"), (None, ClusterError, r"trial 0 of bad failed \(")],
)
def test_a_trial_that_fails_ends_all_with_its_cause(
    client: Client, tmp_path: Path, compressor: Any, error: type[Exception], told: str
) -> None:
    spec = {"compressor": {"name": compressor} if compressor else None, "vectors": 2}
    bad = Setting("quantizer_variance", "bad", {"d": 64}, spec, 1, "quantize")
    with pytest.raises(error, match=told):
        spread(client, [(bad, 0), *((ENDLESS, trial) for trial in range(3))], 7, tmp_path, lambda done: None)
    wait_until_idle(client)


def test_an_interrupt_ends_the_trials_on_the_workers(client: Client, tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spread(client, [(QUANTIZE[0], 0), *((ENDLESS, trial) for trial in range(3))], 7, tmp_path, interrupt)
    wait_until_idle(client)


def test_without_any_worker_the_wait_has_an_end(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreading, "_LONELY_SECONDS", 1.0)

    async def none() -> dict[str, int]:
        return {}

    monkeypatch.setattr(client, "nthreads", none)
    with pytest.raises(ClusterError, match="no worker for 1 s"):
        spread(client, [(QUANTIZE[0], 0)], 7, tmp_path, lambda done: None)


@contextmanager
def trials_under_way(client: Client, tmp_path: Path) -> Iterator[list[ClusterError]]:
    """Have another client spread endless trials, which leaves in the end; yield what it raises then."""
    errors = list[ClusterError]()

    def run() -> None:
        try:
            spread(other, [(ENDLESS, 0)], 7, tmp_path, lambda done: None)
        except ClusterError as error:
            errors.append(error)

    other = Client(client.scheduler.address, set_as_default=False)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: busy(client), "no trial has begun")
        yield errors
    finally:
        other.close()
        thread.join(300)
        assert not thread.is_alive()
        wait_until_idle(client)


def test_a_client_that_leaves_takes_its_trials_along(client: Client, tmp_path: Path) -> None:
    with trials_under_way(client, tmp_path) as errors:
        assert not errors
    (error,) = errors
    assert "the scheduler is gone" in str(error)


def test_trials_take_no_slot_from_ranks(client: Client, tmp_path: Path) -> None:
    slots = len(client.nthreads())
    with trials_under_way(client, tmp_path), admission(client, slots, 0.0) as free:
        assert free == slots
