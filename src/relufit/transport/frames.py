"""Frames: a fixed header, then a body; nothing in them is ever executed or unpickled."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

import xxhash

from relufit.errors import TransportError

MAGIC, VERSION = b"rf", 2
_FIELDS = struct.Struct("<2sBBIQQQdff")
_CHECKSUM = struct.Struct("<Q")
#: Bytes that framing adds to a body.
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size


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


#: Kinds whose bodies are payloads of the algorithm: what the counts of bytes are about.
PAYLOADS = (Kind.MOMENTS, Kind.WEIGHTS, Kind.GRADIENT)


class Header(NamedTuple):
    """The fixed part of a frame.

    `run` is the number of the run; `notes` are the sum of squared residuals and the seconds of computing and
    encoding that go with a gradient; `checksum` is XXH3-64 over the fields and the XXH3-64 of the body.
    """

    kind: Kind
    rank: int
    run: int
    iteration: int
    length: int
    notes: tuple[float, float, float]
    checksum: int


def body_digest(body: bytes | memoryview) -> int:
    """Return the XXH3-64 of a body; the frames of one body to many peers share it."""
    return int(xxhash.xxh3_64_intdigest(body))


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
    return fields + _CHECKSUM.pack(_checksum(fields, digest))


def unpack(data: bytes | bytearray | memoryview, limit: int) -> Header:
    """Return the header that `data` starts with.

    Raises
    ------
    TransportError
        If it is no header of this version, or announces a body of more than `limit` bytes.
    """
    magic, version, kind, rank, run, iteration, length, *notes = _FIELDS.unpack_from(data)
    if magic != MAGIC or version != VERSION or kind not in _KINDS:
        raise TransportError("a peer sent something that is no frame of this version")
    if length > limit:
        raise TransportError(f"a peer announced {length} bytes where {limit} at most were due")
    (checksum,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
    return Header(_KINDS[kind], rank, run, iteration, length, (notes[0], notes[1], notes[2]), checksum)


def check(header: bytes | bytearray | memoryview, digest: int, checksum: int) -> None:
    """Compare a received header and the digest of the body that followed with the checksum.

    Raises
    ------
    TransportError
        If they differ.
    """
    if _checksum(memoryview(header)[: _FIELDS.size], digest) != checksum:
        raise TransportError("a frame arrived damaged: its checksum is wrong")


_KINDS = {int(kind): kind for kind in Kind}


def _checksum(fields: bytes | memoryview, digest: int) -> int:
    return int(xxhash.xxh3_64_intdigest(bytes(fields) + digest.to_bytes(8, "little")))
