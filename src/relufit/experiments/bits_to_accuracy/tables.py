"""The tables of `bits_to_accuracy`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.experiments.bits_to_accuracy.by_ranks import by_ranks
from relufit.experiments.bits_to_accuracy.runs import (
    SINGLE,
    Found,
    expected_baseline,
    expected_bits,
    expected_bytes,
    length_of,
    over,
    qsgd_name,
)
from relufit.experiments.framework.counted_exchanges import COUNTED, WHOLE, baseline_bytes, payload_bytes
from relufit.experiments.framework.curves import on_grid, typical_curve
from relufit.experiments.framework.quantized import Method, expected_iterations, predicted_curve, qsgd

_LEVELS_PREDICTED = 25
#: The exchange in which gains of codings and of compressors are stated against fp32 by all-reduce.
_GATHERED = "model_all_gather"


def all_tables(measurements: Found) -> dict[str, pd.DataFrame]:
    """Return the tables by name."""
    return {
        "curves": _curves(measurements),
        "summary": _summary(measurements),
        "codings": _codings(measurements),
        "exchanges": _exchanges(measurements),
        "predictions": _predictions(measurements),
        "ranks": by_ranks(measurements.section),
    }


def _curves(measurements: Found) -> pd.DataFrame:
    """Return the typical curve of whole runs against bytes, QSGD's in the coding that is cheapest, and the predicted.

    Beside the columns of `typical_curve` there are ``predicted``, a relative error, at ``predicted_bytes``; and, for
    SGD in fp32, ``baseline_bytes``, those of the same iterations by all-reduce.
    """
    cheapest, curves = measurements.cheapest(), []
    for run in measurements.runs:
        setting, table, name = measurements.settings[run], measurements.tables[run], run
        compressor, section = setting.spec["compressor"], measurements.section_of(setting)
        d, workers, length = section["dimension"], section["workers"], length_of(table, section["workers"])
        if compressor.get("levels") and compressor.get("norm") != "max":
            coding = cheapest[compressor["levels"]]
            compressor, name = {**compressor, "coding": coding}, qsgd_name(compressor["levels"], coding)
            length = measurements.lengths[compressor["levels"], coding]
        curve = typical_curve(table)
        at = curve["iteration"].to_numpy()
        moments = float(table.groupby("trial")["uplink_bytes"].first().mean())
        predicted = predicted_curve(section, Method(compressor), int(at.max(initial=0)))
        curve = curve.assign(
            setting=name,
            uplink_bytes=moments + at * workers * float(length.bits.mean()) / 8,
            predicted=on_grid(predicted, at),
            predicted_bytes=workers * (payload_bytes("fp64", d) + at * expected_bits(compressor, d) / 8),
        )
        baseline = baseline_bytes(curve["iteration"], workers, d) if run == SINGLE else math.nan
        curves.append(curve.assign(baseline_bytes=baseline))
    return pd.concat(curves)


def _summary(measurements: Found) -> pd.DataFrame:
    """Return iterations, uplink bytes and savings of whole runs, and bytes, savings and error of rows that were sent.

    ``saving`` is against SGD in fp32 in the same exchange, on the uplink. ``baseline_saving`` is against SGD in fp32 by
    all-reduce, of runs in an all-gather, and of rows that are sent to one host.
    """
    rows: list[tuple[Any, ...]] = []
    baseline = expected_baseline(measurements.section)
    single = expected_bytes(measurements.section, {"name": "fp32"})
    for name, run in measurements.runs.items():
        setting = measurements.settings[name]
        compressor, section = setting.spec["compressor"], measurements.section_of(setting)
        due = expected_iterations(section, Method(compressor))
        sent = expected_bytes(section, compressor, due=due)
        whole = {"iterations": (run.iterations, due), "bytes": (run.uplink, sent)}
        whole["saving"] = (measurements.saving(run), single / sent)
        gathered = expected_bytes(section, compressor, _GATHERED, due=due)
        whole["baseline_saving"] = (measurements.gain(_GATHERED, run), baseline / gathered)
        # Figures order QSGD with the l2 norm by its levels.
        levels = math.nan if compressor.get("norm") == "max" else compressor.get("levels", math.nan)
        rows += [(name, levels, what, *mean_interval(values), expected) for what, (values, expected) in whole.items()]
    for name, setting in measurements.settings.items():
        if setting.procedure == "ship_rows":
            table = measurements.tables[name].set_index("trial")
            quantities = {
                "rows": table["rows"],
                "bytes": table["payload_bytes"],
                "relative_error": table["relative_error"],
            }
            quantities["saving"] = measurements.single.uplink.loc[table.index] / table["payload_bytes"]
            quantities["baseline_saving"] = measurements.baseline().loc[table.index] / table["payload_bytes"]
            rows += [(name, math.nan, what, *mean_interval(values), math.nan) for what, values in quantities.items()]
    return pd.DataFrame(rows, columns=["setting", "levels", "quantity", "mean", "low", "high", "predicted"])


def _codings(measurements: Found) -> pd.DataFrame:
    """Return for each coding and number of levels what a message has and what is saved on the uplink.

    ``bits``, ``expected`` and ``entropy`` are those of a message over its coordinates, ``iterations`` those on which
    they were measured. ``saving`` and its interval are against SGD in fp32 in the same exchange, ``baseline_saving``
    and its interval of an all-gather against SGD in fp32 by all-reduce.
    """
    section, rows = measurements.section, []
    for (levels, coding), length in measurements.lengths.items():
        d = section["dimension"]
        entropy = theory.level_entropy(section["bucket_size"] or d, levels)
        bits = (float(length.bits.mean()) / d, expected_bits(qsgd(section, levels, coding), d) / d, entropy)
        saving = mean_interval(measurements.saving(measurements.coded[levels, coding]))
        baseline = mean_interval(measurements.gain(_GATHERED, measurements.coded[levels, coding]))
        rows.append((coding, levels, length.iterations, *bits, *saving, *baseline))
    columns = ["coding", "levels", "iterations", "bits", "expected", "entropy", "saving", "low", "high"]
    columns += ["baseline_saving", "baseline_low", "baseline_high"]
    return pd.DataFrame(rows, columns=columns)


def _exchanges(measurements: Found) -> pd.DataFrame:
    """Return bytes in each exchange, and their saving against SGD in fp32; of QSGD in the cheapest coding.

    Columns: ``setting``, ``levels``, ``iterations``, and for each exchange ``{exchange}_bytes``, ``{exchange}_saving``
    and its interval, ``{exchange}_low`` and ``{exchange}_high``, against SGD in fp32 in the same exchange; and for each
    whole exchange ``{exchange}_baseline_saving`` and its interval, against SGD in fp32 by all-reduce.
    """
    section, rows = measurements.section, []
    runs = {
        qsgd_name(s, coding): (float(s), measurements.coded[s, coding]) for s, coding in measurements.cheapest().items()
    }
    for name, (levels, run) in {SINGLE: (math.nan, measurements.single), **runs}.items():
        row: dict[str, Any] = {"setting": name, "levels": levels, "iterations": run.iterations.mean()}
        for exchange in COUNTED:
            sent = over(exchange, run, section)
            saving = mean_interval(over(exchange, measurements.single, section).loc[sent.index] / sent)
            row[f"{exchange}_bytes"] = sent.mean()
            row |= dict(zip((f"{exchange}_{column}" for column in ("saving", "low", "high")), saving, strict=True))
            if exchange in WHOLE:
                saving = mean_interval(measurements.gain(exchange, run))
                names = (f"{exchange}_baseline_{column}" for column in ("saving", "low", "high"))
                row |= dict(zip(names, saving, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def _predictions(measurements: Found) -> pd.DataFrame:
    """Return for each coding, over the whole range of levels, what is expected.

    Columns: ``coding``, ``levels``, ``iterations``, ``bits``, those of a message over its coordinates, and for each
    exchange ``{exchange}_saving`` against SGD in fp32 in the same, and for each whole exchange
    ``{exchange}_baseline_saving`` against SGD in fp32 by all-reduce.
    """
    section, rows = measurements.section, []
    d, wanted = section["dimension"], section["levels"]
    due = expected_iterations(section, Method({"name": "fp32"}))
    single = {exchange: expected_bytes(section, {"name": "fp32"}, exchange, due) for exchange in COUNTED}
    baseline = expected_baseline(section, due)
    for levels in np.unique(np.geomspace(min(wanted), max(wanted), _LEVELS_PREDICTED).round().astype(int)).tolist():
        # The iterations do not depend on the coding.
        due = expected_iterations(section, Method(qsgd(section, levels, "packed")))
        for coding in section["codings"]:
            compressor = qsgd(section, levels, coding)
            row = {"coding": coding, "levels": levels, "iterations": due, "bits": expected_bits(compressor, d) / d}
            sent = {exchange: expected_bytes(section, compressor, exchange, due) for exchange in COUNTED}
            row |= {f"{exchange}_saving": single[exchange] / sent[exchange] for exchange in COUNTED}
            rows.append(row | {f"{exchange}_baseline_saving": baseline / sent[exchange] for exchange in WHOLE})
    return pd.DataFrame(rows)
