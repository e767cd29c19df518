"""Connections within one process: the protocol without sockets."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from threading import Condition
from typing import Self

from relufit.transport.connections import Connection, Listener


class MemoryConnection:
    """One end of a pair; what one end writes waits for the other, however much it is."""

    def __init__(self, condition: Condition) -> None:
        self._condition, self._chunks, self._closed = condition, deque[bytes](), False
        self.other = self

    def write(self, parts: Sequence[bytes | memoryview]) -> int:
        """Hand over all of it."""
        data = b"".join(parts)
        with self._condition:
            if self._closed or self.other._closed:
                raise BrokenPipeError("the other end is closed")
            if data:
                self.other._chunks.append(data)
                self._condition.notify_all()
        return len(data)

    def read(self, view: memoryview, seconds: float) -> int:
        """Take what there is."""
        with self._condition:
            self._condition.wait_for(self._readable, seconds)
            if self._chunks:
                chunk = self._chunks.popleft()
                count = min(len(chunk), len(view))
                view[:count] = chunk[:count]
                if count < len(chunk):
                    self._chunks.appendleft(chunk[count:])
                return count
            if self._closed or self.other._closed:
                raise EOFError
            return 0

    def wait(self, seconds: float, writing: Sequence[Self], *, reading: bool = True) -> None:
        """Wait for bytes to read; there is always room to write."""
        with self._condition:
            self._condition.wait_for(lambda: bool(writing) or (reading and self._readable()), seconds)

    def receive_ahead(self) -> None:
        """Nothing: all that is sent is there at once."""

    def ready(self) -> bool:
        """Nothing comes first."""
        return True

    def ends(self) -> tuple[str, str]:
        """Nothing: nobody else is in this process."""
        return "", ""

    def close(self) -> None:
        """Close this end."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _readable(self) -> bool:
        return bool(self._chunks) or self._closed or self.other._closed


def pair() -> tuple[MemoryConnection, MemoryConnection]:
    """Return the two ends of a connection."""
    condition = Condition()
    one, other = MemoryConnection(condition), MemoryConnection(condition)
    one.other, other.other = other, one
    return one, other


class _MemoryListener:
    def __init__(self, network: Memory, address: tuple[str, int]) -> None:
        self._network, self.address = network, address
        self._condition, self._arrived, self._closed = Condition(), deque[Connection](), False
        self._interrupted = False

    def accept(self, seconds: float) -> Connection | None:
        with self._condition:
            self._condition.wait_for(lambda: self._arrived or self._closed or self._interrupted, seconds)
            return self._arrived.popleft() if self._arrived else None

    def interrupt(self) -> None:
        with self._condition:
            self._interrupted = True
            self._condition.notify_all()

    def arrive(self, connection: Connection) -> None:
        with self._condition:
            if self._closed:
                raise ConnectionRefusedError("nobody listens there")
            self._arrived.append(connection)
            self._condition.notify_all()

    def close(self) -> None:
        self._network.forget(self.address)
        with self._condition:
            self._closed = True
            for connection in self._arrived:
                connection.close()
            self._condition.notify_all()


class Memory:
    """A network within one process."""

    def __init__(self) -> None:
        self._listeners: dict[tuple[str, int], _MemoryListener] = {}
        self._ports = itertools.count(1)

    def listen(self) -> Listener:
        """Open a listener."""
        address = ("memory", next(self._ports))
        self._listeners[address] = _MemoryListener(self, address)
        return self._listeners[address]

    def connect(self, address: tuple[str, int], seconds: float) -> Connection:
        """Connect to a listener."""
        listener = self._listeners.get((address[0], address[1]))
        if listener is None:
            raise ConnectionRefusedError("nobody listens there")
        one, other = pair()
        listener.arrive(other)
        return one

    def forget(self, address: tuple[str, int]) -> None:
        """Take a closed listener off the list."""
        self._listeners.pop(address, None)
