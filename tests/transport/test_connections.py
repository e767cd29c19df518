"""Connections of every kind do the same: TCP, TLS, and those within one process; and TLS keeps strangers out."""

from __future__ import annotations

import select
import socket
import struct
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import sleep
from typing import Any

import numpy as np
import pytest
from meetings import (
    LARGE,
    LONG,
    beyond,
    get,
    make_ends,
    make_network,
    meet,
    of_the_system,
    our_contexts,
    pass_on,
    put,
    until,
    views,
)

from relufit.errors import TransportError
from relufit.transport.connections import Connection, Encrypted, Network, Plain, is_loopback
from relufit.transport.memory import Memory
from relufit.transport.tcp import Tcp

Ends = tuple[Connection, Connection]


def block(writer: Connection) -> int:
    """Write until nothing goes for a while, since buffers grow now and then; return how many bytes went."""
    zeros, went, refused = memoryview(bytes(LARGE)), 0, 0
    while refused < 3:
        count = writer.write([zeros[went:]])
        went += count
        refused = 0 if count else refused + 1
        if refused:
            sleep(0.02)
    assert went < LARGE
    return went


def test_bytes_arrive_in_the_order_in_which_they_were_written(ends: Ends) -> None:
    rng = np.random.default_rng(0)
    sizes = np.concatenate([[0, 1, 2, 16_383, 16_384, 16_385, 32_768, 3_000_000], rng.integers(0, 200, 3000)])
    parts = [rng.bytes(size) for size in rng.permutation(sizes)]
    for writer, reader in (ends, ends[::-1]):
        assert pass_on(writer, reader, views(parts)) == b"".join(parts)


def test_what_is_read_fills_the_start_of_the_view_and_no_more(ends: Ends) -> None:
    put(ends[0], b"abcde")
    buffer = bytearray(b"........")
    until(lambda: ends[1].read(memoryview(buffer)[2:4], 1.0) == 2)
    assert buffer == b"..ab...."
    assert get(ends[1], 3) == b"cde"


def test_a_write_takes_what_goes_and_does_not_wait(ends: Ends, thread: ThreadPoolExecutor) -> None:
    parts = views([bytes(100), bytes(LARGE), b"the end"])
    total = sum(map(len, parts))
    took = thread.submit(ends[0].write, parts).result(timeout=LONG)
    assert 0 < took <= total
    assert pass_on(*ends, beyond(parts, took), took).endswith(b"\0the end")


@of_the_system
def test_a_write_takes_nothing_while_nobody_reads(ends: Ends) -> None:
    writer, reader = ends
    took = block(writer)
    rest = memoryview(bytes(LARGE))
    until(lambda: writer.write([rest, rest]) == 0)
    get(reader, took)
    until(lambda: writer.write([rest]) > 0)


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_more_may_be_offered_behind_what_did_not_go(ends: Ends, size: int) -> None:
    """As links do, which have hundreds of frames waiting for a slow peer, of all sizes."""
    writer, reader = ends
    rng, left, sent = np.random.default_rng(0), list[memoryview](), bytearray()

    def offer(size: int) -> None:
        nonlocal left
        piece = rng.bytes(size)
        sent.extend(piece)
        left = [*left, memoryview(piece)[:60], memoryview(piece)[60:]]
        left = beyond(left, writer.write(left))

    while not left and len(sent) < LARGE // 4:
        offer(size)
    for more in [*[100] * 1000, 16_000, 1, 500, 17_000, 2_000_000, *[10] * 500]:
        offer(more)
    heard = bytearray()
    while (went := len(sent) - sum(map(len, left))) > len(heard):
        heard += get(reader, min(1 << 20, went - len(heard)))
        left = beyond(left, writer.write(left)) if left else left
    assert not left
    assert heard == sent


def test_a_read_waits_for_bytes_so_long_and_no_longer(ends: Ends, thread: ThreadPoolExecutor) -> None:
    writer, reader = ends
    view = memoryview(bytearray(10))
    assert reader.read(view, 0) == 0
    assert reader.read(view, 0.1) == 0
    reading = thread.submit(get, reader, 4)
    assert_asleep(reading)
    put(writer, b"late")
    assert reading.result(timeout=LONG) == b"late"


def test_bytes_wake_a_read_that_waits(ends: Ends, thread: ThreadPoolExecutor) -> None:
    reading = thread.submit(ends[1].read, memoryview(bytearray(10)), 10 * LONG)
    assert_asleep(reading)
    put(ends[0], b"late")
    assert reading.result(timeout=LONG) == 4


def test_the_end_is_read_after_the_last_byte(ends: Ends) -> None:
    """Even where the system still holds most of what was written when its end is closed."""
    for_reading = ends[1]
    data = np.random.default_rng(0).bytes(1_000_000)
    written = ends[0].write([memoryview(data)])
    assert written > 0
    ends[0].close()
    assert get(for_reading, written) == data[:written]
    for _ in range(2):
        with pytest.raises(EOFError):
            until(lambda: for_reading.read(memoryview(bytearray(1)), 1.0) > 0)


def test_the_end_wakes_a_read_and_a_wait(ends: Ends, thread: ThreadPoolExecutor) -> None:
    waiting = thread.submit(ends[1].wait, 10 * LONG, [])
    sleep(0.02)
    ends[0].close()
    waiting.result(timeout=LONG)
    with pytest.raises(EOFError):
        ends[1].read(memoryview(bytearray(1)), 10 * LONG)


def test_writing_to_an_end_that_is_closed_is_an_error(ends: Ends) -> None:
    ends[1].close()
    with pytest.raises(OSError):
        until(lambda: ends[0].write([memoryview(b"to nobody")]) == 0)


def test_reading_from_or_writing_to_an_end_of_ones_own_that_is_closed_is_an_error(ends: Ends) -> None:
    ends[0].close()
    with pytest.raises((OSError, EOFError)):
        ends[0].read(memoryview(bytearray(1)), 0)
    with pytest.raises(OSError):
        ends[0].write([memoryview(b"from nobody")])


def assert_asleep(waiting: Future[Any]) -> None:
    """What waits, for far longer than this, goes on waiting."""
    with pytest.raises(TimeoutError):
        waiting.result(timeout=0.05)


def assert_woken(thread: ThreadPoolExecutor, connection: Connection, *writing: Connection, **reading: bool) -> None:
    """Wait for far longer than a test may take, and be woken at once."""
    thread.submit(connection.wait, 10 * LONG, list(writing), **reading).result(timeout=LONG)


def test_wait_wakes_when_there_is_something_to_read(ends: Ends, thread: ThreadPoolExecutor) -> None:
    one, other = ends
    for _ in range(2):
        waiting = thread.submit(other.wait, 10 * LONG, [])
        assert_asleep(waiting)
        put(one, b"abc")
        waiting.result(timeout=LONG)
        assert_woken(thread, other)
        # One byte is read, the others are in the buffer of TLS.
        assert get(other, 1) == b"a"
        assert_woken(thread, other)
        other.wait(0.05, [], reading=False)
        assert get(other, 2) == b"bc"


def test_wait_wakes_when_another_end_takes_bytes(ends: Ends, thread: ThreadPoolExecutor) -> None:
    one, other = ends
    assert_woken(thread, one, one)
    assert_woken(thread, one, one, reading=False)
    assert_woken(thread, other, one)


@of_the_system
def test_wait_wakes_when_a_blocked_end_takes_bytes_again(
    ends: Ends, thread: ThreadPoolExecutor, request: pytest.FixtureRequest
) -> None:
    (one, other), (idle, beside) = ends, make_ends(request.node.callspec.params["ends"])
    took = block(one)

    def is_blocked() -> bool:
        """Tell whether the system says so, which may find room for more a little later."""
        nonlocal took
        assert isinstance(one, Plain | Encrypted)
        if not select.select([], [one._socket], [], 0.05)[1]:
            return True
        took += block(one)
        return False

    until(is_blocked)
    both = [thread.submit(waiting.wait, 10 * LONG, [one]) for waiting in (one, idle)]
    get(other, took)
    for done in both:
        done.result(timeout=LONG)
    idle.close()
    beside.close()


def test_an_end_is_ready_once_it_has_greeted(ends: Ends) -> None:
    assert ends[0].ready()
    assert ends[1].ready()


def test_an_accepted_end_waits_for_no_handshake(thread: ThreadPoolExecutor) -> None:
    listener = make_network("tls").listen()
    with socket.create_connection(listener.address) as caller:
        accepted = listener.accept(LONG)
        assert accepted is not None
        for _ in range(3):
            assert thread.submit(accepted.ready).result(timeout=LONG) is False
        handshake = thread.submit(our_contexts()[1].wrap_socket, caller)
        until(accepted.ready)
        handshake.result().close()
    accepted.close()
    listener.close()


@of_the_system
def test_small_messages_go_at_once_and_dead_peers_are_noticed(ends: Ends) -> None:
    for end in ends:
        assert isinstance(end, Plain | Encrypted)
        option = partial(end._socket.getsockopt, socket.IPPROTO_TCP)
        assert option(socket.TCP_NODELAY) != 0
        assert end._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        # After five silent seconds five questions, a second apart; what is not acknowledged is given up after 20.
        assert [option(socket.TCP_KEEPIDLE), option(socket.TCP_KEEPINTVL), option(socket.TCP_KEEPCNT)] == [5, 1, 5]
        assert option(socket.TCP_USER_TIMEOUT) == 20_000


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_known_by_its_addresses(host: str) -> None:
    assert is_loopback(host)
    Tcp(host)


BEYOND = ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "example.org", "", "localhost.example"]


@pytest.mark.parametrize("host", BEYOND)
def test_what_others_can_reach_is_refused_without_tls_on_both_sides(host: str) -> None:
    listening, connecting = our_contexts()
    assert not is_loopback(host)
    for contexts in ((None, None), (listening, None), (None, connecting)):
        with pytest.raises(TransportError, match="unprotected") as caught:
            Tcp(host, *contexts)
        assert caught.value.where == host
        assert "TLS" in caught.value.remedy
    Tcp(host, listening, connecting)


@pytest.mark.parametrize("host", BEYOND)
def test_nobody_beyond_this_machine_is_called_without_tls(host: str) -> None:
    with pytest.raises(TransportError, match="unprotected") as caught:
        Tcp("127.0.0.1").connect((host, 9), 0.1)
    assert "TLS" in caught.value.remedy


def test_the_other_loopback_is_served_too() -> None:
    try:
        one, other = meet(Tcp("::1"))
    except OSError:
        pytest.skip("no IPv6 here")
    put(one, b"abc")
    assert get(other, 3) == b"abc"
    one.close()
    other.close()


def test_a_listener_lets_in_one_after_the_other_and_waits_so_long_for_them(network: Network) -> None:
    listener = network.listen()
    assert listener.accept(0.05) is None
    with ThreadPoolExecutor(2) as thread:
        callers = [thread.submit(network.connect, listener.address, LONG) for _ in range(2)]
        accepted = [listener.accept(LONG), listener.accept(LONG)]
        for end in accepted:
            assert end is not None
            until(end.ready)
        for number, calling in enumerate(callers):
            put(calling.result(), bytes([number]))
    assert sorted(get(end, 1) for end in accepted if end) == [b"\0", b"\1"]
    for closing in (*accepted, *(calling.result() for calling in callers)):
        assert closing is not None
        closing.close()
    listener.close()


def test_a_listener_that_is_interrupted_waits_no_more(network: Network, thread: ThreadPoolExecutor) -> None:
    listener = network.listen()
    waiting = thread.submit(listener.accept, 100 * LONG)
    with suppress(TimeoutError):
        waiting.result(timeout=0.05)
    assert not waiting.done()
    listener.interrupt()
    assert waiting.result(timeout=LONG) is None
    assert thread.submit(listener.accept, 100 * LONG).result(timeout=LONG) is None
    listener.close()


def test_nobody_answers_at_a_listener_that_is_closed(network: Network) -> None:
    listener, other = network.listen(), network.listen()
    assert listener.address != other.address
    listener.close()
    with pytest.raises(OSError, match=r"refused|nobody"):
        network.connect(listener.address, LONG)
    other.close()


def test_who_was_not_let_in_before_the_listener_closed_learns_it(network: Network, thread: ThreadPoolExecutor) -> None:
    listener = network.listen()
    calling = thread.submit(network.connect, listener.address, LONG)
    with suppress(TimeoutError):  # with TLS, it waits for the handshake
        calling.result(timeout=0.05)
    listener.close()
    with pytest.raises((OSError, EOFError)):
        caller = calling.result()
        try:
            caller.read(memoryview(bytearray(1)), LONG)
        finally:
            caller.close()


def test_nobody_answers_at_an_address_within_the_process_that_never_was() -> None:
    with pytest.raises(ConnectionRefusedError):
        Memory().connect(("memory", 99), LONG)


def test_the_networks_of_two_processes_are_two() -> None:
    one, other = Memory(), Memory()
    listener = one.listen()
    with pytest.raises(ConnectionRefusedError):
        other.connect(listener.address, LONG)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize("reset", [False, True])
def test_callers_that_leave_before_they_are_let_in_are_no_trouble(kind: str, sent: bytes, reset: bool) -> None:
    network = make_network(kind)
    listener = network.listen()
    for _ in range(3):
        with socket.create_connection(listener.address) as caller:
            caller.sendall(sent)
            if reset:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with ThreadPoolExecutor(1) as thread:
        calling = thread.submit(network.connect, listener.address, LONG)
        for _ in range(3):
            accepted = listener.accept(LONG)
            if accepted:
                with suppress(OSError, EOFError):
                    until(accepted.ready)
                    accepted.read(memoryview(bytearray(100)), LONG)
                accepted.close()
        last = listener.accept(LONG)
        assert last is not None
        until(last.ready)
        put(calling.result(), b"abc")
        assert get(last, 3) == b"abc"
        calling.result().close()
        last.close()
    assert listener.accept(0.01) is None
    listener.close()
