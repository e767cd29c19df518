"""Outputs: links are followed, devices and pipes written through, and nothing is replaced that is no output."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relufit.errors import ConfigError
from relufit.files import atomic
from relufit.files.outputs import check_output, check_outputs, resolve


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make_folder(path: Path) -> Path:
    path.mkdir()
    (path / "thesis.tex").touch()
    return path


@pytest.mark.parametrize("kind", ["a folder", "an empty folder", "a link to a folder", "."])
def test_a_file_is_never_written_over_a_folder(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "folder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("folder")
    monkeypatch.chdir(folder)
    target = {"a folder": folder, "an empty folder": tmp_path / "empty", "a link to a folder": tmp_path / "link"}
    with pytest.raises(ConfigError, match=r"is a folder; give the path of a file"):
        atomic.write_text(target.get(kind, Path()), "text")
    assert names(tmp_path) == ["empty", "folder", "link"]
    assert names(folder) == ["thesis.tex"]
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("through", [False, True])
def test_a_folder_with_anything_in_it_is_not_replaced_and_what_is_in_it_is_named(tmp_path: Path, through: bool) -> None:
    folder = make_folder(tmp_path / "folder")
    (tmp_path / "link").symlink_to("folder")
    with (
        pytest.raises(ConfigError, match=r"something else in it \(thesis.tex\)"),
        atomic.replacing(tmp_path / ("link" if through else "folder"), directory=True),
    ):
        raise AssertionError("nothing is begun")
    assert names(folder) == ["thesis.tex"]
    assert names(tmp_path) == ["folder", "link"]


def test_what_was_put_into_a_folder_while_it_was_to_be_replaced_is_not_lost(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"\(thesis.tex\)"), atomic.replacing(folder, directory=True) as fresh:
        (fresh / "new").touch()
        (folder / "thesis.tex").touch()
    assert names(folder) == ["thesis.tex"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_is_not_written_over_a_file_or_a_device(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for target, what in [(tmp_path / "file", "is a file"), (Path("/dev/null"), "is a device"), (Path("/"), "root")]:
        with pytest.raises(ConfigError, match=what), atomic.replacing(target, directory=True):
            raise AssertionError("nothing is begun")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("links", [1, 3])
def test_a_link_stays_and_the_file_it_leads_to_is_written(tmp_path: Path, exists: bool, links: int) -> None:
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "file"
    if exists:
        target.write_text("old")
    (tmp_path / "link1").symlink_to("far/file")
    (tmp_path / "link2").symlink_to(tmp_path / "link1")
    (tmp_path / "link3").symlink_to("far/../link2")
    atomic.write_text(tmp_path / f"link{links}", "new")
    assert target.read_text() == "new"
    assert all((tmp_path / f"link{number}").is_symlink() for number in (1, 2, 3))
    assert names(tmp_path / "far") == ["file"]


def test_a_link_to_a_folder_stays_and_the_folder_it_leads_to_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o710)
    (tmp_path / "link").symlink_to("folder")
    with atomic.replacing(tmp_path / "link", directory=True) as fresh:
        (fresh / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert names(folder) == ["new"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o710


def test_links_that_lead_in_a_circle_are_one_error(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(ConfigError, match="leads in a circle"):
        atomic.write_text(tmp_path / "one", "text")
    assert names(tmp_path) == ["one", "two"]


def test_a_link_above_the_parent_is_followed_before_the_parent_is_taken(tmp_path: Path) -> None:
    (tmp_path / "deep" / "folder").mkdir(parents=True)
    (tmp_path / "link").symlink_to("deep/folder")
    assert resolve(tmp_path / "link" / ".." / "file") == tmp_path / "deep" / "file"


def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for target in ("pipe", "link"):
        with ThreadPoolExecutor(1) as pool:
            received = pool.submit((tmp_path / "pipe").read_bytes)
            atomic.write_text(tmp_path / target, "text")
            assert received.result() == b"text"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["link", "pipe"]


@pytest.mark.parametrize("through", [False, True])
def test_a_device_stays_a_device(tmp_path: Path, through: bool) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    before = Path("/dev/null").stat()
    atomic.write_text(tmp_path / "null" if through else "/dev/null", "text")
    assert os.path.samestat(Path("/dev/null").stat(), before)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_device_that_is_full_is_an_error_of_that_device() -> None:
    with pytest.raises(OSError, match="No space left"):
        atomic.write_text("/dev/full", "text")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_descriptor_is_written_to_whatever_it_is(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    with one, other:
        atomic.write_text(f"/dev/fd/{one.fileno()}", "to a socket")
        assert other.recv(100) == b"to a socket"
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        file.write(b"before ")
        atomic.write_text(f"/dev/fd/{file.fileno()}", "text")
        file.write(b" after")
    assert (tmp_path / "file").read_bytes() == b"before text after"


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_what_is_printed_and_what_is_written_to_standard_output_keep_their_order(tmp_path: Path, kind: str) -> None:
    program = (
        "from relufit.files.atomic import write_text; print('one'); write_text('/dev/stdout', 'two\\n'); print('three')"
    )
    with (tmp_path / "file").open("wb") as file:
        output = subprocess.PIPE if kind == "pipe" else file
        done = subprocess.run([sys.executable, "-c", program], stdout=output, check=True)
    written = done.stdout if kind == "pipe" else (tmp_path / "file").read_bytes()
    assert written == b"one\ntwo\nthree\n"


def test_the_permissions_of_a_file_are_kept_and_those_of_a_new_one_are_the_usual(tmp_path: Path) -> None:
    for mode in (0o600, 0o664, 0o751):
        (tmp_path / "file").touch()
        (tmp_path / "file").chmod(mode)
        atomic.write_text(tmp_path / "file", "text")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    (tmp_path / "touched").touch()
    atomic.write_text(tmp_path / "new", "text")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "touched").stat().st_mode


def test_a_file_that_is_linked_into_place_keeps_the_permissions_of_the_other(tmp_path: Path) -> None:
    for name, mode in (("source", 0o600), ("target", 0o644)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    with atomic.replacing(tmp_path / "target") as fresh:
        os.link(tmp_path / "source", fresh)
    assert stat.S_IMODE((tmp_path / "source").stat().st_mode) == 0o600


def test_a_file_that_is_write_protected_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "file").chmod(0o444)
    # As for anybody but root, who may write to everything.
    monkeypatch.setattr(os, "access", lambda path, mode: bool(Path(path).stat().st_mode & 0o200) or mode != os.W_OK)
    with pytest.raises(ConfigError, match="is write-protected"):
        atomic.write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_tilde_is_the_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    atomic.write_text("~/file", "text")
    assert (tmp_path / "home" / "file").read_text() == "text"
    assert names(tmp_path) == ["home"]
    with pytest.raises(ConfigError, match="write the path in full"):
        atomic.write_text("~nobody-of-that-name/file", "text")


def test_an_error_names_the_output_and_not_the_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic.replacing(tmp_path / "file") as fresh:
        (fresh / "below").touch()
    assert caught.value.filename == str(tmp_path / "file")


def test_outputs_that_are_each_other_or_an_input_are_refused(tmp_path: Path) -> None:
    data = make_folder(tmp_path / "data")
    (tmp_path / "link").symlink_to("data/thesis.tex")
    (tmp_path / "file").touch()
    for outputs, says in [
        ({"--output": tmp_path / "a", "--checkpoint": tmp_path / "data" / ".." / "a"}, "same file as --output"),
        ({"--output": data / "thesis.tex"}, "lies inside the data set"),
        ({"--output": tmp_path / "link"}, "lies inside the data set"),
        ({"--output": data / "x" / "trace"}, "lies inside the data set"),
        ({"--output": tmp_path / "file"}, "same file as the vector"),
        ({"--output": data}, "is a folder"),
    ]:
        with pytest.raises(ConfigError, match=says):
            check_outputs(outputs, {"the data set": data, "the vector": tmp_path / "file", "none": None})
    inputs = {"the data set": data, "another": "s3://bucket/data"}
    check_outputs({"--output": tmp_path / "a", "timings": tmp_path / "b", "--checkpoint": None}, inputs)
    check_outputs({"--output": "/dev/null", "timings": "/dev/null"}, inputs)
    assert names(tmp_path) == ["data", "file", "link"]


def test_a_file_that_is_read_again_cannot_be_a_device() -> None:
    check_output("/dev/null")
    with pytest.raises(ConfigError, match="is a device or a pipe; give the path of a file"):
        check_output("/dev/null", stream=False)
