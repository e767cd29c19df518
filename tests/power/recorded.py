"""Defects of what is recorded of a run: bytes, copies, losses, errors, iterations, seconds; see `defects`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from defects import Patch, Plant, noticed_by

from relufit.training import exchanges, loop, master, serial
from relufit.training.loop import Run
from relufit.training.trace import Recorder, Times

#: Copies of a gradient up and down on K ranks, by the exchange, that are wrong.
COPIES: dict[str, tuple[str, Callable[[int], tuple[int, int]]]] = {
    "the_master_counts_a_gradient_for_every_rank": ("master", lambda ranks: (ranks, 0)),
    "the_master_counts_gradients_on_their_way_back": ("master", lambda ranks: (1, ranks - 1)),
    "a_relayed_gradient_is_counted_for_one_rank": ("relay", lambda ranks: (1, 1)),
    "a_relayed_gradient_is_counted_for_its_own_rank_too": ("relay", lambda ranks: (1, ranks)),
    "a_relayed_gradient_is_counted_up_for_every_rank": ("relay", lambda ranks: (ranks, ranks - 1)),
    "a_gradient_to_all_is_counted_once": ("all_gather", lambda ranks: (1, 0)),
    "a_gradient_to_all_is_counted_for_its_own_rank_too": ("all_gather", lambda ranks: (ranks, 0)),
    "a_gradient_to_all_is_counted_down_too": ("all_gather", lambda ranks: (ranks - 1, ranks - 1)),
}


def _copying(exchange: str, copies: Callable[[int], tuple[int, int]]) -> Plant:
    def plant(patch: Patch) -> None:
        begin = Run.__init__

        def wrong(self: Run, plan: Any, *rest: Any) -> None:
            begin(self, plan, *rest)
            if plan.spec.exchange == exchange:
                self._copies = copies(plan.spec.workers)

        patch.setattr(Run, "__init__", wrong)

    return plant


for _name, (_exchange, _copies) in COPIES.items():
    _plant = _copying(_exchange, _copies)
    _plant.__name__ = _name
    noticed_by("time_to_accuracy", "sgd-fp64" if _exchange == "master" else f"qsgd-s4-{_exchange}")(_plant)


def _rows(patch: Patch, change: Callable[[Recorder, list[Any]], list[Any]]) -> None:
    """Change iteration, error, loss and bytes of the rows of a trace, after the first."""
    record = Recorder.record

    def wrong(self: Recorder, *row: Any) -> Any:
        return record(self, *(change(self, list(row)) if row[0] else row))

    patch.setattr(Recorder, "record", wrong)


@noticed_by("time_to_accuracy", "sgd-fp64")
def the_weights_are_counted_for_one_rank(patch: Patch) -> None:
    for kind in (serial._InProcess, exchanges.master.Gather):
        broadcast: Any = kind.broadcast
        ranks = "_ranks" if kind is serial._InProcess else "_links"

        def wrong(self: Any, *given: Any, broadcast: Any = broadcast, ranks: str = ranks) -> int:
            return int(broadcast(self, *given)) // len(getattr(self, ranks))

        patch.setattr(kind, "broadcast", wrong)


@noticed_by("time_to_accuracy", "sgd-fp64")
def the_bytes_are_counted_without_the_header(patch: Patch) -> None:
    length = loop.length_of
    patch.setattr(loop, "length_of", lambda payload: length(payload) - 12)


@noticed_by("time_to_accuracy", "sgd-fp64")
def the_moments_of_the_initial_weights_are_not_counted(patch: Patch) -> None:
    initialise = Run._initialise

    def wrong(self: Run, *given: Any) -> None:
        initialise(self, *given)
        self.uplink = self.downlink = 0

    patch.setattr(Run, "_initialise", wrong)


@noticed_by("time_to_accuracy", "sgd-fp64")
def the_bytes_of_the_last_iteration_are_missing(patch: Patch) -> None:
    counted: WeakKeyDictionary[Recorder, list[Any]] = WeakKeyDictionary()

    def before(recorder: Recorder, row: list[Any]) -> list[Any]:
        sent = counted.get(recorder, [0, 0])
        counted[recorder] = row[3:]
        return [*row[:3], *sent]

    _rows(patch, before)


@noticed_by("batch_scaling", "m50")
def the_loss_is_not_halved(patch: Patch) -> None:
    _rows(patch, lambda recorder, row: [*row[:2], 2 * row[2], *row[3:]])


@noticed_by("batch_scaling", "m50")
def the_loss_is_a_root(patch: Patch) -> None:
    _rows(patch, lambda recorder, row: [*row[:2], np.sqrt(row[2]), *row[3:]])


@noticed_by("batch_scaling", "m50")
def the_loss_is_that_of_the_row_before(patch: Patch) -> None:
    held: WeakKeyDictionary[Recorder, float] = WeakKeyDictionary()

    def before(recorder: Recorder, row: list[Any]) -> list[Any]:
        loss = held.get(recorder, row[2])
        held[recorder] = row[2]
        return [*row[:2], loss, *row[3:]]

    _rows(patch, before)


@noticed_by("loss")
def the_loss_is_divided_by_the_batch_of_a_rank(patch: Patch) -> None:
    _rows(patch, lambda recorder, row: [*row[:2], row[2] * recorder._plan.spec.workers, *row[3:]])


@noticed_by("loss")
def the_loss_is_that_of_the_last_rank(patch: Patch) -> None:
    collect = serial._InProcess.collect

    def deaf(self: Any, rank: int, iteration: int) -> Any:
        contribution = collect(self, rank, iteration)
        return contribution if rank == len(self._ranks) - 1 else contribution._replace(squares=0.0)

    patch.setattr(serial._InProcess, "collect", deaf)


@noticed_by("relative error")
def the_error_is_not_divided_by_the_norm_of_the_planted_weights(patch: Patch) -> None:
    begin = master.Master.__init__

    def wrong(self: Any, *given: Any) -> None:
        begin(self, *given)
        self._squares = 1.0

    patch.setattr(master.Master, "__init__", wrong)


@noticed_by("relative error")
def the_error_is_that_of_the_weights_before_the_update(patch: Patch) -> None:
    held: WeakKeyDictionary[Recorder, float] = WeakKeyDictionary()

    def before(recorder: Recorder, row: list[Any]) -> list[Any]:
        error = held.get(recorder, row[1])
        held[recorder] = row[1]
        return [row[0], error, *row[2:]]

    _rows(patch, before)


@noticed_by("relative error")
def iterations_are_counted_from_the_second_on(patch: Patch) -> None:
    _rows(patch, lambda recorder, row: [row[0] - 1, *row[1:]])


@noticed_by("batch_scaling", "m50")
def the_tolerance_is_read_too_large(patch: Patch) -> None:
    decide = master.Master._decide

    def lenient(self: Any) -> None:
        plan = self._plan
        if plan.spec.tolerance is not None:
            self._plan = replace(plan, spec=replace(plan.spec, tolerance=1.3 * plan.spec.tolerance))
        decide(self)
        self._plan = plan

    patch.setattr(master.Master, "_decide", lenient)


@noticed_by("seconds")
def the_seconds_of_computing_and_encoding_are_exchanged(patch: Patch) -> None:
    spend = Recorder.spend

    def wrong(self: Recorder, times: Times, *rest: float) -> None:
        spend(self, Times(times.encode, times.compute, *times[2:]), *rest)

    patch.setattr(Recorder, "spend", wrong)


@noticed_by("seconds")
def the_seconds_of_decoding_are_those_of_the_last_rank(patch: Patch) -> None:
    spend = Recorder.spend

    def wrong(self: Recorder, times: Times, decode: float, update: float) -> None:
        spend(self, times, decode / self._plan.spec.workers, update)

    patch.setattr(Recorder, "spend", wrong)


@noticed_by("seconds")
def seconds_are_added_up_from_row_to_row(patch: Patch) -> None:
    record = Recorder.record

    def wrong(self: Recorder, *row: Any) -> Any:
        spent = list(self._spent)
        recorded = record(self, *row)
        self._spent = spent
        return recorded

    patch.setattr(Recorder, "record", wrong)


@noticed_by("seconds at a master")
def waiting_for_the_slowest_rank_is_counted_as_exchange(patch: Patch) -> None:
    times = exchanges.base.Clock.times

    def wrong(self: exchanges.base.Clock, talked: float, own: float = 0.0) -> Times:
        seconds = times(self, talked, own)
        return seconds._replace(exchange=seconds.exchange + seconds.wait, wait=0.0)

    patch.setattr(exchanges.base.Clock, "times", wrong)
