"""The life of a rank: find the master, begin, exchange, and after a fault begin again."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from time import monotonic, sleep

from relufit.errors import TransportError
from relufit.exchange import find_exchange
from relufit.planted.dataset import RowSource
from relufit.training.exchanges import endpoints
from relufit.training.loop import Callback, Run
from relufit.training.rank import Rank
from relufit.training.residuals import unpack_residuals
from relufit.training.run_context import (
    AGREEMENT_BYTES,
    REPORTS,
    RunContext,
    StartMessage,
    close_all,
    pack_report,
    pack_state,
    state_limit,
    unpack_state,
)
from relufit.training.trace import TIMINGS, Row, Seconds
from relufit.transport.frames import Kind
from relufit.transport.link import Link
from relufit.transport.reception import Rendezvous, join

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.1
#: Seconds for who receives at the master's address to show that it is the master; then that address is asked for anew.
_ANSWER_SECONDS = 10.0
_NEWS_SECONDS = 0.2


class _Copies(Callback):
    """Sends the master copies of a rank's residuals now and then.

    Parameters
    ----------
    link : Link
        To the master.
    rank : Rank
    peers : iterable of Link
        To other ranks, which wait for what was posted to them before they send the master theirs.
    """

    def __init__(self, link: Link, rank: Rank, peers: Iterable[Link] = ()) -> None:
        self._link, self._rank, self._peers = link, rank, list(peers)

    def iterated(self, run: Run) -> None:
        """Send the residuals if they are due."""
        iteration = run.master.iteration
        if run.plan.copies_at(iteration):
            for peer in self._peers:
                peer.flush()
            self._link.send(
                Kind.RESIDUALS, self._rank.pack_residuals(iteration), rank=self._rank.rank, iteration=iteration
            )


class _Reports(_Copies):
    """Sends what the trace needs to a master that sees no gradients.

    Some rows at a time, because the master has to wake up for each message: those that it lacks after a fault it is
    sent again.
    """

    def __init__(self, link: Link, rank: Rank, peers: Iterable[Link], checkpoint: float | None) -> None:
        super().__init__(link, rank, peers)
        self._checkpoint = checkpoint
        self._rows, self._told = list[bytes](), 0.0
        self._kept = monotonic()

    def recorded(self, row: Row, seconds: Seconds) -> None:
        """Note a row."""
        self._rows.append(pack_report(row, seconds))
        if len(self._rows) == REPORTS:
            self.tell(row[0])

    def iterated(self, run: Run) -> None:
        """Send rows and news, and the state, now and then."""
        now, master = monotonic(), run.master
        if now - self._told > _NEWS_SECONDS:
            self._told = now
            self._rows.append(
                pack_report(run.row(0.0), (master.iteration, *[0.0] * (1 + len(TIMINGS))), recorded=False)
            )
            self.tell(master.iteration)
        # With error feedback a run can only go on from where the residuals are known too.
        feedback, due = (
            run.plan.spec.error_feedback,
            self._checkpoint is not None and now - self._kept > self._checkpoint,
        )
        if run.plan.copies_at(master.iteration) if feedback else due:
            self._kept = now
            self.tell(master.iteration)
            self._link.send(Kind.STATE, pack_state(run.snapshot()), iteration=master.iteration)
        super().iterated(run)

    def tell(self, iteration: int) -> None:
        """Send the rows that were not sent."""
        if self._rows:
            self._link.post(Kind.REPORT, b"".join(self._rows), iteration=iteration)
            self._rows = []


class Member:
    """One rank of a distributed run.

    Parameters
    ----------
    context : RunContext
    number : int
        From 0 to K - 1.
    rows : RowSource
    worker : str
        What the rank's process is called, for who may have to restart it.
    """

    def __init__(self, context: RunContext, number: int, rows: RowSource, worker: str = "") -> None:
        self._context, self._number, self._rows, self._worker = context, number, rows, worker
        self._rank = Rank(context.plan, number, rows)
        self._exchange = find_exchange(context.plan.spec.exchange)
        self._peers = self._exchange.links.peers(number, context.plan.spec.workers)
        self._name, self._master, self._met = secrets.token_hex(8), "", False
        self._run: Run | None = None
        self._reception: Rendezvous | None = None
        self._counts: dict[str, dict[str, int]] = {}

    def serve(self, find: Callable[[], tuple[str, int] | None]) -> dict[str, dict[str, int]]:
        """Take part until told to stop, and return what this rank's links have counted, see `Trace.counted`.

        Parameters
        ----------
        find : callable
            Returns where the master receives, None while that is not known.

        Raises
        ------
        TransportError
            If the master cannot be found in time, or the run is not wanted any more.
        """
        context = self._context
        if not self._exchange.has_master:
            self._reception = Rendezvous(
                context.network,
                context.run,
                context.token,
                context.plan.spec.workers,
                deadline=context.timeouts.message,
                wanted=context.wanted,
            )
        try:
            end = monotonic() + context.timeouts.start
            while True:
                try:
                    self._take_part(find)
                    return self._counts
                except TransportError as fault:
                    if self._met:
                        end = monotonic() + context.timeouts.start
                    if not context.wanted() or monotonic() > end:
                        raise fault
                    logger.info("rank %d begins again: %s", self._number, fault)
                    sleep(_RETRY_SECONDS)
        finally:
            if self._reception:
                self._reception.close()

    def _take_part(self, find: Callable[[], tuple[str, int] | None]) -> None:
        """Take part in one round; return when told to stop."""
        self._met = False
        context, address = self._context, find()
        if address is None:
            raise TransportError("the master did not say where it is")
        begun = self._run is not None and self._run.begun
        about = {
            "name": self._name,
            "worker": self._worker,
            "receives": self._reception.address if self._reception else None,
            "master": self._master,
            "iteration": self._run.master.iteration if self._run and begun else None,
            "residuals": self._rank.residuals_known,
        }
        link = join(
            context.network,
            address,
            self._number,
            context.run,
            context.token,
            about,
            peer="the master",
            deadline=context.timeouts.message,
            wanted=context.wanted,
            answer=min(context.timeouts.message, _ANSWER_SECONDS),
        )
        try:
            begin = self._begin(link)
            if begin:
                self._met = True
                self._run_exchange(begin, link)
                self._count({"the master": link})
        finally:
            link.close()
            self._rank.ahead.discard()  # whatever round comes next computes it again

    def _begin(self, link: Link) -> StartMessage | None:
        """Wait for the others; the master answers only when all are there. None if there is nothing to do."""
        link.patient = True
        header, body = link.receive(Kind.BEGIN, Kind.STOP, limit=AGREEMENT_BYTES)
        link.patient = False
        if header.kind is Kind.STOP:
            return None
        begin = StartMessage.from_bytes(body)
        self._master = begin.master
        return begin

    def _run_exchange(self, begin: StartMessage, link: Link) -> None:
        plan, ends = self._context.plan, endpoints(self._exchange.name)
        if ends.answer:
            self._restore_residuals(begin, link)
            ends.answer(plan, self._rank, link, begin.iteration)
        elif self._exchange.has_master:
            assert ends.on_rank
            self._restore(begin, link)
            self._restore_residuals(begin, link)
            assert self._run is not None
            endpoint = ends.on_rank(plan, self._rank, dict.fromkeys(range(plan.spec.workers), link))
            self._run.advance(endpoint, _Copies(link, self._rank))
            link.receive(Kind.STOP)
        else:
            self._run_among_ranks(begin, link)

    def _run_among_ranks(self, begin: StartMessage, link: Link) -> None:
        plan, on_rank = self._context.plan, endpoints(self._exchange.name).on_rank
        assert on_rank
        if begin.source == self._number:
            self._catch_up(begin, link)
        peers = self._meet(begin)
        try:
            reporter, others = begin.reporter == self._number, peers.values()
            reports = _Reports(link, self._rank, others, begin.checkpoint) if reporter else None
            self._share_state(begin, link, peers)
            self._restore_residuals(begin, link)
            assert self._run is not None
            self._run.recorder.lag(begin.elapsed)
            self._run.advance(on_rank(plan, self._rank, peers), reports or _Copies(link, self._rank, others))
            for peer in peers.values():
                peer.flush()
            if reports:
                reports.tell(self._run.master.iteration)
                state = pack_state(self._run.snapshot(), last=True)
                link.send(Kind.STATE, state, iteration=self._run.master.iteration)
            link.patient = True
            link.receive(Kind.STOP)
            self._count({peer.peer: peer for peer in peers.values()})
        finally:
            close_all(list(peers.values()))

    def _count(self, links: dict[str, Link]) -> None:
        self._counts |= {f"rank {self._number} to {peer}": link.counts() for peer, link in links.items()}

    def _catch_up(self, begin: StartMessage, link: Link) -> None:
        """Send the master the rows that it lacks before anybody relies on its having them."""
        assert self._run is not None
        for row, seconds in zip(self._run.recorder.rows, self._run.recorder.seconds, strict=True):
            if row[0] > begin.last_row:
                link.post(Kind.REPORT, pack_report(row, seconds), iteration=row[0])
        link.send(Kind.REPORT, b"", iteration=self._run.master.iteration)

    def _share_state(self, begin: StartMessage, link: Link, peers: dict[int, Link]) -> None:
        if begin.source is None:
            self._restore(begin, link)
        elif begin.source != self._number:
            self._restore(begin, peers[begin.source])
        else:
            assert self._run is not None
            state = pack_state(self._run.snapshot())
            for peer in peers.values():
                peer.send(Kind.STATE, state, iteration=self._run.master.iteration)

    def _restore(self, begin: StartMessage, link: Link) -> None:
        """Take up the state that a link brings, or the beginning."""
        plan, snapshot = self._context.plan, None
        if begin.iteration is not None:
            header, body = link.receive(Kind.STATE, limit=state_limit(plan), iteration=begin.iteration)
            snapshot, _ = unpack_state(header, body, plan)
        self._run = Run(plan, self._rows.w_star, snapshot)

    def _restore_residuals(self, begin: StartMessage, link: Link) -> None:
        """Take up the residuals that the master sends, if it sends any."""
        if begin.residuals and begin.iteration is not None:
            size = sum(residual.size for residual in (self._rank.residual, self._rank.sum_residual) if residual)
            _, body = link.receive(Kind.RESIDUALS, limit=8 * size, iteration=begin.iteration)
            self._rank.restore_residuals(begin.iteration, unpack_residuals(body, size))

    def _meet(self, begin: StartMessage) -> dict[int, Link]:
        """Return a link to every peer: those before this one are called, those after it call."""
        assert self._reception is not None
        context, links = self._context, dict[int, Link]()
        about = {"round": begin.round, "master": begin.master}
        try:
            for rank in [peer for peer in self._peers if peer < self._number]:
                links[rank] = join(
                    context.network,
                    begin.peers[rank],
                    self._number,
                    context.run,
                    context.token,
                    about,
                    peer=f"rank {rank}",
                    deadline=context.timeouts.message,
                    wanted=context.wanted,
                )
            end = monotonic() + context.timeouts.message
            while missing := set(self._peers) - set(links):
                for rank in missing & set(self._reception.waiting()):
                    peer = self._reception.take(rank)
                    if peer and peer.about == about:
                        links[rank] = peer.link
                    elif peer:
                        peer.link.close()
                if missing <= set(links):
                    break
                if not context.wanted() or monotonic() > end:
                    raise TransportError(f"ranks {sorted(missing - set(links))} did not come")
                self._reception.wait(0.05)
        except BaseException:
            close_all(list(links.values()))
            raise
        return links
