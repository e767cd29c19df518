"""Files that are cut, or cannot be read, while they are mapped: an error that names them in place of SIGBUS."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from relufit.errors import DataError
from relufit.files import mapped
from relufit.files.mapped import Guard

LINUX = sys.platform == "linux"


def made(path: Path, size: int) -> np.ndarray:
    """Return the numbers of a file, mapped."""
    path.write_bytes(np.random.default_rng(size).integers(1, 256, size, dtype=np.uint8).tobytes())
    return np.memmap(path, np.uint8, "c").view(np.ndarray)


@pytest.mark.skipif(not LINUX, reason="elsewhere a cut file still ends the process")
@pytest.mark.parametrize("size", [100, 4096, 5000, 10**6])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.999])
def test_numbers_of_a_file_that_was_cut_are_read_as_zeros_and_told_of(tmp_path: Path, size: int, left: float) -> None:
    path = tmp_path / "shard"
    values, cut = made(path, size), int(size * left)
    guard = Guard(values)
    guard.check()
    before = values.copy()
    os.truncate(path, cut)
    assert values[:cut].tobytes() in (before[:cut].tobytes(), bytes(cut))
    assert not values[cut:].any()
    for _ in range(2):
        with pytest.raises(DataError, match=f"the shard was cut to {cut} bytes while it was in use") as caught:
            guard.check()
        assert caught.value.where == str(path)


@pytest.mark.skipif(not LINUX, reason="elsewhere a cut file still ends the process")
def test_every_guard_of_a_file_tells_of_it_and_no_other(tmp_path: Path) -> None:
    values, other = made(tmp_path / "shard", 9000), made(tmp_path / "other", 9000)
    guards = [Guard(other, values[10:20]), Guard(values.reshape(90, 100)[3:]), Guard(other)]
    os.truncate(tmp_path / "shard", 0)
    assert not values.any()
    for guard in guards[:2]:
        with pytest.raises(DataError) as caught:
            guard.check()
        assert caught.value.where == str(tmp_path / "shard")
    guards[2].check()
    assert other.all()


def test_a_file_that_is_replaced_or_removed_is_read_on(tmp_path: Path) -> None:
    values = made(tmp_path / "shard", 9000)
    guard, before = Guard(values), values.tobytes()
    (tmp_path / "new").write_bytes(b"new")
    os.replace(tmp_path / "new", tmp_path / "shard")
    assert values.tobytes() == before
    (tmp_path / "shard").unlink()
    guard.check()


def test_arrays_in_memory_need_no_guard() -> None:
    Guard(np.ones(3), np.empty((0, 2))).check()


def test_a_guard_that_is_gone_leaves_its_place_to_others(tmp_path: Path) -> None:
    gc.collect()
    values, free = made(tmp_path / "shard", 9000), len(mapped._FREE)
    for _ in range(3):
        guard = Guard(values, values[3:])
        assert len(mapped._FREE) == free - 2 * LINUX
        del guard
        assert len(mapped._FREE) == free


@pytest.mark.skipif(not LINUX, reason="elsewhere there is no handler")
def test_a_guard_may_be_collected_while_another_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, install = made(tmp_path / "shard", 9000), mapped._install
    circle: list[object] = [Guard(values)]
    circle.append(circle)
    del circle

    def collecting() -> bool:
        gc.collect()
        return install()

    monkeypatch.setattr(mapped, "_install", collecting)
    Guard(values).check()


@pytest.mark.skipif(not LINUX, reason="elsewhere there is no handler")
@pytest.mark.parametrize("before", ["", "import faulthandler; faulthandler.enable()"])
def test_what_is_not_guarded_ends_the_process_as_ever(tmp_path: Path, before: str) -> None:
    program = f"""
import os, sys
import numpy as np
from relufit.files.mapped import Guard
{before}
open(sys.argv[1], "wb").write(bytes(9000))
open(sys.argv[2], "wb").write(bytes(9000))
guarded, other = (np.memmap(path, np.uint8, "c") for path in sys.argv[1:])
guard = Guard(guarded)
os.truncate(sys.argv[2], 0)
other.sum()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "one"), str(tmp_path / "other")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGBUS
    assert ("Fatal Python error: Bus error" in done.stderr) == bool(before)
