"""The tables of `bits_to_accuracy`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.experiments.bits import (
    SINGLE,
    Found,
    expected_bits,
    expected_bytes,
    length_of,
    over,
    qsgd_name,
)
from relufit.experiments.curves import on_grid, typical_curve
from relufit.experiments.quantized import expected_iterations, predicted_curve, qsgd
from relufit.experiments.topologies import TOPOLOGIES, payload_bytes

_LEVELS_PREDICTED = 25


def all_tables(found: Found) -> dict[str, pd.DataFrame]:
    """Return the tables by name."""
    return {
        "curves": _curves(found),
        "summary": _summary(found),
        "codings": _codings(found),
        "topologies": _topologies(found),
        "predictions": _predictions(found),
    }


def _curves(found: Found) -> pd.DataFrame:
    """Return the typical curve of whole runs against bytes, QSGD's in the coding that is cheapest, and the predicted.

    Beside the columns of `typical_curve` there are ``predicted``, a relative error, at ``predicted_bytes``.
    """
    cheapest, curves = found.cheapest(), []
    for run in found.runs:
        setting, table, name = found.settings[run], found.tables[run], run
        compressor, section = setting.spec["compressor"], found.section_of(setting)
        d, workers, length = section["dimension"], section["workers"], length_of(table, section["workers"])
        if "levels" in compressor:
            coding = cheapest[compressor["levels"]]
            compressor, name = {**compressor, "coding": coding}, qsgd_name(compressor["levels"], coding)
            length = found.lengths[compressor["levels"], coding]
        curve = typical_curve(table)
        at = curve["iteration"].to_numpy()
        moments = float(table.groupby("trial")["uplink_bytes"].first().mean())
        predicted = predicted_curve(section, compressor, int(at.max(initial=0)))
        curve = curve.assign(
            setting=name,
            uplink_bytes=moments + at * workers * float(length.bits.mean()) / 8,
            predicted=on_grid(predicted, at),
            predicted_bytes=workers * (payload_bytes("fp64", d) + at * expected_bits(compressor, d) / 8),
        )
        curves.append(curve)
    return pd.concat(curves)


def _summary(found: Found) -> pd.DataFrame:
    """Return iterations, uplink bytes and saving of whole runs, and bytes, saving and error of rows that were sent."""
    rows: list[tuple[Any, ...]] = []
    single = expected_bytes(found.section, {"name": "fp32"})
    for name, run in found.runs.items():
        setting = found.settings[name]
        compressor, section = setting.spec["compressor"], found.section_of(setting)
        due = expected_iterations(section, compressor)
        sent = expected_bytes(section, compressor, due=due)
        whole = {"iterations": (run.iterations, due), "bytes": (run.uplink, sent)}
        whole["saving"] = (found.saving(run), single / sent)
        levels = compressor.get("levels", math.nan)
        rows += [(name, levels, what, *mean_interval(its), expected) for what, (its, expected) in whole.items()]
    for name, setting in found.settings.items():
        if setting.procedure == "ship_rows":
            table = found.tables[name].set_index("trial")
            its = {"rows": table["rows"], "bytes": table["payload_bytes"], "relative_error": table["relative_error"]}
            its["saving"] = found.single.uplink.loc[table.index] / table["payload_bytes"]
            rows += [(name, math.nan, what, *mean_interval(values), math.nan) for what, values in its.items()]
    return pd.DataFrame(rows, columns=["setting", "levels", "quantity", "mean", "low", "high", "predicted"])


def _codings(found: Found) -> pd.DataFrame:
    """Return for each coding and number of levels what a message has and what is saved on the uplink.

    ``bits``, ``expected`` and ``entropy`` are those of a message over its coordinates, ``iterations`` those on which
    they were measured.
    """
    section, rows = found.section, []
    for (levels, coding), length in found.lengths.items():
        d = section["dimension"]
        entropy = theory.level_entropy(section["bucket_size"] or d, levels)
        bits = (float(length.bits.mean()) / d, expected_bits(qsgd(section, levels, coding), d) / d, entropy)
        saving = mean_interval(found.saving(found.coded[levels, coding]))
        rows.append((coding, levels, length.iterations, *bits, *saving))
    columns = ["coding", "levels", "iterations", "bits", "expected", "entropy", "saving", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _topologies(found: Found) -> pd.DataFrame:
    """Return bytes over each topology, and their saving against SGD in fp32; of QSGD in the cheapest coding.

    Columns: ``setting``, ``levels``, ``iterations``, and for each topology ``{topology}_bytes``, ``{topology}_saving``
    and its interval, ``{topology}_low`` and ``{topology}_high``.
    """
    section, rows = found.section, []
    runs = {qsgd_name(s, coding): (float(s), found.coded[s, coding]) for s, coding in found.cheapest().items()}
    for name, (levels, run) in {SINGLE: (math.nan, found.single), **runs}.items():
        row: dict[str, Any] = {"setting": name, "levels": levels, "iterations": run.iterations.mean()}
        for topology in TOPOLOGIES:
            sent = over(topology, run, section)
            saving = mean_interval(over(topology, found.single, section).loc[sent.index] / sent)
            row[f"{topology}_bytes"] = sent.mean()
            row |= dict(zip((f"{topology}_{column}" for column in ("saving", "low", "high")), saving, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def _predictions(found: Found) -> pd.DataFrame:
    """Return for each coding, over the whole range of levels, what is expected.

    Columns: ``coding``, ``levels``, ``iterations``, ``bits``, those of a message over its coordinates, and for each
    topology ``{topology}_saving`` against SGD in fp32.
    """
    section, rows = found.section, []
    d, wanted = section["dimension"], section["levels"]
    due = expected_iterations(section, {"name": "fp32"})
    single = {topology: expected_bytes(section, {"name": "fp32"}, topology, due) for topology in TOPOLOGIES}
    for levels in np.unique(np.geomspace(min(wanted), max(wanted), _LEVELS_PREDICTED).round().astype(int)).tolist():
        # The iterations do not depend on the coding.
        due = expected_iterations(section, qsgd(section, levels, "packed"))
        for coding in section["codings"]:
            compressor = qsgd(section, levels, coding)
            row = {"coding": coding, "levels": levels, "iterations": due, "bits": expected_bits(compressor, d) / d}
            sent = {topology: expected_bytes(section, compressor, topology, due) for topology in TOPOLOGIES}
            rows.append({**row, **{f"{topology}_saving": single[topology] / sent[topology] for topology in TOPOLOGIES}})
    return pd.DataFrame(rows)
