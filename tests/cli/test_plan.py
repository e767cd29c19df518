from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from relufit.cli import main
from relufit.planning import Costs

QUICK = ["--dimension", "1e4", "--rate", "1e8"]


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("costs") / "costs.json"
    assert main(["plan", "--measure", "--costs", str(path)]) == 0
    return path


def test_costs_are_measured_to_a_file(costs: Path) -> None:
    assert Costs.read(costs).message > 0


def test_a_plan_is_shown_and_written_the_same_each_time(
    costs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for name in ("one.csv", "other.csv"):
        arguments = [*QUICK, "--workers", "2", "8", "--costs", str(costs), "--output", str(tmp_path / name)]
        assert main(["plan", *arguments]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()
    table = pd.read_csv(tmp_path / "one.csv")
    assert set(table["workers"]) == {2, 8}
    first = table.iloc[0]
    assert f"{first['exchange']}, K = {first['workers']}, m = {first['mini_batch']};" in shown[0]
    assert "USD" in shown[0]
    assert "Gains in seconds are stated against fp32 over all-reduce" in shown[0]
    assert f"Gain in seconds: {first['gain']:.3g} against fp32 over all-reduce (m = " in shown[0]
    assert "against fp32 in the same exchange (m = " in shown[0]
    assert "Sending the active rows to one host once instead: 2 GB" in shown[0]
    assert "Not counted" in shown[0]


def test_a_batch_of_a_rank_can_be_given(costs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *QUICK, "--workers", "4", "--rank-batch", "6", "--costs", str(costs)]) == 0
    shown = capsys.readouterr().out
    assert "with 6 samples a rank too" in shown
    assert "best mini-batch" not in shown
    assert "K = 4, m = 24;" in shown


def test_an_instance_type_has_a_price_and_a_memory(
    costs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    arguments = ["--dimension", "1e6", "--instance", "c5.large", "--workers", "4", "--goal", "dollars"]
    assert main(["plan", *arguments, "--costs", str(costs), "--output", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "rows on disk" in shown
    assert "hosts on they fit" in shown
    assert "check them before you rely on them" in shown
    rows = json.loads(path.read_text())
    assert rows[0]["dollars"] == min(row["dollars"] for row in rows)


def test_instance_types_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--instance", "list"]) == 0
    assert "c5n.18xlarge" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--dimension: there is nothing to plan"),
        (["--measure"], "--measure: there is no file for the costs"),
        (["--dimension", "10"], "--rate: the link of a host is not known"),
        (["--dimension", "10", "--rate", "-1"], "--rate: -1"),
        (["--dimension", "10", "--instance", "z9.huge", "--costs", "{costs}"], "unknown instance type 'z9.huge'"),
        ([*QUICK, "--ratio", "2", "--costs", "{costs}"], "ratio: 2 rows a dimension"),
        ([*QUICK, "--workers", "0", "--costs", "{costs}"], "workers: 0 ranks"),
        ([*QUICK, "--round-trip", "-1", "--costs", "{costs}"], "--round-trip: -1 s"),
        ([*QUICK, "--rank-batch", "0", "--costs", "{costs}"], "--rank-batch: 0 samples for each of 8 ranks"),
        ([*QUICK, "--goal", "dollars", "--costs", "{costs}"], "goal: there is no price of a host"),
        ([*QUICK, "--against", "fp32/ring", "--costs", "{costs}"], "--against: 'fp32/ring': unknown exchange 'ring'"),
        ([*QUICK, "--against", "fp31/relay", "--costs", "{costs}"], "--against: 'fp31/relay': unknown compressor"),
        ([*QUICK, "--against", "fp32", "--costs", "{costs}"], "--against: 'fp32'; write it as COMPRESSOR/EXCHANGE"),
        ([*QUICK, "--costs", "{tmp}/none.json"], "none.json: no costs (No such file or directory); measure them"),
        ([*QUICK, "--costs", "{costs}", "-o", "{tmp}/plan.txt"], "let it end in .csv or .json"),
    ],
)
def test_a_mistake_gets_one_message_with_its_place(
    arguments: list[str], says: str, costs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["plan", *(part.format(costs=costs, tmp=tmp_path) for part in arguments)]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert not list(tmp_path.iterdir())
