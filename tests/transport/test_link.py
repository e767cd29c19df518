"""Links over connections of every kind: what arrives, what is counted, and when a peer is given up."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from time import sleep

import numpy as np
import pytest
from link_ends import Ends, Links, Wanted, make_link
from meetings import LARGE, RUN, Clock, frame, get, of_the_system, put

from relufit.errors import TransportError
from relufit.transport import connections, link
from relufit.transport.connections import Encrypted, Plain
from relufit.transport.frames import HEADER_BYTES, Kind, body_digest, pack


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which links reckon their deadlines."""
    fake_clock = Clock()
    monkeypatch.setattr(link, "monotonic", fake_clock)
    return fake_clock


def test_a_frame_arrives_as_it_was_sent(links: Links) -> None:
    one, other = links
    one.send(Kind.GRADIENT, b"numbers", rank=3, iteration=8, notes=(0.1, 0.25, 0.5))
    header, body = other.receive(Kind.GRADIENT, limit=7, iteration=8)
    assert bytes(body) == b"numbers"
    assert (header.kind, header.rank, header.run, header.iteration) == (Kind.GRADIENT, 3, RUN, 8)
    assert header.notes == (0.1, 0.25, 0.5)


@pytest.mark.parametrize("kept", [1, 2, 5])
@pytest.mark.parametrize("size", [10, 300_000])
def test_the_bodies_that_came_last_stay_good(links: Links, thread: ThreadPoolExecutor, size: int, kept: int) -> None:
    one, other = links
    other.kept = kept
    sent = [bytes([number]) * (size + number) for number in range(12)]
    pushed = thread.submit(lambda: [one.send(Kind.GRADIENT, body) for body in sent])
    bodies = list[memoryview]()
    for number, body in enumerate(sent):
        bodies.append(other.receive(Kind.GRADIENT, limit=size + len(sent))[1])
        assert [bytes(view) for view in bodies[-kept:]] == sent[max(0, number + 1 - kept) : number + 1]
        assert len(body) == len(bodies[-1])
    pushed.result()


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_numbers_arrive_where_they_are_fast_to_read(links: Links, size: int) -> None:
    one, other = links
    payload = b"head" + np.arange(size, dtype="<f8").tobytes()
    one.post(Kind.WEIGHTS, payload)
    with ThreadPoolExecutor(1) as pushing:
        pushed = pushing.submit(one.flush)
        body = other.receive(Kind.WEIGHTS, limit=len(payload))[1]
        pushed.result()
    numbers = np.frombuffer(body, "<f8", offset=4)
    assert numbers.ctypes.data % 4096 == 1024
    assert np.array_equal(numbers, np.arange(size))


def test_frames_arrive_in_order_and_are_counted_by_kind(links: Links) -> None:
    one, other = links
    frames = [
        (Kind.MOMENTS, b""),
        (Kind.GRADIENT, b"a"),
        (Kind.WEIGHTS, bytes(1000)),
        (Kind.STATE, bytes(300)),
        (Kind.GRADIENT, b"bc"),
        (Kind.REPORT, bytes(20)),
    ]
    for iteration, (kind, body) in enumerate(frames):
        one.send(kind, body, iteration=iteration)
    one.send(Kind.STOP)
    for iteration, (kind, body) in enumerate(frames):
        assert bytes(other.receive(kind, limit=1000, iteration=iteration)[1]) == body
    assert other.receive(Kind.GRADIENT, Kind.STOP)[0].kind is Kind.STOP
    sizes = {Kind.MOMENTS: 0, Kind.GRADIENT: 3, Kind.WEIGHTS: 1000, Kind.STATE: 300, Kind.REPORT: 20, Kind.STOP: 0}
    assert one.sent == other.received
    assert {kind: one.sent[kind] for kind in sizes} == sizes
    assert not any(one.received)
    assert not any(other.sent)
    counts = {
        "payload_bytes_sent": 1003,
        "payload_bytes_received": 0,
        "copy_bytes_sent": 0,
        "copy_bytes_received": 0,
        "frame_bytes_sent": 1323 + 7 * HEADER_BYTES,
        "frame_bytes_received": 0,
    }
    assert one.counts() == counts
    theirs = zip(counts, (0, 1003, 0, 0, 0, 1323 + 7 * HEADER_BYTES), strict=True)
    assert other.counts() == dict(theirs)


def test_a_body_is_good_until_the_next_frame_and_its_digest_may_be_given(links: Links) -> None:
    one, other = links
    body = np.arange(100.0)
    for peer in links:
        peer.send(Kind.WEIGHTS, body.data.cast("B"), digest=body_digest(body.tobytes()))
    for peer in links:
        np.testing.assert_array_equal(np.frombuffer(peer.receive(Kind.WEIGHTS, limit=800)[1]), body)
    one.send(Kind.WEIGHTS, b"shorter")
    assert bytes(other.receive(Kind.WEIGHTS, limit=800)[1]) == b"shorter"


def test_bodies_larger_than_all_buffers_pass_in_both_directions(links: Links, thread: ThreadPoolExecutor) -> None:
    large = np.random.default_rng(0).bytes(40_000_000)
    for sender, receiver in (links, links[::-1]):
        sent = thread.submit(sender.send, Kind.WEIGHTS, large)
        assert receiver.receive(Kind.WEIGHTS, limit=len(large))[1] == large
        sent.result()


def test_the_other_end_may_take_its_time(links: Links, thread: ThreadPoolExecutor) -> None:
    received = thread.submit(lambda: bytes(links[1].receive(Kind.WEIGHTS, limit=10)[1]))
    with pytest.raises(TimeoutError):
        received.result(timeout=5 * connections.POLL_SECONDS)
    links[0].send(Kind.WEIGHTS, b"late")
    assert received.result() == b"late"
    assert links[1].waited > 0


@pytest.mark.parametrize(
    ("kind", "iteration", "run", "told"),
    [
        (Kind.MOMENTS, 4, RUN, "MOMENTS where GRADIENT or STOP was due"),
        (Kind.HELLO, 4, RUN, "HELLO where GRADIENT or STOP was due"),
        (Kind.GRADIENT, 3, RUN, "GRADIENT of iteration 3 where that of 4 was due"),
        (Kind.GRADIENT, 5, RUN, "GRADIENT of iteration 5 where that of 4 was due"),
        (Kind.GRADIENT, 4, RUN + 1, "another run"),
        (Kind.STOP, 4, RUN + 1, "another run"),
    ],
)
def test_a_frame_that_is_not_due_is_refused_by_the_name_of_its_sender(
    ends: Ends, kind: Kind, iteration: int, run: int, told: str
) -> None:
    put(ends[0], frame(kind, b"body", rank=3, run=run, iteration=iteration))
    with pytest.raises(TransportError, match=told) as caught:
        make_link(ends[1]).receive(Kind.GRADIENT, Kind.STOP, limit=100, iteration=4)
    assert caught.value.where == "rank 3"


def test_the_word_to_stop_has_no_iteration_but_must_be_due(ends: Ends) -> None:
    put(ends[0], 2 * frame(Kind.STOP, iteration=9))
    receiver = make_link(ends[1])
    assert receiver.receive(Kind.GRADIENT, Kind.STOP, iteration=4)[0].kind is Kind.STOP
    with pytest.raises(TransportError, match="STOP where GRADIENT was due"):
        receiver.receive(Kind.GRADIENT, iteration=4)


@pytest.mark.parametrize("body", [b"boby", b"bod\0"])
def test_a_damaged_frame_is_refused(ends: Ends, body: bytes) -> None:
    put(ends[0], pack(Kind.GRADIENT, 3, RUN, 4, 4, body_digest(b"body")) + body)
    with pytest.raises(TransportError, match="checksum"):
        make_link(ends[1]).receive(Kind.GRADIENT, limit=100, iteration=4)


def test_what_is_no_frame_is_refused(ends: Ends) -> None:
    put(ends[0], b"GET / HTTP/1.1\r\nHost: x\r\n" + bytes(100))
    with pytest.raises(TransportError, match="no frame"):
        make_link(ends[1]).receive(Kind.GRADIENT, limit=100)


def test_a_body_longer_than_is_due_is_refused_without_being_waited_for(ends: Ends) -> None:
    for limit in (0, 100):
        put(ends[0], pack(Kind.GRADIENT, 3, RUN, 4, 2**63, 0))
        with pytest.raises(TransportError, match=f"where {limit} at most"):
            make_link(ends[1], deadline=0.01).receive(Kind.GRADIENT, limit=limit)


def test_a_frame_in_small_pieces_is_put_together(ends: Ends, thread: ThreadPoolExecutor) -> None:
    whole = frame(Kind.GRADIENT, bytes(range(200)), rank=3)
    received = thread.submit(lambda: bytes(make_link(ends[1]).receive(Kind.GRADIENT, limit=200)[1]))
    for start in range(0, len(whole), 7):
        put(ends[0], whole[start : start + 7])
        sleep(0.001)
    assert received.result() == bytes(range(200))


@pytest.mark.parametrize("length", [0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 3])
def test_a_peer_that_goes_away_within_a_frame_is_told_of(ends: Ends, length: int) -> None:
    put(ends[0], frame(Kind.GRADIENT, b"body", iteration=4)[:length])
    ends[0].close()
    with pytest.raises(TransportError, match="closed the connection") as caught:
        make_link(ends[1]).receive(Kind.GRADIENT, limit=100, iteration=4)
    assert caught.value.where == "rank 3"


@pytest.mark.parametrize("length", [0, 10, HEADER_BYTES, HEADER_BYTES + 3])
def test_a_peer_that_falls_silent_is_told_of_at_the_deadline_and_not_before(
    ends: Ends, length: int, clock: Clock
) -> None:
    put(ends[0], frame(Kind.GRADIENT, b"body", iteration=4)[:length])
    receiver = make_link(ends[1], deadline=100.0, wanted=passing(clock))
    with pytest.raises(TransportError, match="no answer within 100 s") as caught:
        receiver.receive(Kind.GRADIENT, limit=100, iteration=4)
    assert clock.seconds > 100.0
    assert caught.value.where == "rank 3"
    assert "log" in caught.value.remedy


def passing(clock: Clock) -> Wanted:
    """Return what says that the run is wanted, and lets 40 seconds pass whenever it is asked."""

    def wanted() -> bool:
        clock.seconds += 40.0
        return True

    return wanted


def test_a_slow_but_steady_peer_is_not_given_up(ends: Ends, clock: Clock) -> None:
    """The deadline is of silence, however long a frame takes."""
    whole = frame(Kind.GRADIENT, bytes(range(200)))
    pieces = iter([whole[start : start + 30] for start in range(0, len(whole), 30)])

    def wanted() -> bool:
        """Called when nothing came for a while."""
        clock.seconds += 40.0
        put(ends[0], next(pieces, b""))
        return True

    _, body = make_link(ends[1], deadline=100.0, wanted=wanted).receive(Kind.GRADIENT, limit=200)
    assert bytes(body) == bytes(range(200))
    assert clock.seconds >= 300.0


@of_the_system
def test_a_peer_that_takes_slowly_but_steadily_is_not_given_up(
    ends: Ends, clock: Clock, thread: ThreadPoolExecutor
) -> None:
    """Nor is one that takes a little of a large body at a time; while that goes, every piece counts."""
    for end in ends:
        assert isinstance(end, Plain | Encrypted)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end._socket.setsockopt(socket.SOL_SOCKET, option, 1 << 16)
    body, piece = bytes(32 << 20), 4 << 20
    sent = thread.submit(make_link(ends[0], deadline=100.0).send, Kind.WEIGHTS, body)
    get(ends[1], HEADER_BYTES)
    for _ in range(len(body) // piece):
        # Larger than all buffers, so that the sender has sent in between.
        get(ends[1], piece)
        clock.seconds += 40.0
        # The sender finds that nothing goes any more, and asks for the time.
        sleep(2 * connections.POLL_SECONDS)
    sent.result()
    assert clock.seconds >= 300.0


@of_the_system
@pytest.mark.parametrize("wait", ["send", "receive"])
def test_a_peer_that_takes_nothing_is_told_of_at_the_deadline(ends: Ends, wait: str, clock: Clock) -> None:
    sender = make_link(ends[0], deadline=100.0, wanted=passing(clock))
    sender.post(Kind.WEIGHTS, bytes(LARGE))
    with pytest.raises(TransportError, match="no answer within") as caught:
        sender.flush() if wait == "send" else sender.receive(Kind.GRADIENT)
    assert clock.seconds > 100.0
    assert caught.value.where == "rank 3"


def test_sending_to_a_peer_that_is_gone_is_told_of(ends: Ends) -> None:
    ends[1].close()
    sender = make_link(ends[0])
    with pytest.raises(TransportError, match="broke") as caught:
        for _ in range(100):
            sender.send(Kind.WEIGHTS, bytes(100_000))
            sleep(0.001)
    assert caught.value.where == "rank 3"


def wanted_for(times: int) -> tuple[Wanted, list[int]]:
    """Return what says so many times that the run is wanted, and the list of these times."""
    asked: list[int] = []

    def wanted() -> bool:
        asked.append(1)
        return len(asked) < times

    return wanted, asked


@pytest.mark.parametrize("patient", [False, True])
def test_a_wait_ends_when_the_run_is_no_longer_wanted(ends: Ends, patient: bool) -> None:
    wanted, asked = wanted_for(3)
    receiver = make_link(ends[0], deadline=1000, wanted=wanted)
    receiver.patient = patient
    with pytest.raises(TransportError, match="cancelled"):
        receiver.receive(Kind.WEIGHTS, limit=10)
    assert len(asked) == 3


@of_the_system
def test_sending_ends_when_the_run_is_no_longer_wanted(ends: Ends) -> None:
    wanted, asked = wanted_for(3)
    with pytest.raises(TransportError, match="cancelled"):
        make_link(ends[0], deadline=1000, wanted=wanted).send(Kind.WEIGHTS, bytes(LARGE))
    assert len(asked) == 3


def test_a_patient_link_waits_beyond_the_deadline(ends: Ends, clock: Clock) -> None:
    silent = count(1)

    def wanted() -> bool:
        clock.seconds += 1000.0
        if next(silent) == 3:
            put(ends[0], frame(Kind.BEGIN, b"late"))
        return True

    receiver = make_link(ends[1], deadline=100.0, wanted=wanted)
    receiver.patient = True
    assert bytes(receiver.receive(Kind.BEGIN, limit=10)[1]) == b"late"
    assert clock.seconds >= 3000.0
    receiver.patient = False
    with pytest.raises(TransportError, match="no answer"):
        receiver.receive(Kind.BEGIN, limit=10)
