"""The master of a run: gathers the ranks, leads the exchange, and after a fault gathers them again."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

import numpy as np

from relufit.errors import TransportError
from relufit.exchange import find_exchange
from relufit.training.checkpoint import CheckpointManager, Observer
from relufit.training.exchanges import endpoints
from relufit.training.exchanges.base import gather_residuals
from relufit.training.loop import ProgressCallback, Reporter, Run
from relufit.training.residuals import Residuals, sum_residual
from relufit.training.run_context import (
    RunContext,
    StartMessage,
    close_all,
    pack_state,
    report_limit,
    state_limit,
    unpack_reports,
    unpack_state,
)
from relufit.training.trace import Trace
from relufit.transport.frames import Kind
from relufit.transport.link import Link
from relufit.transport.reception import Peer, Rendezvous

logger = logging.getLogger(__name__)

_WAIT_SECONDS = 0.05


class Coordinator:
    """Leads a run; where the ranks exchange among themselves it knows who takes part and keeps the trace.

    Parameters
    ----------
    context : RunContext
    w_star : (d,) float64
        The planted weights.
    manager : CheckpointManager, optional
        Of the checkpoint, from which the run goes on.
    progress : callable, optional
        Told `ProgressCallback`.
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
        context: RunContext,
        w_star: np.ndarray,
        *,
        manager: CheckpointManager | None = None,
        progress: ProgressCallback | None = None,
        lost: Callable[[list[tuple[int, str]]], None] | None = None,
        told: Callable[[str], None] | None = None,
        alive: Callable[[], None] | None = None,
    ) -> None:
        self._context, self._w_star, self._manager = context, w_star, manager
        self._reporter = Reporter(progress) if progress else None
        self._observer = Observer(self._reporter, manager, self._say)
        self._lost, self._told = lost, told
        self._name, self._round = secrets.token_hex(8), 0
        self._members: dict[int, Peer] = {}
        self._faults: list[str] = []
        self._seen = -1  # the highest iteration heard of
        self._run = Run(context.plan, w_star, manager.load() if manager else None)
        self._layout, self._exchange_kind = Residuals(context.plan), find_exchange(context.plan.spec.exchange)
        self._residual = sum_residual(context.plan, 0) if self._exchange_kind.has_master else None
        # The process that led it, or its client, was lost before the trace was where it is wanted.
        self._ended = self._run.outcome is not None
        if self._run.begun:
            ended = ", where the run had ended" if self._ended else ""
            self._say(f"went on from the checkpoint of iteration {self._run.master.iteration}{ended}")
        self._reception = Rendezvous(
            context.network,
            context.run,
            context.token,
            context.plan.spec.workers,
            deadline=context.timeouts.message,
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
                    counted = self._dismiss() if self._ended else self._generate()
                    return self._run.trace(counted, tuple(self._faults))
                except TransportError as fault:
                    self._note(fault)
                    now = self._reached()
                    attempts, reached = (attempts + 1, reached) if now <= reached else (1, now)
                    if attempts >= self._context.timeouts.attempts or not self._context.wanted():
                        raise
                finally:
                    close_all([member.link for member in self._members.values()])
        except BaseException:
            if self._manager and self._run.whole and not self._ended:
                self._manager.keep(self._run)
            raise
        finally:
            close_all([member.link for member in self._members.values()])
            self._reception.close()

    def _note(self, fault: TransportError) -> None:
        reached = self._reached()
        at = f"after iteration {reached}" if reached >= 0 else "before the initial weights"
        self._say(f"round {self._round}, {at}: {fault}")

    def _say(self, said: str) -> None:
        self._faults.append(said)
        logger.warning("%s", said)
        if self._told:
            self._told(said)

    def _reached(self) -> int:
        return max(self._seen, self._run.master.iteration if self._run.begun else -1)

    def _unbroken(self) -> bool:
        """Tell whether to go on waiting; a member that has come back by itself waits in vain until that is noticed."""
        for rank, peer in self._reception.waiting().items():
            member = self._members.get(rank)
            if member and member.about["name"] == peer.about["name"]:
                raise TransportError("has given up the exchange", where=f"rank {rank}")
        return self._context.wanted()

    def _gather(self) -> None:
        """Wait until every rank is there."""
        context, known = self._context, {rank: peer.about for rank, peer in self._members.items()}
        self._members, began = {}, monotonic()
        due = context.timeouts.rejoin if known else context.timeouts.start / 4
        ranks = set(range(context.plan.spec.workers))
        while True:
            missing = ranks - set(self._reception.waiting())
            if not missing:
                self._members = {rank: peer for rank in sorted(ranks) if (peer := self._reception.take(rank))}
                if len(self._members) == len(ranks):
                    return
            waited = monotonic() - began
            if not context.wanted():
                raise TransportError("the run was cancelled")
            if waited > context.timeouts.start:
                raise TransportError(
                    f"ranks {sorted(missing)} did not come within {context.timeouts.start:g} s",
                    remedy="see the logs of the Dask workers, and whether one with a free slot is left",
                )
            if self._lost and waited > due:
                due = waited + context.timeouts.rejoin
                self._lost([(rank, known[rank]["worker"] if rank in known else "") for rank in sorted(missing)])
            self._reception.wait(_WAIT_SECONDS)

    def _generate(self) -> dict[str, dict[str, int]]:
        """Lead one round to the end of the run, and return what the links counted."""
        self._round += 1
        links = [member.link for member in self._members.values()]
        if self._exchange_kind.has_master:
            self._exchange(links)
        else:
            self._follow(links)
        self._observer.keep(self._run)  # the client has it removed when it has the trace
        for link in links:
            link.send(Kind.STOP)
        return {f"the master to rank {rank}": link.counts() for rank, link in enumerate(links)}

    def _dismiss(self) -> dict[str, dict[str, int]]:
        """Tell the ranks to stop, since the run has ended; the counts of earlier links are lost, so return none."""
        for member in self._members.values():
            member.link.send(Kind.STOP)
        return {}

    def _exchange(self, links: list[Link]) -> None:
        plan, at_master = self._context.plan, endpoints(self._context.plan.spec.exchange).at_master
        assert at_master
        back = self._go_back(self._run.master.iteration if self._run.begun else None)
        begin = StartMessage(
            self._round, self._name, self._run.master.iteration if self._run.begun else None, residuals=back
        )
        for link in links:
            link.send(Kind.BEGIN, begin.to_bytes())
        if self._exchange_kind.replicas and self._run.begun:
            self._send_state(links)
        if back:
            self._send_residuals(links)
        # Ranks without weights of their own take up what is learnt of the compressor last.
        if self._run.master.learner and not self._exchange_kind.replicas and self._run.begun:
            self._send_state(links)
        self._run.advance(at_master(plan, links, self._residual), self._observer)

    def _go_back(self, iteration: int | None) -> bool:
        """Return to the last iteration whose residuals are known where somebody has lost those before `iteration`.

        Tell whether that is so.
        """
        if not self._layout.size or not iteration:
            return False
        known = [member.about["residuals"] for member in self._members.values()]
        if self._residual:
            known.append(self._residual.iterations)
        if all(iteration in iterations for iterations in known):
            return False
        saved = self._run.resumable()
        if saved is None or saved.iteration != iteration:
            self._say(f"goes back to iteration {saved.iteration if saved else 0}, up to which residuals are known")
        self._run, self._seen = Run(self._context.plan, self._w_star, saved), saved.iteration if saved else -1
        if self._residual and saved:
            self._residual.restore(saved.iteration, saved.residuals[self._layout.of_sum(0)])
        return True

    def _send_residuals(self, links: list[Link]) -> None:
        """Send each rank its residuals, if there are any that are not zero."""
        if (saved := self._run.resumable()) is None:
            return
        for rank, link in enumerate(links):
            places = self._layout.of_member(rank, with_sum=not self._exchange_kind.has_master)
            body = b"".join(saved.residuals[place].astype("<f8").tobytes() for place in places)
            link.send(Kind.RESIDUALS, body, iteration=saved.iteration)

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
        back = self._go_back(iteration)
        if back:
            source, iteration = None, self._run.master.iteration if self._run.begun else None
        recorder = self._run.recorder
        self._seen = max(self._seen, iteration if iteration is not None else -1)
        if source is None:  # the rows after that are to come again
            recorder.forget(-1 if iteration is None else iteration)
        begin = StartMessage(
            self._round,
            self._name,
            iteration,
            source=source,
            reporter=source or 0,
            peers=tuple(tuple(member.about["receives"]) for member in self._members.values()),
            last_row=recorder.rows[-1][0] if recorder.rows else -1,
            elapsed=recorder.seconds[-1][1] if recorder.seconds else 0.0,
            checkpoint=self._manager.every if self._manager else None,
            residuals=back,
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
            if back:
                self._send_residuals(links)
        reporting.patient = True
        while not self._take_state(reporting, links):
            pass

    def _take_report(self, link: Link) -> bool:
        """Take in rows that were missing; tell whether there were any."""
        _, body = link.receive(Kind.REPORT, limit=report_limit(self._context.plan))
        if body:
            self._add_rows(body)
        return bool(body)

    def _take_state(self, link: Link, links: list[Link]) -> bool:
        """Take in a report or a state; tell whether the run has ended."""
        plan = self._context.plan
        header, body = link.receive(Kind.REPORT, Kind.STATE, limit=max(report_limit(plan), state_limit(plan)))
        if header.kind is Kind.REPORT:
            self._add_rows(body)
            return False
        state, last = unpack_state(header, body, plan)
        residuals, recorder = np.empty(0), self._run.recorder
        if self._layout.size and not last:
            residuals = gather_residuals(self._layout, links, state.iteration, with_sums=True)
        whole = replace(state, rows=recorder.rows, seconds=recorder.seconds, residuals=residuals)
        self._run = Run(plan, self._w_star, whole)
        if self._manager and not last:
            self._observer.keep(self._run)
        return last

    def _add_rows(self, body: memoryview) -> None:
        recorder = self._run.recorder
        for recorded, row, seconds in unpack_reports(body, averages=self._context.plan.averages):
            self._seen = max(self._seen, row[0])
            if recorded and (not recorder.rows or row[0] > recorder.rows[-1][0]):
                recorder.rows.append(row)
                recorder.seconds.append(seconds)
            if self._reporter and not recorded:
                iteration, error, _, uplink, downlink = row[:5]
                self._reporter.tell(self._context.plan, iteration, error, uplink, downlink)
