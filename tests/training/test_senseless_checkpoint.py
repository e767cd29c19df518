"""A checkpoint that is sealed but makes no sense is refused in one line: whoever seals it can write anything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relufit.errors import DataError
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training import TrainingSpec, checkpoint
from relufit.training.checkpoint import CheckpointManager
from relufit.training.loop import Run, Snapshot
from relufit.training.serial import _InProcess
from relufit.training.spec import make_plan

SPEC = TrainingSpec(PlantedModel(100, 5, 3), workers=2, batch_size=10, iterations=8, record_every=2)
ROWS = open_rows(SPEC.dataset)
PLAN = make_plan(SPEC, ROWS)
MAGIC = b"relufit checkpoint\n"


def manager(path: Path) -> CheckpointManager:
    return CheckpointManager(path, PLAN, ROWS.digest)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The checkpoint of a run that has ended."""
    run = Run(PLAN, ROWS.w_star)
    run.advance(_InProcess(PLAN, ROWS))
    manager(tmp_path / "run.checkpoint").write(run.snapshot())
    return tmp_path / "run.checkpoint"


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    whole = path.read_bytes()[len(MAGIC) + 32 :]
    size = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + size]), whole[8 + size :]


def seal(path: Path, header: bytes | dict[str, Any], body: bytes, size: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole = (len(text) if size is None else size).to_bytes(8, "little") + text + body
    path.write_bytes(MAGIC + hashlib.sha256(whole).digest() + whole)


def assert_refused(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(DataError) as caught:
        manager(path).load()
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.where == str(path)
    assert path.read_bytes() == before


HEADERS: dict[str, dict[str, Any]] = {
    "an iteration beyond the budget": {"iteration": 9},
    "an iteration below zero": {"iteration": -1},
    "an iteration that is no number": {"iteration": "8"},
    "an iteration that is a truth": {"iteration": True},
    "half an iteration": {"iteration": 7.5},
    "an end without its row": {"iteration": 7},
    "an unknown outcome": {"outcome": "won"},
    "an outcome that is a list": {"outcome": ["converged"]},
    "an error that is no number": {"first_error": "big"},
    "an error that is a number": {"first_error": 0.5},
    "an error below zero": {"first_error": "-0x1p-1"},
    "an error too large": {"first_error": "0x1p+99999"},
    "bytes below zero": {"uplink": -1},
    "bytes beyond all": {"downlink": 10**30},
    "no shapes": {"shapes": []},
    "shapes that are none": {"shapes": 4},
    "a shape below zero": {"shapes": [[5], [-1, 3], [-1, 2], [-1, 8]]},
    "shapes of another dimension": {"shapes": [[4], [5, 3], [5, 2], [5, 8]]},
    "shapes beyond the body": {"shapes": [[5], [6, 3], [6, 2], [6, 8]]},
    "shapes within the body": {"shapes": [[5], [4, 3], [4, 2], [4, 8]]},
    "shapes beyond the memory": {"shapes": [[5], [10**15, 3], [10**15, 2], [10**15, 8]]},
    "shapes beyond all": {"shapes": [[5], [10**400, 3], [10**400, 2], [10**400, 8]]},
    "a row that is a fraction": {"shapes": [[5], [5.0, 3], [5.0, 2], [5.0, 8]]},
    "a maker that is none": {"made_by": None},
    "a maker that is a list": {"made_by": []},
    "a version that is a list": {"version": [2]},
    "a version of many digits": {"version": 10**1000},
}


@pytest.mark.parametrize("change", HEADERS)
def test_a_header_that_makes_no_sense_is_refused(kept: Path, change: str) -> None:
    header, body = parts(kept)
    seal(kept, {**header, **HEADERS[change]}, body)
    assert_refused(kept)


@pytest.mark.parametrize("key", ["version", "made_by", "iteration", "first_error", "uplink", "downlink", "shapes"])
def test_a_header_without_a_key_is_refused(kept: Path, key: str) -> None:
    header, body = parts(kept)
    del header[key]
    seal(kept, header, body)
    assert_refused(kept)


@pytest.mark.parametrize(
    "header",
    [b"", b"{", b"nothing", b"[]", b"4", b"null", b"\xff\xfe", b"[" * 100_000, b'{"version": ' + b"9" * 5000 + b"}"],
    ids=["empty", "half", "text", "a list", "a number", "null", "no text", "deep", "digits"],
)
def test_a_header_that_is_no_mapping_is_refused(kept: Path, header: bytes) -> None:
    seal(kept, header, parts(kept)[1])
    assert_refused(kept)


@pytest.mark.parametrize("size", [0, 1, 10**6, 2**63, 2**64 - 1])
def test_a_header_of_a_length_that_it_does_not_have_is_refused(kept: Path, size: int) -> None:
    header, body = parts(kept)
    seal(kept, header, body, size)
    assert_refused(kept)


@pytest.mark.parametrize("change", ["shorter", "longer", "empty"])
def test_a_body_of_another_length_is_refused(kept: Path, change: str) -> None:
    header, body = parts(kept)
    seal(kept, header, {"shorter": body[:-8], "longer": body + bytes(8), "empty": b""}[change])
    assert_refused(kept)


@pytest.mark.parametrize(
    ("place", "value"), [(5, 1.0), (8, 0.0), (8, np.nan), (8, 1e300), (8, 1.5), (17, 99.0), (5 + 15, np.int64(-1))]
)
def test_rows_out_of_order_are_refused(kept: Path, place: int, value: Any) -> None:
    header, body = parts(kept)
    numbers = bytearray(body)
    numbers[8 * place : 8 * place + 8] = np.array(value).tobytes()
    seal(kept, header, bytes(numbers))
    assert_refused(kept)


def test_no_more_of_a_file_is_read_than_a_checkpoint_has(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kept.open("r+b") as file:
        file.truncate(1 << 40)  # which takes no room on the disk
    assert_small = []
    content = checkpoint._content

    def spy(path: Path, limit: int) -> bytes:
        assert_small.append(len(content(path, limit)))
        return content(path, limit)

    monkeypatch.setattr(checkpoint, "_content", spy)
    with pytest.raises(DataError, match="checksum is wrong"):
        manager(kept).load()
    assert assert_small[0] < 1 << 22


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["converged", "diverged", "budget spent", "0x1p-1", "nan", "inf", 0, 8])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_sealed_is_a_state_of_the_run_or_refused(kept: Path, tmp_path: Path, data: st.DataObject) -> None:
    header, body = parts(kept)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(header) or ["version"]))
        if data.draw(st.booleans()):
            header.pop(key)
        else:
            header[key] = data.draw(JSON)
    if data.draw(st.booleans()):
        numbers = bytearray(body)
        index = data.draw(st.integers(0, len(numbers) // 8 - 1))
        numbers[8 * index : 8 * index + 8] = data.draw(st.binary(min_size=8, max_size=8))
        body = bytes(numbers[: data.draw(st.sampled_from([len(numbers), len(numbers) - 8, 8]))])
    path = tmp_path / "other.checkpoint"
    seal(path, header, body)
    try:
        snapshot = manager(path).load()
    except DataError as refusal:
        assert len(str(refusal).splitlines()) == 1
        return
    assert isinstance(snapshot, Snapshot)
    assert 0 <= snapshot.iteration <= SPEC.iterations
    run = Run(PLAN, ROWS.w_star, snapshot)
    assert run.snapshot().weights.tobytes() == snapshot.weights.tobytes()
    if run.outcome is None:
        run.advance(_InProcess(PLAN, ROWS))
    assert run.trace().outcome == run.outcome
