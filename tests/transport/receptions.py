"""Receptions and who comes to them, for tests."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import psutil
from meetings import LONG, RUN, TOKEN, until, yes

from relufit.transport.connections import Connection, Listener, Network
from relufit.transport.frames import Kind
from relufit.transport.link import Link
from relufit.transport.reception import Peer, Rendezvous, join

Open = Callable[..., Rendezvous]


def come(network: Network, at: Rendezvous, rank: int, **about: Any) -> Link:
    return join(network, at.address, rank, RUN, TOKEN, about, peer="the master", deadline=LONG, wanted=yes)


def take(at: Rendezvous, rank: int) -> Peer:
    """Wait for a peer and take it."""
    until(lambda: rank in at.waiting())
    peer = at.take(rank)
    assert peer is not None
    return peer


def assert_linked(peer: Peer, link: Link) -> None:
    """Exchange frames in both directions, and close both ends."""
    link.send(Kind.GRADIENT, b"up", rank=peer.rank)
    assert bytes(peer.link.receive(Kind.GRADIENT, limit=2)[1]) == b"up"
    peer.link.send(Kind.WEIGHTS, b"down")
    assert bytes(link.receive(Kind.WEIGHTS, limit=4)[1]) == b"down"
    peer.link.close()
    link.close()


class Watched:
    """A network whose listeners can be out of order, and which counts who comes in."""

    def __init__(self, network: Network) -> None:
        self._network, self.out_of_order, self.asked, self.accepted = network, False, 0, 0

    def listen(self) -> Listener:
        return _WatchedListener(self, self._network.listen())

    def connect(self, address: tuple[str, int], seconds: float) -> Connection:
        return self._network.connect(address, seconds)

    def settle(self, number: int) -> None:
        """Wait until so many have come in and the last of them has been looked at."""
        until(lambda: self.accepted >= number)
        asked = self.asked
        until(lambda: self.asked > asked + 1)


class _WatchedListener:
    def __init__(self, watched: Watched, listener: Listener) -> None:
        self._watched, self._listener, self.address = watched, listener, listener.address

    def accept(self, seconds: float) -> Connection | None:
        if self._watched.out_of_order:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._watched.asked += 1
        connection = self._listener.accept(seconds)
        self._watched.accepted += connection is not None
        return connection

    def interrupt(self) -> None:
        self._listener.interrupt()

    def close(self) -> None:
        self._listener.close()


def is_turned_away(stranger: Connection) -> bool:
    """Tell whether a connection has been closed at the other end."""
    try:
        assert stranger.read(memoryview(bytearray(1)), 0) == 0, "a stranger was answered"
    except (OSError, EOFError):
        return True
    return False


def assert_turned_away(stranger: Connection) -> None:
    """Wait until a connection has been closed at the other end, and close this one."""
    until(lambda: is_turned_away(stranger))
    stranger.close()


def receiving() -> int:
    """Return how many threads of receptions there are."""
    return sum(thread.name == "relufit-reception" for thread in threading.enumerate())


def sockets_at(port: int) -> list[Any]:
    """Return the sockets of this process on its own port."""
    return [each for each in psutil.Process().net_connections("tcp") if each.laddr and each.laddr.port == port]
