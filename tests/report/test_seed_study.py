"""The appendix on seeds: the table is checked, every number is on the page, and what is out of date is called so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from small_run import HOSTILE, ROOT, make_run

from relufit import report
from relufit.cli import main
from relufit.errors import DataError
from relufit.experiments import CATALOGUE
from relufit.experiments.configuration import load
from relufit.experiments.framework.fingerprint import fingerprint
from relufit.report import seed_study

TABLE = ROOT / "workflow/report/seed_study.csv"
ROWS = [
    ("one", "slope", "m = 1", 40, 38, 1, 1, 0.031, "aa"),
    ("one", f"ratio {HOSTILE}", "m = 2", 40, 40, 0, 0, 0.002, "aa"),
    ("two", "share", "n/d = 3", 10, 10, 0, 0, 0.0, "bb"),
]


def written(path: Path, rows: list[tuple] = ROWS, **columns: object) -> Path:
    pd.DataFrame(rows, columns=list(seed_study.COLUMNS)).assign(**columns).to_csv(path, index=False)
    return path


def test_a_study_is_summed_by_experiment_and_sorted_by_what_misses_most(tmp_path: Path) -> None:
    study = seed_study.read(written(tmp_path / "a.csv"), {"one": "aa", "two": "other"})
    assert study.experiments == [
        ("one", 40, 2, 80, 2, pytest.approx(0.033), True),
        ("two", 10, 1, 10, 0, 0.0, False),
    ]
    assert [row.not_confirmed for row in study.rows] == [0.031, 0.002, 0.0]
    assert study.all_confirmed == pytest.approx(0.967)


def test_the_probability_of_all_is_never_below_zero(tmp_path: Path) -> None:
    study = seed_study.read(written(tmp_path / "a.csv", not_confirmed=0.9), {})
    assert study.all_confirmed == 0


def test_the_appendix_has_every_number_and_says_what_is_out_of_date(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert "Appendix" not in run.render()
    study = seed_study.read(written(tmp_path / "a.csv"), {"one": "aa", "two": "other"})
    page = report.render(report.read(run.folder, run.captions, run.timings, study))
    appendix = page[page.index('<h2 id="seeds">') :]
    assert "at least\n96.7 %" in appendix
    cells = [appendix.count(f">{text}</td>") for text in ("80", "38", "3.30 %", "3.1 %", "0.2 %")]
    assert cells == [1, 1, 1, 1, 1]
    assert appendix.count("<td>the code and the settings of this report</td>") == 1
    assert appendix.count("<td>earlier code or other settings</td>") == 1
    assert "ratio &lt;script&gt;" in appendix
    assert "ratio <script>" not in appendix


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 41}, "do not add up"),
        ({"not_confirmed": 1.5}, "outside 0 to 1"),
        ({"not_confirmed": None}, "values missing"),
        ({"confirmed": "many"}, "no table of a seed study"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path: Path, changes: dict, said: str) -> None:
    path = written(tmp_path / "a.csv", **changes)
    with pytest.raises(DataError, match=said) as caught:
        seed_study.read(path, {})
    assert str(path) in str(caught.value)
    assert "benchmarks/seed_study.py" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"experiment\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv"):
        seed_study.read(path, {})


def test_the_report_does_not_overwrite_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, table = make_run(tmp_path), written(tmp_path / "a.csv")
    before = table.read_bytes()
    code = main(
        ["report", str(run.folder), "--captions", str(run.captions), "--seed-study", str(table), "-o", str(table)]
    )
    assert code == 2
    assert "--seed-study" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_the_study_of_the_project_confirms_all_with_95_per_cent() -> None:
    study = seed_study.read(TABLE, {})
    assert study.all_confirmed >= 0.95
    assert {one.experiment for one in study.experiments} <= set(CATALOGUE)
    assert min(one.seeds for one in study.experiments) >= 10


def test_a_fingerprint_follows_the_settings() -> None:
    config = load([ROOT / "config.yaml"])
    changed = {**config, "initial_error": {**config["initial_error"], "trials": 7}}
    assert fingerprint("initial_error", config) == fingerprint("initial_error", {**config, "seed": 99})
    assert fingerprint("initial_error", config) != fingerprint("initial_error", changed)
    assert fingerprint("trajectory", config) == fingerprint("trajectory", changed)


def test_the_study_runs_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    def study(seeds: int) -> pd.DataFrame:
        table = tmp_path / "table.csv"
        options = ["--store", tmp_path / "store", "--table", table, "--jobs", 1, "--experiments", "quantizer_variance"]
        command = [sys.executable, ROOT / "benchmarks/seed_study.py", *options, "--seeds", seeds]
        subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=600)
        return pd.read_csv(table)

    first = study(1)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("store/*/*.pickle")}
    second = study(2)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(tmp_path.glob("store/*/*.pickle"))) == 2
    assert set(first["seeds"]) == {1}
    assert set(second["seeds"]) == {2}
    current = fingerprint("quantizer_variance", load([ROOT / "config.yaml"]))
    (studied,) = seed_study.read(tmp_path / "table.csv", {"quantizer_variance": current}).experiments
    assert studied.same
