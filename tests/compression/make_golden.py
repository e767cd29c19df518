"""Write `golden.json`: payloads that no later version of the code may change without a new version number.

Run it by hand, ``python tests/compression/make_golden.py``, when a compressor is added or a format gets a new
version; entries of other versions are kept, a change of the others is an incompatibility and shows in the diff.
Small payloads are there in full, large ones as their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from references import Array, Case, every_compressor

from relufit import streams

GOLDEN = Path(__file__).with_name("golden.json")


def _fractions(size: int) -> Array:
    """Fractions of 2^20 between -1 and 1, the same on every machine; every fifth is small, every eleventh zero."""
    i = np.arange(1, size + 1, dtype=np.int64)
    numbers = (i * 2654435761 % 2**21 - 2**20) / 2.0**20
    return np.where(i % 11 == 0, 0.0, np.where(i % 5 == 0, numbers / 64, numbers))


#: By name; only the first is recorded in full.
VECTORS = {"12 numbers": _fractions(12), "1000 numbers": _fractions(1000)}


def key_of(name: str) -> int:
    """The key with which the vector of that name is encoded."""
    return streams.key(2026, rank=3, iteration=list(VECTORS).index(name))


def golden_cases() -> Iterator[Case]:
    """Every name in every coding, with few levels and many, and with buckets that end within a vector."""
    for case in every_compressor():
        if case.get("levels", 4) in (4, 1000) and case.get("bucket_size") in (None, 7):
            yield case


def payloads(case: Case) -> dict[str, bytes]:
    """The payload of each vector."""
    return {name: case.compressor.encode(vector, key_of(name)) for name, vector in VECTORS.items()}


def main() -> None:
    """Bring the file up to date."""
    recorded = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for case in golden_cases():
        small, large = payloads(case).items()
        version = recorded.setdefault(str(small[1][1]), {})
        version[str(case)] = {small[0]: small[1].hex(), large[0]: hashlib.sha256(large[1]).hexdigest()}
    GOLDEN.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
