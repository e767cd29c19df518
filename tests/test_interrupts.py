"""Interrupts that come where Python drops them end a program all the same."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from distributed import Client
from waiting import LONG

from relufit.interrupts import delivered, interrupt, shielded
from relufit.planted import PlantedModel
from relufit.training import Progress, TrainingSpec, train


class _Thing:
    pass


def _in_weak_reference() -> None:
    thing = _Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    assert reference() is None


def _in_finaliser() -> None:
    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    Finalised()


def _in_collector() -> None:
    def watch(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            gc.callbacks.remove(watch)
            signal.raise_signal(signal.SIGINT)

    gc.callbacks.append(watch)
    gc.collect()


WHERE = [_in_weak_reference, _in_finaliser, _in_collector]


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("where", WHERE, ids=lambda where: where.__name__)
def test_an_interrupt_where_python_drops_it_comes_again(where: Callable[[], None]) -> None:
    before = sys.unraisablehook
    with delivered(), pytest.raises(KeyboardInterrupt):
        where()
        time.sleep(60)
    assert sys.unraisablehook is before


def test_what_else_cannot_be_raised_is_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)

    class Finalised:
        def __del__(self) -> None:
            raise ValueError("in vain")

    with delivered():
        Finalised()
    assert [entry.exc_type for entry in seen] == [ValueError]


def test_where_an_interrupt_is_ignored_it_comes_again_as_the_signal_that_is_not() -> None:
    program = (
        "import signal, time, weakref\n"
        "from relufit.interrupts import delivered\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "thing = type('Thing', (), {})()\n"
        "reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))\n"
        "try:\n"
        "    with delivered():\n"
        "        del thing\n"
        "        time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('ended')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("ended\n", "")


def _train(client: Client | None) -> None:
    done: list[int] = []

    def progress(news: Progress) -> None:
        if not done:
            done.append(news.iteration)
            _in_weak_reference()

    spec = TrainingSpec(PlantedModel(2100, 50, 3, noise_std=0.05), "fp32", workers=2, batch_size=20, iterations=10**7)
    with pytest.raises(KeyboardInterrupt):
        train(spec, client, progress=progress)


def test_it_ends_a_run_of_one_process() -> None:
    _train(None)


def test_it_ends_a_run_on_a_cluster() -> None:
    with Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        _train(client)


LOOPS = """
import asyncio, random, signal
from relufit.interrupts import interrupt

signal.signal(signal.SIGALRM, lambda *_: interrupt())
draw = random.Random(1)

async def leaf():
    for _ in range(3):
        await asyncio.sleep(0)

async def work():
    while True:
        await asyncio.gather(*(leaf() for _ in range(5)))

for _ in range(500):
    runner = asyncio.Runner()
    runner.get_loop()
    try:
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.001, 0.01))
        runner.run(work())
    except KeyboardInterrupt:
        runner.close()
print("ended")
"""


def test_a_loop_that_is_interrupted_at_any_moment_can_be_closed() -> None:
    # What asyncio says of tasks that were interrupted before they began is none of it.
    ended = subprocess.run([sys.executable, "-c", LOOPS], capture_output=True, text=True, check=False, timeout=LONG)
    assert ended.stdout == "ended\n", ended.stderr


def test_a_callback_ends_before_an_interrupt_unless_there_is_a_second() -> None:
    done: list[str] = []

    async def step(signals: int) -> None:
        for number in range(signals):
            signal.raise_signal(signal.SIGINT)
            done.append(f"{signals}.{number}")
        await asyncio.sleep(60)

    # A handler of ours: asyncio looks for that of Python.
    signal.signal(signal.SIGINT, lambda *_: interrupt())
    for signals in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(step(signals))
    assert done == ["1.0", "2.0"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_is_shielded_ends_before_an_interrupt_is_raised() -> None:
    done: list[str] = []

    def work() -> int:
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
        return 3

    with pytest.raises(KeyboardInterrupt):
        shielded(work)
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert shielded(lambda: 3) == 3
