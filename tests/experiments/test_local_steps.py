"""Local steps: verdicts on made traces, the figure, and a run in small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_traces import cut, faster, judged, run

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.exchange import find_exchange
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.quantized import expected_sent, make
from relufit.experiments.local_steps.experiment import LocalSteps, cells, expected_exchanges
from relufit.figures import FIGURES, local_steps, style

EXPERIMENT = LocalSteps()
CONFIG: dict[str, Any] = {
    "seed": 1,
    "local_steps": {
        "dimension": 100,
        "ratio": 10,
        "workers": 4,
        "mini_batch": 16,
        "local_steps": [2, 8],
        "levels": 3,
        "coding": "packed",
        "tolerance": 1e-4,
        "iterations": 20000,
        "points": 50,
        "trials": 6,
    },
}
START = 203 / 1000
TOPIC = "local steps"


def _rate(setting: Setting, local_steps: int | None = None) -> float:
    """Return the factor of an exchange, written out; `local_steps` in place of those of the setting."""
    m, count = setting.spec["batch_size"], local_steps or setting.spec["local_steps"]
    omega, again = find_exchange("all_reduce").variances(make(setting.spec["compressor"]).variance, 100, 4)
    step = theory.local_optimal_step(100, m, count, omega=omega or 0.0, workers=4, sum_omega=again)
    own = (1 - step + step**2 * (m / 4 + 203) / m) ** count
    along = (1 - step / 2) ** count
    mean = (1 + (omega or 0.0)) * (1 - 2 * along + own) / 4 + 0.75 * (1 - along) ** 2
    return float(2 * along - 1 + (1 + again) * mean)


def _made(setting: Setting, rate: float) -> Record:
    record = run(setting, rate, START, np.random.default_rng(len(setting.name)))
    cell = next(cell for cell in cells(CONFIG["local_steps"]) if cell.name == setting.name)
    due = expected_exchanges(CONFIG["local_steps"], cell)
    sent = expected_sent(CONFIG["local_steps"], setting.spec["compressor"], "all_reduce", due)
    moments = 3 * (8 * 100 + 4)
    table = record.table.assign(
        uplink_bytes=4 * (moments + (sent - moments) / due * record.table["iteration"]),
    )
    return Record(table, record.about)


def _right(setting: Setting) -> Record:
    return _made(setting, _rate(setting))


def test_the_settings_are_both_methods_with_local_steps_and_sgd_with_larger_batches() -> None:
    settings = {setting.name: setting.spec for setting in EXPERIMENT.settings(CONFIG)}
    assert list(settings) == [
        *(f"{method}-H{count}-m16" for method in ("sgd-fp32", "qsgd-s3") for count in (1, 2, 8)),
        "sgd-fp32-H1-m32",
        "sgd-fp32-H1-m128",
    ]
    assert settings["qsgd-s3-H8-m16"]["local_steps"] == 8
    assert {spec["exchange"] for spec in settings.values()} == {"all_reduce"}


def test_right_traces_are_confirmed() -> None:
    # Exchanges of eight cells, bytes of seven, and two comparisons with a larger batch.
    assert judged(EXPERIMENT, CONFIG, _right) == {TOPIC: ["confirmed"] * 17}


def test_local_steps_that_are_not_taken_are_refuted() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: _made(setting, _rate(setting, local_steps=1)))[TOPIC]
    # Of each of four cells exchanges and bytes, and both comparisons of SGD.
    assert verdicts.count("refuted") == 2 * 4 + 2


def test_bytes_that_are_off_by_a_fifth_are_refuted() -> None:
    def more(setting: Setting) -> Record:
        table, about = _right(setting)
        factor = 1.2 if setting.name == "qsgd-s3-H8-m16" else 1.0
        return Record(table.assign(uplink_bytes=table["uplink_bytes"] * factor), about)

    assert judged(EXPERIMENT, CONFIG, more)[TOPIC].count("refuted") == 1


def test_exchanges_that_are_off_by_a_fifth_are_refuted() -> None:
    verdicts = judged(
        EXPERIMENT, CONFIG, lambda setting: faster(_right(setting), 1.25 if setting.name == "sgd-fp32-H8-m16" else 1)
    )
    assert "refuted" in verdicts[TOPIC]


@pytest.mark.parametrize("rows", [1, 3])
def test_traces_that_do_not_come_down_to_the_tolerance_leave_the_verdicts_open(rows: int) -> None:
    verdicts = judged(EXPERIMENT, CONFIG, lambda setting: cut(_right(setting), rows))
    assert set(verdicts[TOPIC]) == {"inconclusive"}


def test_the_figure_has_exchanges_and_bytes_and_a_prediction_for_each_point() -> None:
    results = {setting.name: _right(setting) for setting in EXPERIMENT.settings(CONFIG)}
    tables = EXPERIMENT.judge(CONFIG, results, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    with style.in_house():
        figure = local_steps.draw([tables[name.split(".")[1]] for name in FIGURES["local_steps"].tables])
        figure.draw_without_rendering()
    exchanges, sent = figure.axes
    assert exchanges.get_ylabel() == "exchanges to the tolerance"
    assert sent.get_ylabel() == "kilobytes that a rank sends"
    for axes, quantity in ((exchanges, "exchanges"), (sent, "sent")):
        crosses = [np.asarray(line.get_ydata(), float) for line in axes.lines if line.get_marker() == "+"]
        drawn = np.sort(np.concatenate([values for values in crosses if values.size]))
        expected = np.sort(tables["summary"][f"{quantity}_predicted"] / (1000 if quantity == "sent" else 1))
        assert drawn == pytest.approx(expected)


def test_real_runs_in_small_are_not_refuted() -> None:
    small = {"mini_batch": 40, "local_steps": [3], "levels": 4, "tolerance": 1e-3, "trials": 4}
    config = {"seed": 5, "local_steps": {**CONFIG["local_steps"], **small}}
    judgement = EXPERIMENT.judge(config, trials.simulate(EXPERIMENT.settings(config), 5)[0].results, {})
    assert "refuted" not in {verdict.verdict for verdict in judgement.verdicts[TOPIC]}
    assert judgement.tables["summary"]["exchanges"].notna().all()
