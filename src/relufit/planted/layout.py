"""How the arrays of a data set lie in their files: what Zarr's metadata say of them, and what they must say.

A shard file has its rows as they are in memory, in chunks that follow each other, zeros up to the end of the last
chunk, and then Zarr's index of the chunks. So a rank maps the rows, and any Zarr library reads them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np

#: The data type of each array, and what its shape is called.
KINDS = {"x": ("float32", "(n, d)"), "y": ("float64", "(n,)"), "w_star": ("float64", "(d,)")}
_MISSING = struct.pack("<QQ", 2**64 - 1, 2**64 - 1)
_INDEX_ENTRY, _CHECKSUM = 16, 4
_BYTES: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
#: Blocks of a shard with a checksum of their own: a multiple of this size, and not more of them than that.
_BLOCK_BYTES, _MOST_BLOCKS = 4 * 2**20, 256


@dataclass(frozen=True)
class Layout:
    """Where the rows of an array lie in its shard files.

    Parameters
    ----------
    name : str
        ``"x"`` or ``"y"``.
    shape : tuple of int
        (n, d) or (n,).
    shard : int
        Rows of a shard; the last one may have fewer.
    chunk : int
        Rows of a chunk, a divisor of `shard`.
    """

    name: str
    shape: tuple[int, ...]
    shard: int
    chunk: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(np.dtype(KINDS[self.name][0]).itemsize) * int(np.prod(self.shape[1:]))

    @property
    def block_bytes(self) -> int:
        """Bytes of the blocks of a shard file that have checksums of their own; the last block may be shorter."""
        return -(-self.file_bytes(0) // (_MOST_BLOCKS * _BLOCK_BYTES)) * _BLOCK_BYTES

    def part(self, index: int) -> str:
        """Return the name of a shard file."""
        return "/".join([self.name, "c", str(index), *["0"] * (len(self.shape) - 1)])

    def rows(self, index: int) -> int:
        """Return the rows of a shard."""
        return min(self.shard, self.shape[0] - index * self.shard)

    def file_bytes(self, index: int) -> int:
        """Return the bytes of a shard file."""
        body = self._chunks(index) * self.chunk * self.row_bytes
        return body + self.shard // self.chunk * _INDEX_ENTRY + _CHECKSUM

    def finish(self, index: int) -> bytes:
        """Return what follows the rows of a shard: the rest of the last chunk and the index."""
        size, present = self.chunk * self.row_bytes, self._chunks(index)
        table = b"".join(struct.pack("<QQ", k * size, size) for k in range(present))
        table += _MISSING * (self.shard // self.chunk - present)
        rest = bytes(present * size - self.rows(index) * self.row_bytes)
        return rest + table + struct.pack("<I", google_crc32c.value(table))

    def _chunks(self, index: int) -> int:
        return -(-self.rows(index) // self.chunk)

    def metadata(self) -> dict[str, Any]:
        """Return what Zarr's metadata must have."""
        inner = {
            "chunk_shape": [self.chunk, *self.shape[1:]],
            "codecs": [_BYTES],
            "index_codecs": [_BYTES, {"name": "crc32c"}],
            "index_location": "end",
        }
        return {
            **_plain_metadata(self.name, self.shape),
            "chunk_grid": _grid([self.shard, *self.shape[1:]]),
            "codecs": [{"name": "sharding_indexed", "configuration": inner}],
        }


def _plain_metadata(name: str, shape: Sequence[int]) -> dict[str, Any]:
    """Return what the metadata of an array of one chunk must have."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "data_type": KINDS[name][0],
        "shape": list(shape),
        "codecs": [_BYTES],
        "chunk_grid": _grid(list(shape)),
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0,
    }


def _grid(shape: list[int]) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": shape}}


def read_layout(name: str, stored: Any) -> Layout:  # noqa: ANN401 - whatever JSON holds
    """Return the layout that the metadata of ``x`` or ``y`` tell.

    Raises
    ------
    ValueError
        If it is another than data sets have, with the first difference.
    """
    _check_kind(name, stored)
    codecs = stored.get("codecs")
    if _words(codecs) != "sharding_indexed":
        raise ValueError(f"{name} has the codecs {_words(codecs)} where sharding_indexed is due")
    inner, shards = codecs[0].get("configuration"), _chunk_shape(stored.get("chunk_grid"))
    chunks = _chunk_shape(codecs[0])
    if not shards or not chunks or shards[0] % chunks[0]:
        raise ValueError(f"{name} has chunks of {chunks} in shards of {shards}")
    if inner.get("codecs") != [_BYTES]:
        raise ValueError(
            f"the chunks of {name} have the codecs {_words(inner.get('codecs'))} where bytes little is due"
        )
    layout = Layout(name, tuple(stored["shape"]), shards[0], chunks[0])
    _compare(name, stored, layout.metadata())
    return layout


def check_plain(name: str, stored: Any) -> None:  # noqa: ANN401
    """Check the metadata of ``w_star``, an array of one chunk.

    Raises
    ------
    ValueError
        If they are not those that data sets have, with the first difference.
    """
    _check_kind(name, stored)
    _compare(name, stored, _plain_metadata(name, stored["shape"]))


def _check_kind(name: str, stored: Any) -> None:  # noqa: ANN401
    if not isinstance(stored, dict):
        raise ValueError(f"no metadata of {name}")
    kind, shape = KINDS[name]
    if stored.get("data_type") != kind:
        raise ValueError(f"{name} is {_short(stored.get('data_type'))} where {kind} is due")
    if not _is_shape(stored.get("shape")) or len(stored["shape"]) != shape.count(",") + (",)" not in shape):
        raise ValueError(f"{name} has the shape {_short(stored.get('shape'))} where {shape} is due")


def _compare(name: str, stored: dict[str, Any], due: dict[str, Any]) -> None:
    for key, value in due.items():
        if stored.get(key) != value:
            words = (_words(stored.get(key)), _words(value)) if key == "codecs" else (stored.get(key), value)
            if words[0] == words[1]:
                words = (stored.get(key), value)
            raise ValueError(f"the {key} of {name} is {_short(words[0])} where {_short(words[1])} is due")


def _is_shape(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, list) and all(type(size) is int and size > 0 for size in value)


def _chunk_shape(stored: Any) -> list[int]:  # noqa: ANN401
    """Return the shape of chunks or shards, an empty list if it is none."""
    configuration = stored.get("configuration") if isinstance(stored, dict) else None
    shape: Any = configuration.get("chunk_shape") if isinstance(configuration, dict) else None
    return list(shape) if _is_shape(shape) else []


def _words(codecs: Any) -> str:  # noqa: ANN401
    """Return what codecs are called."""
    if not isinstance(codecs, list) or not all(isinstance(codec, dict) for codec in codecs):
        return _short(codecs)
    configs = [codec.get("configuration") for codec in codecs]
    endian = [config.get("endian", "") if isinstance(config, dict) else "" for config in configs]
    return ", ".join(f"{codec.get('name')} {order}".strip() for codec, order in zip(codecs, endian, strict=True))


def _short(value: Any) -> str:  # noqa: ANN401
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 200 else f"{text[:200]} ..."
