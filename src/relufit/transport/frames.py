"""Frames: a fixed header, then a body; nothing in them is ever executed or unpickled."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

import xxhash

from relufit.errors import TransportError

MAGIC, VERSION = b"rf", 1
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


class Header(NamedTuple):
    """The fixed part of a frame.

    `run` is the number of the run; `notes` are the sum of squared residuals and the seconds of computing and
    encoding that go with a gradient; `checksum` is XXH3-64 over header and body.
    """

    kind: Kind
    rank: int
    run: int
    iteration: int
    length: int
    notes: tuple[float, float, float]
    checksum: int


def pack(
    kind: Kind,
    rank: int,
    run: int,
    iteration: int,
    body: bytes,
    notes: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> bytes:
    """Return the header of a frame."""
    fields = _FIELDS.pack(MAGIC, VERSION, kind, rank, run, iteration, len(body), *notes)
    return fields + _CHECKSUM.pack(_checksum(fields, body))


def unpack(data: bytes | bytearray | memoryview, limit: int) -> Header:
    """Return the header that `data` starts with.

    Raises
    ------
    TransportError
        If it is no header of this version, or announces a body of more than `limit` bytes.
    """
    magic, version, kind, rank, run, iteration, length, *notes = _FIELDS.unpack_from(data)
    if magic != MAGIC or version != VERSION or kind not in iter(Kind):
        raise TransportError("a peer sent something that is no frame of this version")
    if length > limit:
        raise TransportError(f"a peer announced {length} bytes where {limit} at most were due")
    (checksum,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
    return Header(Kind(kind), rank, run, iteration, length, (notes[0], notes[1], notes[2]), checksum)


def check(header: bytes | bytearray | memoryview, body: memoryview, checksum: int) -> None:
    """Compare a received frame with its checksum.

    Raises
    ------
    TransportError
        If they differ.
    """
    if _checksum(memoryview(header)[: _FIELDS.size], body) != checksum:
        raise TransportError("a frame arrived damaged: its checksum is wrong")


def _checksum(fields: bytes | memoryview, body: bytes | memoryview) -> int:
    total = xxhash.xxh3_64(fields)
    total.update(body)
    return total.intdigest()
