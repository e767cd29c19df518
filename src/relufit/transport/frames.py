"""Frames: a fixed header, then a body; nothing in them is ever executed or unpickled."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

import xxhash

from relufit.errors import TransportError

MAGIC, VERSION = b"rf", 5
_FIELDS = struct.Struct("<2sBBIQQQdff")
_CHECKSUM = struct.Struct("<Q")
_WHOLE = struct.Struct(_FIELDS.format + "Q")
#: Bytes that framing adds to a body.
HEADER_BYTES = _WHOLE.size


#: A body, or one in pieces that follow each other.
Body = bytes | memoryview | tuple[bytes | memoryview, ...]


class Kind(IntEnum):
    """What a frame is for."""

    HELLO = 1
    MOMENTS = 2
    WEIGHTS = 3
    GRADIENT = 4
    STOP = 5
    BEGIN = 6
    STATE = 7
    REPORT = 8
    CHALLENGE = 9
    PROOF = 10
    SUM = 11
    RESIDUALS = 12


#: Kinds whose bodies are payloads of the algorithm: what the counts of bytes are about.
PAYLOADS = (Kind.MOMENTS, Kind.WEIGHTS, Kind.GRADIENT, Kind.SUM)


class Header(NamedTuple):
    """The fixed part of a frame.

    `run` is the number of the run; `notes` are the sum of squared residuals and the seconds of computing and encoding
    that go with a gradient, or the sum of squared residuals and a count of bytes, in two numbers, that go with a
    sum. The second and the third note are single precision. `checksum` is the XXH3-64 of the fields, seeded with the
    XXH3-64 of the body.
    """

    kind: Kind
    rank: int
    run: int
    iteration: int
    length: int
    notes: tuple[float, float, float]
    checksum: int


def body_digest(body: Body) -> int:
    """Return the XXH3-64 of a body; the frames of one body to many peers share it."""
    if isinstance(body, tuple):
        whole = xxhash.xxh3_64()
        for piece in body:
            whole.update(piece)
        return whole.intdigest()
    return xxhash.xxh3_64_intdigest(body)


def pack(
    kind: Kind,
    rank: int,
    run: int,
    iteration: int,
    length: int,
    digest: int,
    notes: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> bytes:
    """Return the header of a frame whose body has that length and digest."""
    fields = _FIELDS.pack(MAGIC, VERSION, kind, rank, run, iteration, length, *notes)
    return fields + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(fields, digest))


def unpack(data: bytes | bytearray | memoryview, limit: int, start: int = 0) -> Header:
    """Return the header that `data` has at `start`.

    Raises
    ------
    TransportError
        If it is no header of this version, or announces a body of more than `limit` bytes.
    """
    magic, version, kind, rank, run, iteration, length, squares, compute, encode, checksum = _WHOLE.unpack_from(
        data, start
    )
    if magic != MAGIC or version != VERSION or kind not in _KINDS:
        raise TransportError("a peer sent something that is no frame of this version")
    if length > limit:
        raise TransportError(f"a peer announced {length} bytes where {limit} at most were due")
    return Header(_KINDS[kind], rank, run, iteration, length, (squares, compute, encode), checksum)


def check(header: bytes | bytearray | memoryview, digest: int, checksum: int) -> None:
    """Compare a received header and the digest of the body that followed with the checksum.

    Raises
    ------
    TransportError
        If they differ.
    """
    if xxhash.xxh3_64_intdigest(memoryview(header)[: _FIELDS.size], digest) != checksum:
        raise TransportError("a frame arrived damaged: its checksum is wrong")


_KINDS = {int(kind): kind for kind in Kind}
