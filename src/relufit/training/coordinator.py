"""The master of a run: gathers the ranks, leads the exchange, and after a fault gathers them again."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from time import monotonic

import numpy as np

from relufit.errors import TransportError
from relufit.training.checkpoint import Keeper, Observer
from relufit.training.exchanges import Gather, Relay
from relufit.training.loop import Progress, Reporter, Run, Snapshot
from relufit.training.terms import (
    REPORT_BYTES,
    Begin,
    Terms,
    close_all,
    pack_state,
    state_limit,
    unpack_reports,
    unpack_state,
)
from relufit.training.trace import Trace
from relufit.transport.frames import Kind
from relufit.transport.link import Link
from relufit.transport.reception import Guest, Reception

logger = logging.getLogger(__name__)

_WAIT_SECONDS = 0.05


class Coordinator:
    """Leads a run; in all-to-all it sees no gradients, but knows who takes part and keeps the trace.

    Parameters
    ----------
    terms : Terms
    w_star : (d,) float64
        The planted weights.
    keeper : Keeper, optional
        Of the checkpoint, from which the run goes on.
    progress : callable, optional
        Told `News`.
    lost : callable, optional
        Told of ranks that do not come, again and again, each with the name of the worker that it was last on, empty
        for one that has never come.
    told : callable, optional
        Told of each fault, in words.
    alive : callable, optional
        Called about once a second.
    """

    def __init__(
        self,
        terms: Terms,
        w_star: np.ndarray,
        *,
        keeper: Keeper | None = None,
        progress: Progress | None = None,
        lost: Callable[[list[tuple[int, str]]], None] | None = None,
        told: Callable[[str], None] | None = None,
        alive: Callable[[], None] | None = None,
    ) -> None:
        self._terms, self._w_star, self._keeper = terms, w_star, keeper
        self._reporter = Reporter(progress) if progress else None
        self._observer = Observer(self._reporter, keeper, self._say)
        self._lost, self._told = lost, told
        self._name, self._generation = secrets.token_hex(8), 0
        self._members: dict[int, Guest] = {}
        self._faults: list[str] = []
        self._seen = -1  # the highest iteration heard of
        self._run = Run(terms.plan, w_star, keeper.load() if keeper else None)
        if self._run.begun:
            self._say(f"went on from the checkpoint of iteration {self._run.master.iteration}")
        self._reception = Reception(
            terms.network,
            terms.run,
            terms.token,
            terms.plan.spec.workers,
            deadline=terms.patience.message,
            wanted=self._unbroken,
            every=alive,
        )

    @property
    def address(self) -> tuple[str, int]:
        """Where ranks go."""
        return self._reception.address

    def lead(self) -> Trace:
        """Lead the run to its end.

        Raises
        ------
        TransportError
            If ranks do not come in time, faults prevent every iteration, or the run is not wanted any more.
        """
        attempts, reached = 0, -2
        try:
            while True:
                self._gather()
                try:
                    counted = self._generate()
                    if self._keeper:
                        self._keeper.remove()
                    return self._run.trace(counted, tuple(self._faults))
                except TransportError as fault:
                    self._note(fault)
                    now = self._reached()
                    attempts, reached = (attempts + 1, reached) if now <= reached else (1, now)
                    if attempts >= self._terms.patience.attempts or not self._terms.wanted():
                        raise
                finally:
                    close_all([member.link for member in self._members.values()])
        except BaseException:
            if self._keeper and self._run.whole:
                self._keeper.write(self._run.snapshot())
            raise
        finally:
            close_all([member.link for member in self._members.values()])
            self._reception.close()

    def _note(self, fault: TransportError) -> None:
        reached = self._reached()
        at = f"after iteration {reached}" if reached >= 0 else "before the initial weights"
        self._say(f"generation {self._generation}, {at}: {fault}")

    def _say(self, said: str) -> None:
        self._faults.append(said)
        logger.warning("%s", said)
        if self._told:
            self._told(said)

    def _reached(self) -> int:
        return max(self._seen, self._run.master.iteration if self._run.begun else -1)

    def _unbroken(self) -> bool:
        """Tell whether to go on waiting; a member that has come back by itself waits in vain until that is noticed."""
        for rank, guest in self._reception.guests().items():
            member = self._members.get(rank)
            if member and member.about["name"] == guest.about["name"]:
                raise TransportError("has given up the exchange", where=f"rank {rank}")
        return self._terms.wanted()

    def _gather(self) -> None:
        """Wait until every rank is there."""
        terms, known = self._terms, {rank: guest.about for rank, guest in self._members.items()}
        self._members, began = {}, monotonic()
        due = terms.patience.rejoin if known else terms.patience.start / 4
        ranks = set(range(terms.plan.spec.workers))
        while True:
            missing = ranks - set(self._reception.guests())
            if not missing:
                self._members = {rank: guest for rank in sorted(ranks) if (guest := self._reception.take(rank))}
                if len(self._members) == len(ranks):
                    return
            waited = monotonic() - began
            if not terms.wanted():
                raise TransportError("the run was cancelled")
            if waited > terms.patience.start:
                raise TransportError(
                    f"ranks {sorted(missing)} did not come within {terms.patience.start:g} s",
                    remedy="see the logs of the Dask workers, and whether one with a free slot is left",
                )
            if self._lost and waited > due:
                due = waited + terms.patience.rejoin
                self._lost([(rank, known[rank]["worker"] if rank in known else "") for rank in sorted(missing)])
            self._reception.wait(_WAIT_SECONDS)

    def _generate(self) -> dict[str, dict[str, int]]:
        """Lead one generation to the end of the run, and return what the links counted."""
        self._generation += 1
        links = [member.link for member in self._members.values()]
        if self._terms.plan.spec.exchange == "all_to_all":
            self._follow(links)
        else:
            self._exchange(links)
        for link in links:
            link.send(Kind.STOP)
        return {f"the master to rank {rank}": link.counts() for rank, link in enumerate(links)}

    def _exchange(self, links: list[Link]) -> None:
        plan, relays = self._terms.plan, self._terms.plan.spec.exchange == "relay"
        begin = Begin(self._generation, self._name, self._run.master.iteration if self._run.begun else None)
        for link in links:
            link.send(Kind.BEGIN, begin.to_bytes())
        if relays and self._run.begun:
            self._send_state(links)
        self._run.advance(Relay(plan, links) if relays else Gather(plan, links), self._observer)

    def _send_state(self, links: list[Link]) -> None:
        state = pack_state(self._run.snapshot())
        for link in links:
            link.send(Kind.STATE, state, iteration=self._run.master.iteration)

    def _follow(self, links: list[Link]) -> None:
        """Let the ranks exchange among themselves, and take in what they report."""
        ahead = {
            rank: member.about["iteration"]
            for rank, member in self._members.items()
            if member.about["master"] == self._name and member.about["iteration"] is not None
        }
        source = max(ahead, key=lambda rank: (ahead[rank], -rank)) if ahead else None
        iteration = ahead[source] if source is not None else self._run.master.iteration if self._run.begun else None
        recorder = self._run.recorder
        self._seen = max(self._seen, iteration if iteration is not None else -1)
        if source is None:  # the rows after that are to come again
            recorder.forget(-1 if iteration is None else iteration)
        begin = Begin(
            self._generation,
            self._name,
            iteration,
            source=source,
            reporter=source or 0,
            peers=tuple(tuple(member.about["receives"]) for member in self._members.values()),
            last_row=recorder.rows[-1][0] if recorder.rows else -1,
            elapsed=recorder.seconds[-1][1] if recorder.seconds else 0.0,
            checkpoint=self._keeper.every if self._keeper else None,
        )
        reporting = links[source or 0]
        if source is not None:
            reporting.send(Kind.BEGIN, begin.to_bytes())
            while self._take_report(reporting):
                pass
        for link in links:
            if source is None or link is not reporting:
                link.send(Kind.BEGIN, begin.to_bytes())
        if source is None and self._run.begun:
            self._send_state(links)
        reporting.patient = True
        while not self._take_state(reporting):
            pass

    def _take_report(self, link: Link) -> bool:
        """Take in rows that were missing; tell whether there were any."""
        _, body = link.receive(Kind.REPORT, limit=REPORT_BYTES)
        if body:
            self._add_rows(body)
        return bool(body)

    def _take_state(self, link: Link) -> bool:
        """Take in a report or a state; tell whether the run has ended."""
        plan = self._terms.plan
        header, body = link.receive(Kind.REPORT, Kind.STATE, limit=max(REPORT_BYTES, state_limit(plan)))
        if header.kind is Kind.REPORT:
            self._add_rows(body)
            return False
        state, last = unpack_state(header, body, plan)
        recorder = self._run.recorder
        whole = Snapshot(
            state.iteration,
            state.weights,
            state.first_error,
            state.uplink,
            state.downlink,
            recorder.rows,
            recorder.seconds,
        )
        self._run = Run(plan, self._w_star, whole)
        if self._keeper and not last:
            self._observer.keep(self._run)
        return last

    def _add_rows(self, body: memoryview) -> None:
        recorder = self._run.recorder
        for recorded, row, seconds in unpack_reports(body):
            self._seen = max(self._seen, row[0])
            if recorded and (not recorder.rows or row[0] > recorder.rows[-1][0]):
                recorder.rows.append(row)
                recorder.seconds.append(seconds)
            if self._reporter and not recorded:
                iteration, error, _, uplink, downlink = row
                self._reporter.tell(self._terms.plan, iteration, error, uplink, downlink)
