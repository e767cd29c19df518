"""What runs tell their client; and a client that trains again and again keeps nothing of the runs that have ended."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import Counter

from distributed import Client, Future

from relufit.planted import PlantedModel, generate
from relufit.training import Progress, Trace, TrainingSpec, train
from relufit.training.hearing import heard, topic_of
from relufit.training.slots import PREFIX

RUNS = 6
SPEC = TrainingSpec(PlantedModel(60, 5, 3), workers=2, batch_size=4, iterations=3)


def kept() -> Counter[str]:
    """Count the objects of this process that belong to runs, by their types."""
    gc.collect()
    counts: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        ours = str(kind.__module__).startswith("relufit.training.")
        if ours or (kind is Future and str(thing.key).startswith(PREFIX)):
            counts[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return counts


def test_a_client_keeps_nothing_of_the_runs_that_have_ended(client: Client) -> None:
    train(SPEC, client)
    before = kept()
    for _ in range(RUNS):
        train(SPEC, client)
    more = {kind: count for kind, count in (kept() - before).items() if count >= RUNS}
    assert not more


def test_nor_the_data_that_it_has_trained_on(client: Client) -> None:
    data = generate(60, 5, 3)
    rows = weakref.ref(data.x)
    train(TrainingSpec(data, workers=2, batch_size=4, iterations=3), client)
    del data
    gc.collect()
    assert rows() is None


def test_a_scheduler_keeps_one_topic_for_all_runs_of_a_client(client: Client) -> None:
    train(SPEC, client)
    before = set(client.get_events())
    for _ in range(3):
        train(SPEC, client)
    assert set(client.get_events()) == before
    assert topic_of(client) in before


def test_each_run_hears_what_its_own_tasks_tell(client: Client) -> None:
    with heard(client, "one") as first, heard(client, "other") as second:
        for name in ("one", "other", "nobody", "one"):
            client.log_event(topic_of(client), (name, "news", name))
        assert [first.get(timeout=60) for _ in range(2)] == [("news", "one")] * 2
        assert second.get(timeout=60) == ("news", "other")
        assert first.empty()
        assert second.empty()


def test_runs_of_one_client_side_by_side_are_told_apart(client: Client) -> None:
    specs = [TrainingSpec(PlantedModel(60, 5, seed), workers=2, batch_size=4, iterations=300) for seed in (3, 4)]
    traces: dict[int, Trace] = {}
    news: dict[int, list[Progress]] = {0: [], 1: []}

    def run(number: int) -> None:
        traces[number] = train(specs[number], client, progress=news[number].append)

    threads = [threading.Thread(target=run, args=[number]) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, asked in enumerate(specs):
        oracle = train(asked)
        assert traces[number].table.equals(oracle.table)
        errors = set(oracle.table["relative_error"])
        assert all(report.relative_error in errors for report in news[number])
