"""Every column of what trials leave: one that is wrong is noticed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
from columns import COLUMNS, ELSEWHERE, damaged_traces, damaging
from oracles import ORACLES
from runs import CONFIG, ROOT, Undamaged, confirmed, judge

from relufit.experiments.framework.base import Outcome, Setting, Trial
from relufit.experiments.framework.procedures import PROCEDURES

CASES = [
    (procedure, part, column, judge)
    for procedure, parts in COLUMNS.items()
    for part, columns in parts.items()
    for column, judge in columns.items()
]
SPECS = {
    "train": {"workers": 2, "batch_size": 4, "iterations": 2},
    "solve": {"solver": "least_squares", "start": "zero", "tolerance": 0.1},
    "one_step": {"batch_size": 4, "iterations": 2, "sampling": "fresh"},
    "quantize": {"compressor": {"name": "fp32"}, "vectors": 2},
    "ship_rows": {"workers": 2, "compressor": {"name": "fp32"}, "rows": None},
}


def _tests(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def _outcome(procedure: str) -> Outcome:
    setting = Setting("columns", procedure, {"n": 40, "d": 4}, SPECS[procedure], 1, procedure=procedure)
    return PROCEDURES[procedure](Trial(setting, 1, 0))


@pytest.mark.parametrize("procedure", COLUMNS)
def test_the_table_has_every_column_of_a_procedure(procedure: str) -> None:
    outcome = _outcome(procedure)
    there = {part: set(getattr(outcome, part)) for part in outcome._fields if len(getattr(outcome, part))}
    assert there == {part: set(columns) for part, columns in COLUMNS[procedure].items()}


def test_the_table_has_every_procedure() -> None:
    assert {*COLUMNS, *ELSEWHERE} == set(PROCEDURES)


def test_the_tests_that_the_table_names_are_there() -> None:
    named = [judge for *_, judge in CASES if "::" in judge] + [name for names in ELSEWHERE.values() for name in names]
    assert named
    for name in named:
        file, test = name.split("::")
        assert test in _tests(ROOT / file), name


@pytest.mark.parametrize("oracle", ORACLES)
def test_the_right_code_agrees_with_the_oracle(oracle: str) -> None:
    ORACLES[oracle]()


@pytest.mark.parametrize(("procedure", "part", "column", "noticed_by"), [case for case in CASES if "::" not in case[3]])
def test_a_wrong_column_is_noticed(
    procedure: str,
    part: str,
    column: str,
    noticed_by: str,
    undamaged: Callable[[str], Undamaged],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if noticed_by in ORACLES:
        monkeypatch.setitem(PROCEDURES, procedure, damaging(PROCEDURES[procedure], part, column))
        with pytest.raises(AssertionError):
            ORACLES[noticed_by]()
        return
    right = undamaged(noticed_by)
    wrong = judge(noticed_by, CONFIG, damaged_traces(right.traces, part, column))
    assert right.confirmed - confirmed(wrong), f"{noticed_by} does not notice"
