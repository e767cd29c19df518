"""Every column of what trials leave, and what notices that it is wrong.

A column is damaged in the traces, and an experiment judges them, or an oracle of `oracles` looks at them; where neither
can, because a clock or a network of emulated hosts is needed, a test elsewhere is named that does.

What no verdict reads is told by an oracle. What a verdict cannot tell on its own settings is planted in the code, see
`recorded`: copies of gradients where two ranks are all there are, the loss of one rank of several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from relufit.claims.trace_files import Record
from relufit.experiments.framework.base import Outcome
from relufit.experiments.framework.trials import Traces

#: By the procedure, the part of its `Outcome` and the column: an experiment, an oracle, or ``file::test``.
COLUMNS: dict[str, dict[str, dict[str, str]]] = {
    "train": {
        "table": {
            "iteration": "batch_scaling",
            "relative_error": "initial_error",
            "loss": "batch_scaling",
            "uplink_bytes": "time_to_accuracy",
            "downlink_bytes": "time_to_accuracy",
        },
        "summary": dict.fromkeys(
            ("outcome", "iterations", "step_size", "step_rule", "omega", "n", "d", "weights_sha256", "spec"), "summary"
        ),
        "timing": dict.fromkeys(
            ("iteration", "elapsed", "compute", "encode", "exchange", "wait", "decode", "update"), "seconds"
        ),
        "measured": {
            "received": "time_to_accuracy",
            "uncounted": "tests/experiments/test_catalogue.py::"
            "test_bytes_that_did_not_arrive_and_weights_that_differ_are_refuted",
            "faults": "time_to_accuracy",
            "weights_sha256": "time_to_accuracy",
            "serial_sha256": "time_to_accuracy",
        },
    },
    "solve": {
        "table": {
            "iterations": "gradient descent",
            "start": "gradient descent",
            "relative_error": "gradient descent",
            "reached": "gradient descent",
            "active": "gradient descent",
        },
        "timing": {"elapsed": "elapsed"},
    },
    "one_step": {
        "table": {"factor": "one_step_contraction"},
        "summary": {"step_size": "summary"},
        "timing": {"elapsed": "elapsed"},
    },
    "quantize": {
        "table": {
            "error": "quantizer_variance",
            "along": "quantizer_variance",
            "across": "quantizer_variance",
            "bytes": "lengths of payloads",
        },
        "timing": {"elapsed": "elapsed"},
    },
    "ship_rows": {
        "table": dict.fromkeys(("rows", "payload_bytes", "relative_error"), "shipped rows"),
        "timing": {"elapsed": "elapsed"},
    },
}
#: Procedures whose columns are seconds, or need emulated hosts: by the name of one, tests of what is read of them.
ELSEWHERE = {
    "time_links": [
        "tests/experiments/test_link_trials.py::"
        "test_a_cell_is_timed_between_hosts_and_its_bytes_are_those_of_the_interfaces",
        "tests/experiments/test_link_speed.py::test_bytes_that_no_interface_has_counted_are_refuted",
        "tests/experiments/test_link_speed.py::test_a_gain_that_is_not_had_is_refuted",
    ],
    "train_on_links": [
        "tests/experiments/test_link_speed.py::test_errors_that_another_exchange_does_not_have_are_refuted",
        "tests/experiments/test_link_speed.py::test_bytes_that_no_interface_has_counted_are_refuted",
    ],
    "measure_costs": [
        "tests/planning/test_planning.py::test_what_is_measured_is_complete_and_positive",
        "tests/experiments/test_link_speed.py::test_a_plan_from_costs_that_are_wrong_is_refuted",
    ],
}


def _wrong(value: Any) -> Any:
    """Return a value that is wrong: another truth, another word, a number that is a third larger, 1 in place of 0."""
    if isinstance(value, (bool, np.bool_)):
        return not value
    if isinstance(value, str):
        return value[::-1]
    if isinstance(value, Mapping):
        return {key: item + 1 if type(item) is int else item for key, item in value.items()}
    if isinstance(value, tuple):
        return (*value, "rank 0")
    return type(value)(1.3 * value if value != 0 else 1)


def _wrong_column(values: pd.Series) -> pd.Series:
    if values.name in ("along", "across"):  # their mean is zero
        return values + 0.3 * values.std()
    return pd.Series([_wrong(value) for value in values], values.index, name=values.name)


def damaged(outcome: Outcome, part: str, column: str) -> Outcome:
    """Return an outcome with a wrong column."""
    data = getattr(outcome, part)
    if isinstance(data, pd.DataFrame):
        return outcome._replace(**{part: data.assign(**{column: _wrong_column(data[column])})})
    return outcome._replace(**{part: {**data, column: _wrong(data[column])}})


def damaging(call: Callable[..., Outcome], part: str, column: str) -> Callable[..., Outcome]:
    """Return a procedure whose outcomes have a wrong column."""
    return lambda *given, **named: damaged(call(*given, **named), part, column)


def damaged_traces(traces: Traces, part: str, column: str) -> Traces:
    """Return the traces that trials with a wrong column leave."""
    which = "results" if part in ("table", "summary") else "timings"
    records: dict[str, Record] = getattr(traces, which)
    wrong = {}
    for name, (table, about) in records.items():
        if part in ("table", "timing"):
            table = table.assign(**{column: _wrong_column(table[column])})  # noqa: PLW2901
        else:
            about = {"trials": [{**trial, column: _wrong(trial[column])} for trial in about["trials"]]}  # noqa: PLW2901
        wrong[name] = Record(table, about)
    return traces._replace(**{which: wrong})
