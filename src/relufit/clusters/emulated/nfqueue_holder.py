"""A process that holds every packet which arrives at a host for half the round trip.

The kernel queues the packets (target NFQUEUE) and tells their numbers; a verdict on one number releases all packets up
to it, so that their order stays. Packets themselves are never copied. Run as ``python -m ... HOST...``; a line on the
standard input is the time to hold packets from then on, in seconds, and is answered by a line with the number of
packets of each host that were dropped because this process did not keep up.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import sys
from collections import deque
from time import monotonic

from relufit.clusters.emulated.namespaces import inside

_NFNETLINK, _SOL_NETLINK, _NO_ENOBUFS = 12, 270, 5
_QUEUE, _VERDICT, _CONFIG, _BATCH = 3 << 8, 1, 2, 3
_REQUEST, _ACK = 1, 4
_MAXIMUM_PACKETS, _BUFFER_BYTES = 1 << 20, 1 << 26
_AT_ONCE = 64
_PR_SET_TIMERSLACK = 29
#: Where the number of the packet is: after the headers of netlink and nfnetlink and that of the first attribute.
_NUMBER = struct.Struct("!20x2xHI")
_PACKET_HEADER = 1
_ERROR = struct.Struct("=4xH10xi")
_NLMSG_ERROR = 2


def _message(kind: int, flags: int, *attributes: tuple[int, bytes]) -> bytes:
    body = struct.pack("!BBH", 0, 0, 0)
    for attribute, value in attributes:
        body += struct.pack("=HH", 4 + len(value), attribute) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), _QUEUE | kind, flags, 0, 0) + body


class _Held:
    """The packets of one host that are held."""

    def __init__(self, host: str) -> None:
        with inside(host):
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NFNETLINK)
        self.socket.bind((0, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self.socket.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
        bind, metadata = struct.pack("!BBH", 1, 0, socket.AF_INET), struct.pack("!IB", 0, 1)
        for attribute in ((1, bind), (2, metadata), (3, struct.pack("!I", _MAXIMUM_PACKETS))):
            self.socket.send(_message(_CONFIG, _REQUEST | _ACK, attribute))
            kind, error = _ERROR.unpack_from(self.socket.recv(4096))
            if kind == _NLMSG_ERROR and error:
                raise OSError(-error, os.strerror(-error))
        self.socket.setblocking(False)
        self._held: deque[tuple[float, int]] = deque()
        self._last, self.drops = 0, 0
        self._buffer = bytearray(4096)

    @property
    def due(self) -> float:
        """When the first packet goes."""
        return self._held[0][0] if self._held else float("inf")

    def take(self, hold: float) -> None:
        """Note the packets that have come."""
        for _ in range(_AT_ONCE):
            try:
                self.socket.recv_into(self._buffer)
            except BlockingIOError:
                return
            kind, number = _NUMBER.unpack_from(self._buffer)
            if kind == _PACKET_HEADER << 8 if sys.byteorder == "little" else kind == _PACKET_HEADER:
                due = monotonic() + hold
                # Nobody overtakes where the time to hold has just become shorter.
                self._held.append((max(due, self._held[-1][0]) if self._held else due, number))
                # The kernel numbers packets before it tells of them.
                self.drops += (number - self._last - 1) & 0xFFFFFFFF
                self._last = number

    def release(self, now: float) -> None:
        """Let go of the packets whose time has come."""
        last = None
        while self._held and self._held[0][0] <= now:
            last = self._held.popleft()[1]
        if last is not None:
            self.socket.send(_message(_BATCH, _REQUEST, (2, struct.pack("!II", 1, last))))


def main(hosts: list[str]) -> None:
    """Hold packets until the standard input ends."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    queues = {held.socket.fileno(): held for held in map(_Held, hosts)}
    stdin, hold = sys.stdin.fileno(), 0.0
    while True:
        due = min(held.due for held in queues.values())
        wait = None if due == float("inf") else max(0.0, due - monotonic())
        ready, _, _ = select.select([stdin, *queues], [], [], wait)
        for descriptor in ready:
            if descriptor != stdin:
                queues[descriptor].take(hold)
        now = monotonic()
        for held in queues.values():
            if held.due <= now:
                held.release(now)
        if stdin in ready:
            words = os.read(stdin, 4096).split()
            if not words:
                return
            hold = float(words[-1])
            print(*(held.drops for held in queues.values()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
