"""Copies of the package whose loops are compiled and kept on disk, and edits of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import forked_python

import relufit

PACKAGE = Path(relufit.__file__).parent
#: Prints the norm of (3, 4) by a loop that calls another one in another module.
NORM = """
import numpy as np
from relufit.compression import grid
print(grid._norm(np.array([3.0, 4.0])), sum(grid._norm.stats.cache_hits.values()))
"""
#: Edits that leave the size of the file as it is, and what the program prints afterwards.
EDITS = {
    "a loop of another module": (
        "numerics/kernels.py",
        "total = 0.0\n    for start",
        "total = 7.0\n    for start",
        32**0.5,
    ),
    "emitted instructions": (
        "numerics/simd/dots.py",
        "zero = constant(DOUBLE, _WIDTH, 0.0)",
        "zero = constant(DOUBLE, _WIDTH, 1.0)",
        41**0.5,
    ),
    "a constant": ("compression/grid.py", "_SMALL, _LARGE = 1e-250, 1e250", "_SMALL, _LARGE = 1e-250, 1e+01", 5.0),
}
LATER, EARLIER, FUTURE = 1_700_000_000, 1_600_000_000, 4_000_000_000
#: Where loops may be kept.
PLACES = ("beside the sources", "NUMBA_CACHE_DIR", "the user's home", "XDG_CACHE_HOME")


class Checkout:
    """A copy of the package, with its bytecode, and where its loops are kept."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.root = root
        self.package = root / "relufit"
        self.home = root.parent / "home"
        self.home.mkdir(exist_ok=True)
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("loops"))
        self.environment = environment

    def without_own_folder(self) -> None:
        """Have no room for loops beside the sources, for root neither."""
        (self.package / "__pycache__").mkdir(exist_ok=True)
        (self.package / "__pycache__" / "loops").write_text("a file")

    def start(self, program: str = NORM, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """Start a program in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env=self._environment(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
        )

    def run(self, program: str = NORM, *arguments: object, **environment: str) -> list[str]:
        """Run a program in a forked process, which finds numba imported, and return the words that it prints."""
        mask = os.umask(0)
        os.umask(mask)
        whole = self._environment(environment)
        done = forked_python.run(program, [*map(str, arguments)], self.home, whole, mask)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def norm(self, **environment: str) -> tuple[float, bool]:
        """Return what the loop says, and whether it came from the disk."""
        value, hits = self.run(**environment)
        return float(value), hits != "0"

    def edit(self, file: str, old: str, new: str, date: int = LATER, *, bytecode: bool = False) -> None:
        """Edit a file and date it; its bytecode, which Python would take if size and date are the same, may stay."""
        path = self.package / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        os.utime(path, (date, date))
        if not bytecode:
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink()

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
        mine = {"PYTHONPATH": str(self.root), "HOME": str(self.home), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**inherited, **mine, **self.environment, **more}


def entries(folder: Path) -> dict[Path, int]:
    """Return the files of compiled loops in a folder, with what tells one that is written anew."""
    return {path: path.stat().st_ino for path in folder.rglob("*.loop")}
