"""Writing whole files or nothing, and digests against hashlib."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest

from relufit.files import atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_parents_and_nothing_else_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    atomic.write_text(target, "line\n\N{GREEK SMALL LETTER OMEGA}")
    assert target.read_bytes() == "line\nω".encode()
    assert names(target.parent) == ["b.txt"]


def test_a_file_is_not_there_until_its_block_has_ended(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with atomic.replacing(target) as fresh:
        fresh.write_text("new")
        assert not target.exists()
        assert fresh.parent.parent == tmp_path, "another file system could not be renamed from"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(error), atomic.replacing(target) as fresh:
        fresh.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_block_that_fails_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with (
        pytest.raises(ValueError, match="stop"),
        atomic.replacing(target, directory=True, foreign=lambda _: None) as fresh,
    ):
        (fresh / "new").touch()
        raise ValueError("stop")
    assert names(target) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_takes_the_place_of_a_folder_with_contents(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with atomic.replacing(target, directory=True, foreign=lambda _: None) as fresh:
        (fresh / "new").touch()
    assert names(target) == ["new"]
    assert names(tmp_path) == ["folder"]


def test_json_keeps_the_order_of_keys_and_every_bit_of_a_float(tmp_path: Path) -> None:
    content = {"z": 0.1 + 0.2, "a": [5e-324, -1.7976931348623157e308], "k": None}
    atomic.write_json(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == content
    assert list(json.loads(text)) == ["z", "a", "k"]
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_refuses_what_json_does_not_have(tmp_path: Path, value: float) -> None:
    target = tmp_path / "x.json"
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(target, [value])
    assert names(tmp_path) == []


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    assert atomic.digest(tmp_path / "file") == hashlib.sha256(b"x" * 100_000).hexdigest()


def make_tree(root: Path, order: int = 1) -> Path:
    for name, text in [("b/c", "1"), ("a", "2"), ("b/d", "3")][::order]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_digest_of_a_folder_is_one_of_its_names_and_contents_alone(tmp_path: Path) -> None:
    first, second = make_tree(tmp_path / "one"), make_tree(tmp_path / "two", -1)
    (second / ".snakemake_timestamp").touch()
    assert atomic.digest(first) == atomic.digest(second)


@pytest.mark.parametrize("change", ["content", "name", "more", "fewer"])
def test_the_digest_of_a_folder_tells_of_every_change(tmp_path: Path, change: str) -> None:
    before, folder = atomic.digest(make_tree(tmp_path / "one")), make_tree(tmp_path / "two")
    if change == "content":
        (folder / "b" / "c").write_text("4")
    elif change == "name":
        (folder / "b" / "c").rename(folder / "b" / "e")
    elif change == "more":
        (folder / "more").touch()
    else:
        (folder / "a").unlink()
    assert atomic.digest(folder) != before
