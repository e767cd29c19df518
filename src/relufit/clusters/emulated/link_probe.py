"""Measures the way from one host to another: round trip by single bytes, rate by what the interface has received.

One process has a socket on either host. Run as ``python -m ... FROM TO SECONDS SKIPPED``; it prints JSON.
"""

from __future__ import annotations

import json
import select
import socket
import statistics
import sys
from contextlib import suppress
from time import monotonic, perf_counter
from typing import IO

from relufit.clusters.emulated.namespaces import inside
from relufit.clusters.emulated.network import data_address

_ROUNDS, _ROUND_SECONDS = 25, 1.5
_PATIENCE_SECONDS = 15.0


def main(source: str, target: str, seconds: float, skipped: int) -> dict[str, float]:
    """Return the round trip in seconds, its median, and, if `seconds`, the rate in bits a second.

    The rate is that of so many seconds after the first bytes, which a burst may have brought.
    """
    with inside(target):
        listener = socket.create_server((data_address(target), 0))
        counters = open("/proc/thread-self/net/dev", encoding="ascii")  # noqa: SIM115, PTH123 - it stays open
    with inside(source):
        sender = socket.create_connection(listener.getsockname()[:2], timeout=_PATIENCE_SECONDS)
    receiver, _ = listener.accept()
    for end in (sender, receiver):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.settimeout(_PATIENCE_SECONDS)
    measurement = {"round_trip": _round_trip(sender, receiver)}
    if seconds:
        measurement["rate"] = _rate(sender, receiver, counters, seconds, skipped)
    return measurement


def _round_trip(sender: socket.socket, receiver: socket.socket) -> float:
    rounds, end = list[float](), monotonic() + _ROUND_SECONDS
    while len(rounds) < 3 or (len(rounds) < _ROUNDS and monotonic() < end):
        began = perf_counter()
        sender.send(b"?")
        receiver.recv(1)
        receiver.send(b"!")
        sender.recv(1)
        rounds.append(perf_counter() - began)
    return statistics.median(rounds[1:])


def _rate(sender: socket.socket, receiver: socket.socket, counters: IO[str], seconds: float, skipped: int) -> float:
    data, room = bytes(1 << 18), bytearray(1 << 20)
    first, since, end = _received(counters), None, monotonic() + _PATIENCE_SECONDS + seconds
    sender.setblocking(False)
    receiver.setblocking(False)
    began, last = 0, 0.0
    while monotonic() < end:
        ready, writable, _ = select.select([receiver], [sender], [], 1.0)
        if writable:
            with suppress(BlockingIOError):
                sender.send(data)
        if not ready:
            continue
        receiver.recv_into(room)
        now, count = perf_counter(), _received(counters)
        if since is None and count - first >= skipped:
            since, began = now, count
        elif since is not None and now - since >= seconds:
            return 8 * (count - began) / (now - since)
        last = now
    raise TimeoutError(f"nothing came for a while, the last {monotonic() - last:.1f} s ago")


def _received(counters: IO[str]) -> int:
    counters.seek(0)
    return next(int(line.split(":")[1].split()[0]) for line in counters if line.strip().startswith("eth0:"))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))))
