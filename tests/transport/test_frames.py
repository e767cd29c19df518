"""Frames: what is packed is unpacked, and no damage goes unseen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relufit.errors import TransportError
from relufit.transport.frames import HEADER_BYTES, VERSION, Header, Kind, body_digest, check, pack, unpack

words = st.integers(0, 2**64 - 1)
singles = st.floats(width=32, allow_nan=False)


def header_of(kind: Kind, rank: int, run: int, iteration: int, body: bytes) -> bytes:
    return pack(kind, rank, run, iteration, len(body), body_digest(body), (1.5, 0.25, 0.125))


def whole(header: Header, data: bytes, body: bytes) -> None:
    """What a receiver does with a frame: refuse the header, or compare the checksum."""
    check(data, body_digest(body), header.checksum)


@given(
    st.sampled_from(Kind),
    st.integers(0, 2**32 - 1),
    words,
    words,
    st.binary(max_size=200),
    st.tuples(st.floats(allow_nan=False), singles, singles),
)
def test_what_is_packed_is_unpacked(
    kind: Kind, rank: int, run: int, iteration: int, body: bytes, notes: tuple[float, float, float]
) -> None:
    data = pack(kind, rank, run, iteration, len(body), body_digest(body), notes)
    assert len(data) == HEADER_BYTES
    header = unpack(data, 200)
    assert header[:6] == (kind, rank, run, iteration, len(body), notes)
    assert header.kind is kind
    whole(header, data, body)


def test_a_header_is_the_same_in_every_buffer_and_notes_are_zero_unless_given() -> None:
    data = pack(Kind.STATE, 3, 1, 77, 12, body_digest(b"some numbers"))
    for buffer in (data, bytearray(data), memoryview(data), data + b"what follows"):
        header = unpack(buffer, 12)
        assert header == (Kind.STATE, 3, 1, 77, 12, (0.0, 0.0, 0.0), header.checksum)
        check(buffer, body_digest(memoryview(b"some numbers")), header.checksum)


def test_every_flipped_bit_of_the_header_is_found() -> None:
    body = b"some numbers"
    data = header_of(Kind.GRADIENT, 3, 2**63 + 1, 77, body)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TransportError):
            whole(unpack(damaged, 1000), bytes(damaged), body)
    whole(unpack(data, 1000), data, body)


def test_every_flipped_bit_of_the_body_is_found() -> None:
    body = bytes(range(100))
    data = header_of(Kind.GRADIENT, 3, 1, 77, body)
    for bit in range(8 * len(body)):
        damaged = bytearray(body)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TransportError, match="checksum"):
            whole(unpack(data, 1000), data, bytes(damaged))


def test_the_body_of_another_frame_is_found() -> None:
    data = header_of(Kind.GRADIENT, 3, 1, 77, b"one")
    with pytest.raises(TransportError, match="checksum"):
        whole(unpack(data, 1000), data, b"two")


def test_a_body_longer_than_is_due_is_refused_before_it_is_read() -> None:
    data = header_of(Kind.WEIGHTS, 0, 1, 0, bytes(101))
    assert unpack(data, 101).length == 101
    with pytest.raises(TransportError, match="101 bytes where 100"):
        unpack(data, 100)


@pytest.mark.parametrize("kind", [0, max(Kind) + 1, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    data = bytearray(header_of(Kind.STOP, 0, 1, 0, b""))
    data[3] = kind
    with pytest.raises(TransportError, match="no frame"):
        unpack(data, 10)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n", b"SSH-2.0-x", b"\x16\x03\x01", b"rf\x04", b"rf\x06"])
def test_other_protocols_and_versions_are_refused(start: bytes) -> None:
    data = start + header_of(Kind.STOP, 0, 1, 0, b"")[len(start) :]
    with pytest.raises(TransportError, match="no frame"):
        unpack(data, 1000)


def test_random_bytes_are_refused_and_raise_nothing_else() -> None:
    rng = np.random.default_rng(0)
    # Even where the magic, the version and the kind are right, and the length is none.
    known = bytes([*b"rf", VERSION, Kind.GRADIENT])
    for _ in range(2000):
        for start in (b"", b"rf", bytes([*b"rf", VERSION]), known):
            data = (start + rng.bytes(HEADER_BYTES))[:HEADER_BYTES]
            with pytest.raises(TransportError):
                whole(unpack(data, 1000), data, rng.bytes(10))
            with pytest.raises(TransportError):
                whole(unpack(data, 2**64), data, rng.bytes(10))
