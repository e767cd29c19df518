"""Every compressor with and without error feedback: verdicts on made traces, tables, bad input, and runs in small."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from made_traces import cut, faster, judged, run

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.compression import make_compressor
from relufit.errors import ConfigError
from relufit.experiments.bits_frontier.experiment import BitsFrontier
from relufit.experiments.bits_frontier.section import BitsFrontierSection
from relufit.experiments.framework import trials
from relufit.experiments.framework.base import Setting
from relufit.schema import checked

EXPERIMENT = BitsFrontier()
D, RATIO, WORKERS, M = 120, 10, 4, 12
SIGN = {"compressor": {"name": "sign"}, "error_feedback": True}
CONFIG: dict[str, Any] = {
    "seed": 1,
    "bits_frontier": {
        "dimension": D,
        "ratio": RATIO,
        "workers": WORKERS,
        "mini_batches": [M],
        "exchanges": ["all_gather", "all_reduce"],
        "methods": [
            {"compressor": {"name": "qsgd", "levels": 7, "coding": "rans"}},
            SIGN,
            {**SIGN, "step_factor": 1.0},
            {**SIGN, "compressor": {"name": "one_bit"}, "searched": [1.0, 0.5]},
        ],
        "unscaled_levels": [2],
        "coding": "rans",
        "sampling": "fresh",
        "tolerance": 1e-4,
        "iterations": 20000,
        "record_every": 5,
        "trials": 4,
    },
}
START = (2 * D + 3) / (RATIO * D)
#: Coordinates that are encoded together, and how often a rank sends what it has encoded.
ENCODED = {"all_gather": (120, 3), "all_reduce": (30, 2 * 3), "master": (120, 1)}


def _rate(setting: Setting) -> float:
    """Return the factor of a step on fresh samples, by the formulas of theory for one encoding or for two."""
    spec = setting.spec
    size, again = ENCODED[spec["exchange"]][0], spec["exchange"] == "all_reduce"
    compressor = make_compressor(**spec["compressor"])
    known: dict[str, Any] = {"workers": WORKERS}
    if spec["error_feedback"]:
        encoding = compressor.encoding(size)
        assert encoding
        known |= {"delta": encoding, **({"sum_delta": encoding} if again else {})}
        optimal, rate = theory.feedback_optimal_step, theory.feedback_rate
    else:
        omega = compressor.variance(size)
        known |= {"omega": omega, "sum_omega": omega if again else 0.0}
        optimal, rate = theory.optimal_step, theory.contraction
    step = optimal(D, M, **known) if spec["step_size"] == "optimal" else spec["step_size"]
    return rate(D, M, step, **known)


def _right(setting: Setting) -> Record:
    size, copies = ENCODED[setting.spec["exchange"]]
    bits = make_compressor(**setting.spec["compressor"]).expected_bits(size)
    assert bits is not None
    cost = round(WORKERS * copies * bits / 8)
    record = run(setting, min(_rate(setting), 1.02), START, np.random.default_rng(3), cost=cost)
    moments = WORKERS * copies // (2 if setting.spec["exchange"] == "all_reduce" else 1) * (8 * D + 4)
    return record._replace(table=record.table.assign(uplink_bytes=record.table["uplink_bytes"] - 10 + moments))


def _changed(**values: Any) -> dict[str, Any]:
    config = deepcopy(CONFIG)
    config["bits_frontier"].update(values)
    return config


def test_right_traces_are_confirmed() -> None:
    verdicts = judged(EXPERIMENT, CONFIG, _right)
    # Iterations of SGD and three methods in two exchanges, bytes of all but the baseline, the bound on unbiased codes.
    assert verdicts == {
        "bytes of every compressor": ["confirmed"] * 16,
        "error feedback": ["confirmed"] * 2,
        "unscaled feedback": ["confirmed"] * 2,
    }


def test_iterations_and_bytes_that_are_off_are_refuted() -> None:
    name = "sign-feedback-step1-all_gather-m12"
    slow = judged(EXPERIMENT, CONFIG, lambda s: faster(_right(s), 0.8) if s.name == name else _right(s))
    assert slow["bytes of every compressor"].count("refuted") == 1
    assert slow["error feedback"] == ["confirmed", "refuted"]

    def longer(setting: Setting) -> Record:
        record = _right(setting)
        factor = 1.25 if setting.name == name else 1
        return record._replace(table=record.table.assign(uplink_bytes=factor * record.table["uplink_bytes"]))

    assert judged(EXPERIMENT, CONFIG, longer)["bytes of every compressor"].count("refuted") == 1


def test_a_scaled_code_that_diverges_and_an_unscaled_one_that_does_not_are_refuted() -> None:
    def calm(setting: Setting) -> Record:
        record = _right(setting)
        if not setting.name.startswith("qsgd-s2"):
            return record
        falling = record.table.groupby("trial")["relative_error"].transform(lambda errors: errors[::-1].to_numpy())
        return record._replace(table=record.table.assign(relative_error=falling))

    assert judged(EXPERIMENT, CONFIG, calm)["unscaled feedback"] == ["refuted", "confirmed"]
    wild = judged(EXPERIMENT, CONFIG, lambda s: cut(_right(s)) if s.name.startswith("scaled") else _right(s))
    assert wild["unscaled feedback"] == ["confirmed", "inconclusive"]


def test_of_steps_that_are_searched_the_best_is_shown_and_all_are_listed() -> None:
    def right(setting: Setting) -> Record:
        record = _right(setting)
        return cut(record) if setting.name == "one_bit-feedback-step1-all_reduce-m12" else record

    results = {setting.name: right(setting) for setting in EXPERIMENT.settings(CONFIG)}
    tables = EXPERIMENT.judge(CONFIG, results, {}).tables
    assert tuple(tables) == EXPERIMENT.TABLES
    searched = tables["search"]
    assert searched[["exchange", "step_factor"]].to_numpy().tolist() == [
        ["all_reduce", 1.0],
        ["all_reduce", 0.5],
        ["all_gather", 1.0],
        ["all_gather", 0.5],
    ]
    methods = tables["methods"]
    best = methods[methods["compressor"] == "one_bit"]
    assert best.set_index("exchange")["step_factor"].to_dict() == {"all_gather": 1.0, "all_reduce": 0.5}
    assert best["iterations_predicted"].isna().all()
    assert len(methods) == 2 * (1 + 3 + 1)
    gains = methods.set_index(["method", "exchange", "step_factor"])
    row = gains.loc[("sign-feedback", "all_gather", 1.0)]
    plain = gains.loc[("fp32", "all_gather", 1.0)]
    assert row["fewer_than_fp32_same_exchange"] == pytest.approx(plain["sent"] / row["sent"], rel=0.01)
    limit = tables["limit"]
    assert set(limit["exchange"]) == {"all_gather"}
    assert (np.diff(limit["sent"]) < 0).all()


def test_the_baseline_runs_by_all_reduce_where_that_is_not_among_the_exchanges() -> None:
    names = [setting.name for setting in EXPERIMENT.settings(_changed(exchanges=["relay"], methods=[SIGN]))]
    assert names[:3] == ["fp32-all_reduce-m12", "fp32-relay-m12", "sign-feedback-relay-m12"]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"compressor": {"name": "sign"}}, "sign is biased: nothing is predicted of it without error feedback"),
        ({**SIGN, "step_factor": 1, "searched": [1, 0.5]}, "step_factor and searched are both given"),
        ({"compressor": {"name": "sing"}, "error_feedback": True}, "unknown compressor 'sing'"),
        ({"compressor": {"name": "top_k", "fraction": 0}, "error_feedback": True}, "fraction"),
        ({"compressor": {"name": "eden", "bits": 9}}, "bits"),
        ({"compressor": {"name": "sign"}, "error_feedback": 1}, "error_feedback"),
    ],
)
def test_methods_that_cannot_be_are_refused(method: dict[str, Any], words: str) -> None:
    config = _changed(methods=[method])
    with pytest.raises(ConfigError, match=words) as refused:
        EXPERIMENT.settings({"bits_frontier": checked(BitsFrontierSection, config["bits_frontier"])})
    assert refused.value.remedy


def test_real_runs_in_small_are_not_refuted() -> None:
    # The smoke run and the tests of power have other methods, by all_reduce.
    changed = {"exchanges": ["all_gather"], "sampling": "with_replacement", "tolerance": 1e-3}
    config = _changed(**changed, iterations=3000, trials=3)
    traces = trials.simulate(EXPERIMENT.settings(config), 5)[0].results
    judgement = EXPERIMENT.judge(config, traces, {})
    assert "refuted" not in {verdict.verdict for verdicts in judgement.verdicts.values() for verdict in verdicts}
    assert judgement.tables["methods"]["iterations"].notna().all()
