"""The distributed engine against the serial one, bit for bit, and what it does when things go wrong."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from distributed import Client, LocalCluster, Worker
from traces import assert_same

from relufit import planted, theory, training
from relufit.compression import Compressor, make_compressor
from relufit.compression.base import Pieces
from relufit.compression.cast import Float64
from relufit.errors import ClusterError, DataError, RelufitError
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedData, PlantedModel, dataset
from relufit.planted.dataset import open_rows
from relufit.training import Progress, Timeouts, Trace, TrainingSpec, tasks
from relufit.training.spec import make_plan
from relufit.transport.greeting import TOKEN_BYTES

MODEL = PlantedModel(210, 12, 3, noise_std=0.05)
QSGD = {"name": "qsgd", "levels": 4}
#: Nobody may be taken for lost, however busy the machine is.
CALM = Timeouts(start=300, message=120, rejoin=120)


def spec(data: Path | PlantedModel | PlantedData = MODEL, **values: Any) -> TrainingSpec:
    return TrainingSpec(data, **{"batch_size": 20, "iterations": 25, **values})


def train(asked: TrainingSpec, client: Client | None = None, **options: Any) -> Trace:
    return training.train(asked, client, **{"timeouts": CALM, **options})


def assert_counted(trace: Trace) -> None:
    """Compare the bytes that the sockets counted with those that the algorithm did."""
    assert trace.received is not None
    last = trace.table.iloc[-1]
    assert trace.received["uplink_bytes"] == last["uplink_bytes"]
    assert trace.received["downlink_bytes"] == last["downlink_bytes"]
    assert not trace.faults


class _Unsound(Compressor):
    """A compressor that fails on the ranks, or whose payloads the master cannot decode."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def encode(self, vector: np.ndarray, key: int) -> bytes:
        if self._error:
            raise self._error
        return b"nonsense"

    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        return make_compressor("fp64").decode(payload, size)

    def variance(self, size: int) -> float:
        return 0.0

    def variance_bound(self, size: int) -> float:
        return 0.0


@pytest.fixture
def _picklable_by_value() -> Iterator[None]:
    """Let the workers, which do not have this file on their path, know its classes."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


class _Slow(Float64):
    """Takes its time."""

    def pieces(self, vector: np.ndarray, *rest: Any) -> Pieces:
        time.sleep(0.05)
        return super().pieces(vector, *rest)


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("compressor", ["fp64", QSGD])
@pytest.mark.parametrize("workers", [1, 2, 3, 5, 6])
def test_the_bits_are_those_of_the_serial_engine(
    client: Client, workers: int, compressor: str | dict[str, Any], exchange: str
) -> None:
    # The cluster has six slots: with five ranks one is left for the master, with six the first rank has it beside it.
    asked = spec(workers=workers, compressor=compressor, exchange=exchange)
    trace = train(asked, client)
    assert_same(trace, train(asked))
    assert_counted(trace)


@pytest.mark.parametrize(
    "values",
    [
        {"sampling": "fresh", "compressor": QSGD},
        {"sampling": "reshuffled", "compressor": QSGD},
        {"compressor": {"name": "qsgd", "levels": 1, "bucket_size": 5}},
        {"compressor": {"name": "qsgd", "levels": 2**15 - 1, "bucket_size": 1}},
        {"compressor": "fp16"},
        {"record_every": 7},
        {"iterations": 0},
        {"seed": -(2**63)},
    ],
)
def test_the_bits_are_those_of_the_serial_engine_whatever_the_setting(client: Client, values: dict[str, Any]) -> None:
    asked = spec(workers=3, **values)
    trace = train(asked, client)
    assert_same(trace, train(asked))
    assert_counted(trace)


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("start", ["random x 100", "orthogonal to w*", "moments x 10"])
def test_the_bits_are_those_of_the_serial_engine_from_other_starts(client: Client, start: str, exchange: str) -> None:
    asked = spec(workers=3, compressor=QSGD, initial_weights=start, exchange=exchange)
    trace = train(asked, client)
    assert_same(trace, train(asked))
    assert_counted(trace)


def test_in_double_precision_a_message_is_the_vector_and_a_header(client: Client) -> None:
    trace = train(spec(workers=3), client)
    message = 4 + 8 * 12
    assert trace.received is not None
    assert trace.received["uplink_bytes"] == 3 * 26 * message
    assert trace.table["downlink_bytes"].iloc[-1] == 3 * 25 * message


def test_a_path_a_recipe_and_arrays_give_the_same_bits(client: Client, tmp_path: Path) -> None:
    dataset.write(MODEL, tmp_path / "data", shards=3)
    dataset.write(MODEL, tmp_path / "other", shards=2)
    expected = train(spec(workers=3, compressor=QSGD))
    for data in (tmp_path / "data", tmp_path / "other", MODEL, planted.generate(210, 12, 3, noise_std=0.05)):
        assert_same(train(spec(data, workers=3, compressor=QSGD), client), expected)


def test_of_arrays_a_rank_is_sent_its_own_part_alone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    data, sent = planted.generate(3000, 100, 0), []
    submit = client.submit

    def spy(task: Callable[..., object], *arguments: object, **options: object) -> object:
        sent.append(len(pickle.dumps(arguments)))
        return submit(task, *arguments, **options)

    monkeypatch.setattr(client, "submit", spy)
    train(spec(data, workers=3, iterations=2), client)
    assert len(sent) == 4
    assert sum(sent) < 1.1 * (data.x.nbytes + data.y.nbytes)


def test_of_a_recipe_the_planted_weights_are_not_sent(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sent = PlantedModel(300, 20_000, 1), []
    submit = client.submit

    def spy(task: Callable[..., object], *arguments: object, **options: object) -> object:
        sent.append(len(pickle.dumps(arguments)))
        return submit(task, *arguments, **options)

    monkeypatch.setattr(client, "submit", spy)
    asked = spec(model, workers=3, iterations=2)
    assert_same(train(asked, client), train(asked))
    assert len(sent) == 4
    assert max(sent) < 20_000


def test_the_optimal_step_is_that_of_theory_and_is_recorded(client: Client) -> None:
    summary = train(spec(workers=5, compressor=QSGD), client).summary
    omega = theory.qsgd_variance(12, 4)
    assert summary["step_size"] == pytest.approx(theory.optimal_step(12, 20, omega=omega, workers=5), rel=1e-14)
    assert summary["step_rule"].startswith("optimal")


def test_a_run_stops_at_the_tolerance(client: Client) -> None:
    asked = spec(PlantedModel(600, 12, 1), workers=2, iterations=10_000, tolerance=1e-6)
    trace = train(asked, client)
    assert trace.outcome == "converged"
    assert trace.table["relative_error"].iloc[-1] <= 1e-6 < trace.table["relative_error"].iloc[-2]
    assert_same(trace, train(asked))
    assert_counted(trace)


@pytest.mark.parametrize("step_size", [20.0, 1e300])
def test_divergence_is_an_outcome_and_no_error(client: Client, step_size: float) -> None:
    asked = spec(workers=3, compressor=QSGD, step_size=step_size, iterations=10_000)
    trace = train(asked, client)
    assert trace.outcome == "diverged"
    assert trace.table["relative_error"].iloc[-1] > 1e3
    assert_same(trace, train(asked))


@pytest.mark.usefixtures("_picklable_by_value")
def test_progress_is_told_while_a_run_goes_on(client: Client) -> None:
    reports: list[Progress] = []
    trace = train(spec(workers=2, compressor=_Slow()), client, progress=reports.append)
    table = trace.table.set_index("iteration")
    iterations = [news.iteration for news in reports]
    assert len(reports) >= 2
    assert iterations == sorted(set(iterations))
    for news in reports:
        row = table.loc[news.iteration]
        assert (news.relative_error, news.uplink_bytes, news.downlink_bytes) == (
            row["relative_error"],
            row["uplink_bytes"],
            row["downlink_bytes"],
        )
    for news in reports[1:]:  # which have one before them to be compared with
        assert np.isfinite([news.speed, news.left]).all()
        assert news.speed > 0
        assert news.left >= 0


def test_slots_are_counted_by_the_scheduler_itself(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh = Client._update_scheduler_info

    async def overtaken(self: Client, n_workers: int = 0) -> None:
        """As when the client's own refreshing, which leaves the workers out, comes between question and answer."""
        await refresh(self, n_workers=n_workers)
        await refresh(self, n_workers=0)

    monkeypatch.setattr(Client, "_update_scheduler_info", overtaken)
    assert train(spec(workers=2), client).outcome == "budget spent"


def test_times_of_a_distributed_run_are_there(client: Client) -> None:
    timing = train(spec(workers=3, compressor=QSGD), client).timing
    assert (timing.drop(columns="iteration") >= 0).all(axis=None)
    assert (timing[["compute", "encode", "exchange", "decode", "update"]].iloc[1:] > 0).all(axis=None)
    assert (timing["elapsed"].diff().iloc[1:] >= 0).all()


def test_too_few_slots_are_a_cluster_error(client: Client) -> None:
    with pytest.raises(ClusterError, match="6 slots for 7 ranks") as caught:
        train(spec(workers=7), client)
    assert "slot=1" in caught.value.remedy


@pytest.mark.parametrize(("workers", "broken"), [(3, 0), (3, 2), (6, 0), (6, 5)])
def test_a_damaged_shard_is_told_to_the_caller_and_the_cluster_is_free_again(
    client: Client, tmp_path: Path, workers: int, broken: int
) -> None:
    dataset.write(MODEL, tmp_path / "data", shards=workers)
    file = tmp_path / "data" / "x" / "c" / str(broken) / "0"
    os.truncate(file, 100)
    with pytest.raises(DataError, match="100 bytes in place of") as caught:
        train(spec(tmp_path / "data", workers=workers), client)
    assert caught.value.where == str(file)
    assert train(spec(workers=6), client).outcome == "budget spent"


@pytest.mark.usefixtures("_picklable_by_value")
@pytest.mark.parametrize("workers", [2, 6])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ZeroDivisionError("by hand"), "ZeroDivisionError: by hand"),
        (DataError("by hand", where="here"), "here: by hand"),
        (None, "payload of kind"),
    ],
)
def test_an_error_on_a_rank_or_the_master_is_told_to_the_caller(
    client: Client, workers: int, error: Exception | None, told: str
) -> None:
    with pytest.raises(RelufitError, match=told):
        train(spec(workers=workers, compressor=_Unsound(error), step_size=0.1), client)
    assert train(spec(workers=6), client).outcome == "budget spent"


def test_ranks_that_wait_for_a_master_free_their_slots_when_they_are_cancelled(client: Client) -> None:
    def running(dask_worker: Worker) -> int:
        return dask_worker.state.executing_count

    asked, rows = spec(workers=6), open_rows(MODEL)
    order = tasks.TaskSpec(make_plan(asked, rows), rows, bytes(TOKEN_BYTES), "nobody", "topic", Timeouts(), None, 10.0)
    waiting = [client.submit(tasks.serve, order, number, resources={"slot": 1}, pure=False) for number in range(6)]
    while sum(client.run(running).values()) < 6:
        time.sleep(0.05)
    client.cancel(waiting, force=True)
    assert_same(train(asked, client), train(asked))


def test_a_cluster_with_tls_and_no_slots_gives_the_same_bits() -> None:
    with (
        LocalCluster(
            n_workers=3,
            threads_per_worker=1,
            security=True,
            protocol="tls",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        assert all(address.startswith("tls://") for address in client.scheduler_info(n_workers=-1)["workers"])
        for workers in (2, 3):  # a worker for the master, and none
            for exchange in EXCHANGES:
                asked = spec(workers=workers, compressor=QSGD, exchange=exchange)
                trace = train(asked, client)
                assert_same(trace, train(asked))
                assert_counted(trace)
        with pytest.raises(ClusterError, match="3 slots for 4 ranks"):
            train(spec(workers=4), client)
