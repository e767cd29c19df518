"""The life of a rank: find the master, begin, exchange, and after a fault begin again."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from time import monotonic, sleep

from relufit.dataset import RowSource
from relufit.errors import TransportError
from relufit.training.exchanges import AllToAll, Relayed, answer
from relufit.training.loop import Run, Watcher
from relufit.training.rank import Rank
from relufit.training.terms import (
    AGREEMENT_BYTES,
    REPORTS,
    Begin,
    Terms,
    close_all,
    pack_report,
    pack_state,
    state_limit,
    unpack_state,
)
from relufit.training.trace import TIMINGS, Row, Seconds
from relufit.transport.frames import Kind
from relufit.transport.link import Link
from relufit.transport.reception import Reception, join

_RETRY_SECONDS = 0.1
_NEWS_SECONDS = 0.2


class _Reports(Watcher):
    """Sends what the trace needs to the master, which in all-to-all sees no gradients.

    Some rows at a time, because the master has to wake up for each message: those that it lacks after a fault it is
    sent again.
    """

    def __init__(self, link: Link, checkpoint: float | None) -> None:
        self._link, self._checkpoint = link, checkpoint
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
            row = (master.iteration, master.error, 0.0, run.uplink, run.downlink)
            self._rows.append(pack_report(row, (master.iteration, *[0.0] * (1 + len(TIMINGS))), recorded=False))
            self.tell(master.iteration)
        if self._checkpoint is not None and now - self._kept > self._checkpoint:
            self._kept = now
            self.tell(master.iteration)
            self._link.send(Kind.STATE, pack_state(run.snapshot()), iteration=master.iteration)

    def tell(self, iteration: int) -> None:
        """Send the rows that were not sent."""
        if self._rows:
            self._link.post(Kind.REPORT, b"".join(self._rows), iteration=iteration)
            self._rows = []


class Member:
    """One rank of a distributed run.

    Parameters
    ----------
    terms : Terms
    number : int
        From 0 to K - 1.
    rows : RowSource
    worker : str
        What the rank's process is called, for who may have to restart it.
    """

    def __init__(self, terms: Terms, number: int, rows: RowSource, worker: str = "") -> None:
        self._terms, self._number, self._rows, self._worker = terms, number, rows, worker
        self._rank = Rank(terms.plan, number, rows)
        self._name, self._master, self._met = secrets.token_hex(8), "", False
        self._run: Run | None = None
        self._reception: Reception | None = None
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
        terms = self._terms
        if terms.plan.spec.exchange == "all_to_all":
            self._reception = Reception(
                terms.network,
                terms.run,
                terms.token,
                terms.plan.spec.workers,
                deadline=terms.patience.message,
                wanted=terms.wanted,
            )
        try:
            end = monotonic() + terms.patience.start
            while True:
                try:
                    self._take_part(find)
                    return self._counts
                except TransportError as fault:
                    if self._met:
                        end = monotonic() + terms.patience.start
                    if not terms.wanted() or monotonic() > end:
                        raise fault
                    sleep(_RETRY_SECONDS)
        finally:
            if self._reception:
                self._reception.close()

    def _take_part(self, find: Callable[[], tuple[str, int] | None]) -> None:
        """Take part in one generation; return when told to stop."""
        self._met = False
        terms, address = self._terms, find()
        if address is None:
            raise TransportError("the master did not say where it is")
        begun = self._run is not None and self._run.begun
        about = {
            "name": self._name,
            "worker": self._worker,
            "receives": self._reception.address if self._reception else None,
            "master": self._master,
            "iteration": self._run.master.iteration if self._run and begun else None,
        }
        link = join(
            terms.network,
            address,
            self._number,
            terms.run,
            terms.token,
            about,
            peer="the master",
            deadline=terms.patience.message,
            wanted=terms.wanted,
        )
        try:
            begin = self._begin(link)
            if begin:
                self._met = True
                self._exchange(begin, link)
                self._count({"the master": link})
        finally:
            link.close()

    def _begin(self, link: Link) -> Begin | None:
        """Wait for the others; the master answers only when all are there. None if there is nothing to do."""
        link.patient = True
        header, body = link.receive(Kind.BEGIN, Kind.STOP, limit=AGREEMENT_BYTES)
        link.patient = False
        if header.kind is Kind.STOP:
            return None
        begin = Begin.from_bytes(body)
        self._master = begin.master
        return begin

    def _exchange(self, begin: Begin, link: Link) -> None:
        plan = self._terms.plan
        if plan.spec.exchange == "master":
            answer(plan, self._rank, link, begin.iteration)
        elif plan.spec.exchange == "relay":
            self._restore(begin, link)
            assert self._run is not None
            self._run.advance(Relayed(plan, self._rank, link))
            link.receive(Kind.STOP)
        else:
            self._all_to_all(begin, link)

    def _all_to_all(self, begin: Begin, link: Link) -> None:
        plan = self._terms.plan
        reports = _Reports(link, begin.checkpoint) if begin.reporter == self._number else None
        if begin.source == self._number:
            self._catch_up(begin, link)
        peers = self._meet(begin)
        try:
            self._share_state(begin, link, peers)
            assert self._run is not None
            self._run.recorder.lag(begin.elapsed)
            self._run.advance(AllToAll(plan, self._rank, peers), reports)
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

    def _catch_up(self, begin: Begin, link: Link) -> None:
        """Send the master the rows that it lacks before anybody relies on its having them."""
        assert self._run is not None
        for row, seconds in zip(self._run.recorder.rows, self._run.recorder.seconds, strict=True):
            if row[0] > begin.last_row:
                link.post(Kind.REPORT, pack_report(row, seconds), iteration=row[0])
        link.send(Kind.REPORT, b"", iteration=self._run.master.iteration)

    def _share_state(self, begin: Begin, link: Link, peers: dict[int, Link]) -> None:
        if begin.source is None:
            self._restore(begin, link)
        elif begin.source != self._number:
            self._restore(begin, peers[begin.source])
        else:
            assert self._run is not None
            state = pack_state(self._run.snapshot())
            for peer in peers.values():
                peer.send(Kind.STATE, state, iteration=self._run.master.iteration)

    def _restore(self, begin: Begin, link: Link) -> None:
        """Take up the state that a link brings, or the beginning."""
        plan, snapshot = self._terms.plan, None
        if begin.iteration is not None:
            header, body = link.receive(Kind.STATE, limit=state_limit(plan), iteration=begin.iteration)
            snapshot, _ = unpack_state(header, body, plan)
        self._run = Run(plan, self._rows.w_star, snapshot)

    def _meet(self, begin: Begin) -> dict[int, Link]:
        """Return a link to every other rank: those before this one are called, those after it call."""
        assert self._reception is not None
        terms, links = self._terms, dict[int, Link]()
        about = {"generation": begin.generation, "master": begin.master}
        try:
            for rank in range(self._number):
                links[rank] = join(
                    terms.network,
                    begin.peers[rank],
                    self._number,
                    terms.run,
                    terms.token,
                    about,
                    peer=f"rank {rank}",
                    deadline=terms.patience.message,
                    wanted=terms.wanted,
                )
            end = monotonic() + terms.patience.message
            while missing := set(range(self._number + 1, terms.plan.spec.workers)) - set(links):
                for rank in missing & set(self._reception.guests()):
                    guest = self._reception.take(rank)
                    if guest and guest.about == about:
                        links[rank] = guest.link
                    elif guest:
                        guest.link.close()
                if missing <= set(links):
                    break
                if not terms.wanted() or monotonic() > end:
                    raise TransportError(f"ranks {sorted(missing - set(links))} did not come")
                self._reception.wait(0.05)
        except BaseException:
            close_all(list(links.values()))
            raise
        return links
