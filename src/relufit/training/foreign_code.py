"""What results depend on beside the code of this package: that of compressors which other packages have."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path

from relufit.compression import Compressor


def foreign_code(compressor: Compressor) -> str:
    """Return the package of a compressor and the digest of its source files; empty for a compressor of relufit."""
    package = type(compressor).__module__.partition(".")[0]
    return "" if package == "relufit" else f" {package} {_digest(package)}"


@cache
def _digest(package: str) -> str:
    """Return the SHA-256 of the source files of a package or of a single module; of none where it has no file."""
    file = getattr(sys.modules.get(package), "__file__", None)
    path = Path(file) if file else None
    files = [] if path is None else sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    total = hashlib.sha256()
    for source in files:
        total.update(source.read_bytes())
    return total.hexdigest()
