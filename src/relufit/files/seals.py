"""Checksums of what lies on a disk: of the blocks of a file while it is written, and of metadata, in themselves.

XXH3 with 128 bits runs at the speed of memory. It finds damage of every kind, and is no protection from forgery.
"""

from __future__ import annotations

import json
import re
from typing import Any, BinaryIO

import numpy as np
import xxhash

_BLANK = "0" * 32
_SEAL = re.compile(rb'"seal": "([0-9a-f]{32})"')


def checksum(content: bytes | memoryview) -> str:
    """Return the checksum of some bytes, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(content)


class SealingFile:
    """A file that is written, and the checksums of its blocks.

    Parameters
    ----------
    file : file
        Open for writing.
    block_bytes : int
        The size of a block; the last one may be shorter.
    """

    def __init__(self, file: BinaryIO, block_bytes: int) -> None:
        self._file, self._size = file, block_bytes
        self._digests, self._block, self._left = list[str](), xxhash.xxh3_128(), block_bytes

    def write(self, content: bytes | np.ndarray) -> None:
        """Write what follows."""
        rest = memoryview(content if isinstance(content, bytes) else content.data).cast("B")
        self._file.write(rest)
        while len(rest):
            part, rest = rest[: self._left], rest[self._left :]
            self._block.update(part)
            self._left -= len(part)
            if not self._left:
                self._digests.append(self._block.hexdigest())
                self._block, self._left = xxhash.xxh3_128(), self._size

    def checksums(self) -> list[str]:
        """Return those of all that was written."""
        return [*self._digests, self._block.hexdigest()] if self._left < self._size else self._digests


def damaged_block(content: np.ndarray, block_bytes: int, checksums: list[str]) -> int | None:
    """Return the number of the first block that has not its checksum, None if all have.

    Parameters
    ----------
    content : (b,) uint8
    block_bytes : int
    checksums : list of str
        Of the blocks that `content` consists of.
    """
    for number in range(-(-len(content) // block_bytes)):
        block = content[number * block_bytes : (number + 1) * block_bytes]
        if checksums[number : number + 1] != [checksum(block.data)]:
            return number
    return None


def sealed(content: dict[str, Any], about: dict[str, Any]) -> bytes:
    """Return `content` as JSON with a checksum of all its bytes, as ``seal`` in `about`, which is within it."""
    about["seal"] = _BLANK
    text = json.dumps(content, indent=2, allow_nan=False).encode()
    return text.replace(f'"seal": "{_BLANK}"'.encode(), f'"seal": "{checksum(text)}"'.encode())


def is_sealed(text: bytes) -> bool:
    """Tell whether JSON has the checksum that is in it, and is to the byte what was written."""
    seals = _SEAL.findall(text)
    return len(seals) == 1 and checksum(_SEAL.sub(f'"seal": "{_BLANK}"'.encode(), text)) == seals[0].decode()
