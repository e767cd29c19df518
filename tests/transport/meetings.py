"""What the tests of the transport share: networks of each kind, and connections whose two ends have met."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from time import monotonic, sleep

import pytest
from distributed.security import Security

from relufit.transport.connections import Connection, Network
from relufit.transport.frames import Kind, body_digest, pack
from relufit.transport.greeting import TOKEN_BYTES
from relufit.transport.memory import Memory
from relufit.transport.tcp import Tcp

RUN, TOKEN = 2**63 + 5, bytes(range(TOKEN_BYTES))
NETWORKS = ("tcp", "tls", "memory")
#: Kinds of connections; in the last two the first end is the one that was accepted.
ENDS = ("tcp", "tls", "memory", "tcp accepted", "tls accepted")
#: A decorator of tests of what the system carries; within a process there is always room to write.
of_the_system = pytest.mark.parametrize("ends", [kind for kind in ENDS if kind != "memory"], indirect=True)
#: More than all buffers between two ends take.
LARGE = 64 << 20
#: Seconds that are enough on a busy machine.
LONG = 120.0

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def yes() -> bool:
    return True


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def fresh_contexts() -> Contexts:
    """Return the contexts of a listener and of a connection, with a certificate that nobody else has."""
    security = Security.temporary()
    return (
        security.get_listen_args("worker")["ssl_context"],
        security.get_connection_args("worker")["ssl_context"],
    )


#: Those of the run; a certificate takes a while to make.
our_contexts: Callable[[], Contexts] = cache(fresh_contexts)


def make_network(kind: str) -> Network:
    if kind == "memory":
        return Memory()
    return Tcp("127.0.0.1", *our_contexts()) if kind == "tls" else Tcp("127.0.0.1")


def meet(network: Network) -> tuple[Connection, Connection]:
    """Return the end that called and the end that was accepted, ready."""
    listener = network.listen()
    try:
        with ThreadPoolExecutor(1) as thread:
            calling = thread.submit(network.connect, listener.address, LONG)
            accepted = listener.accept(LONG)
            assert accepted is not None
            until(accepted.ready)
            return calling.result(), accepted
    finally:
        listener.close()


def make_ends(kind: str) -> tuple[Connection, Connection]:
    """Return two ends of one of `ENDS`."""
    called, accepted = meet(make_network(kind.removesuffix(" accepted")))
    return (accepted, called) if "accepted" in kind else (called, accepted)


def until(met: Callable[[], bool], seconds: float = LONG) -> None:
    """Wait for a condition."""
    end = monotonic() + seconds
    while not met():
        if monotonic() > end:
            pytest.fail(f"not within {seconds} s")
        sleep(0.001)


def put(connection: Connection, data: bytes) -> None:
    """Write a few bytes, which go at once."""
    if data:
        assert connection.write([memoryview(data)]) == len(data)


def get(connection: Connection, count: int) -> bytes:
    """Read so many bytes."""
    data, received, end = bytearray(count), 0, monotonic() + LONG
    while received < count:
        if monotonic() > end:
            pytest.fail(f"{received} bytes of {count}")
        received += connection.read(memoryview(data)[received:], 1.0)
    return bytes(data)


def beyond(parts: list[memoryview], count: int) -> list[memoryview]:
    """Return what is left of `parts` after `count` bytes."""
    left = list(parts)
    while left and count >= len(left[0]):
        count -= len(left.pop(0))
    if count:
        left[0] = left[0][count:]
    return left


def pass_on(writer: Connection, reader: Connection, parts: list[memoryview], gone: int = 0) -> bytes:
    """Write as much as goes, read what has come, and so on; return all that was read, with what had gone before."""
    total, received = gone + sum(map(len, parts)), 0
    heard, end = bytearray(total), monotonic() + LONG
    while received < total:
        if monotonic() > end:
            pytest.fail(f"{received} bytes of {total}")
        parts = beyond(parts, writer.write(parts)) if parts else []
        received += reader.read(memoryview(heard)[received:], 0.001)
    assert reader.read(memoryview(bytearray(1)), 0) == 0
    return bytes(heard)


def views(parts: Iterable[bytes]) -> list[memoryview]:
    return [memoryview(part) for part in parts]


def frame(kind: Kind, body: bytes = b"", *, rank: int = 0, run: int = RUN, iteration: int = 0) -> bytes:
    """Return a whole frame."""
    return pack(kind, rank, run, iteration, len(body), body_digest(body)) + body
