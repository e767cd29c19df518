"""The verdicts of `bits_to_accuracy`."""

from __future__ import annotations

from typing import Any

import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.verdict import Verdict, describe, exactly, judge
from relufit.experiments.bits_to_accuracy.against_baseline import Run, gains, rows_sent, vanishing
from relufit.experiments.bits_to_accuracy.runs import (
    LENGTH,
    Bytes,
    Found,
    expected_bits,
    expected_bytes,
    length_of,
    max_norm_runs,
    over,
    qsgd_name,
)
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.quantized import qsgd

#: Tolerance of ratios of bytes against the prediction.
TOLERANCE = 0.07
_SAVING = "uplink bytes of SGD with fp32 over those of QSGD, to the same error"
_DENSE = (1, "packed")
#: Exchanges in which the weights come back uncompressed; the second is not sent, but counted.
_RETURNED = {
    "master_fp64": "the weights sent back to each rank in fp64",
    "model_broadcast_fp32": "one broadcast of the weights in fp32 (counted, not sent)",
}


def all_verdicts(measurements: Found) -> dict[Topic, list[Verdict]]:
    """Return the verdicts by topic; topics on which a section has nothing are left out."""
    verdicts = {
        Topic.COMMUNICATION: [
            *_savings(measurements),
            *_returned(measurements),
            *_lengths(measurements),
            *_same_errors(measurements),
        ],
        Topic.ALL_REDUCE: _against_baseline(measurements),
        Topic.DENSE_CODES: _dense(measurements),
        Topic.LARGER_BATCHES: _batches(measurements),
        Topic.SHIPPING_ROWS: _rows(measurements),
    }
    return {topic: topic_verdicts for topic, topic_verdicts in verdicts.items() if topic_verdicts}


def _judge(
    statistic: str,
    setting: Setting,
    values: pd.Series,
    *,
    least: float = float("-inf"),
    most: float = float("inf"),
    note: str = "",
) -> Verdict:
    return judge(
        statistic,
        setting.name,
        mean_interval(values),
        least=least,
        most=most,
        trials=len(values),
        evidence=setting.evidence,
        note=note,
    )


def _savings(measurements: Found) -> list[Verdict]:
    """Hold the saving of the settings whose speed is judged too against the prediction, and describe it."""
    single = expected_bytes(measurements.section, {"name": "fp32"})
    verdicts = []
    for name, compressor, run in _judged(measurements):
        setting, saving = measurements.settings[name], measurements.saving(run)
        slower = run.iterations / measurements.single.iterations.loc[run.iterations.index]
        due = single / expected_bytes(measurements.section, compressor)
        verdicts += [
            _judge(
                f"{_SAVING}, over the prediction",
                setting,
                saving / due,
                least=1 - TOLERANCE,
                most=1 + TOLERANCE,
                note=f"The prediction for {name} is {due:.3g}. Against fp32 in the same exchange, uplink alone: it is "
                "the whole saving where ranks exchange encoded gradients, or a master passes them on.",
            ),
            _describe(_SAVING, setting, saving),
            _describe("iterations of QSGD over those of SGD with fp32, in the same runs", setting, slower),
        ]
    best = measurements.best()
    setting = measurements.settings[qsgd_name(*best)]
    note = "The number of levels and the coding that save the most; all are in the table."
    return [
        *verdicts,
        _describe(f"{_SAVING}, the largest", setting, measurements.saving(measurements.coded[best]), note),
    ]


def _against_baseline(measurements: Found) -> list[Verdict]:
    judged = [Run(measurements.settings[name], compressor, run) for name, compressor, run in _judged(measurements)]
    return [*gains(measurements, judged, TOLERANCE), *vanishing(measurements.section, judged[0].setting.evidence)]


def _judged(measurements: Found) -> list[tuple[str, dict[str, Any], Bytes]]:
    """Return name, compressor and bytes of the settings by which the claim is judged."""
    section, (levels, coding) = measurements.section, measurements.judged()
    l2 = (qsgd_name(levels, coding), qsgd(section, levels, coding), measurements.coded[levels, coding])
    return [l2, *((name, compressor, measurements.runs[name]) for name, compressor in max_norm_runs(section).items())]


def _describe(statistic: str, setting: Setting, values: pd.Series, note: str = "") -> Verdict:
    interval = mean_interval(values)
    return describe(statistic, setting.name, interval, trials=len(values), evidence=setting.evidence, note=note)


def _returned(measurements: Found) -> list[Verdict]:
    """Hold what is left of the saving where the weights come back uncompressed against the prediction."""
    judged, section, verdicts = measurements.judged(), measurements.section, []
    run = measurements.coded[judged]
    for exchange, words in _RETURNED.items():
        due = expected_bytes(section, {"name": "fp32"}, exchange)
        due /= expected_bytes(section, qsgd(section, *judged), exchange)
        saving = over(exchange, measurements.single, section).loc[run.uplink.index] / over(exchange, run, section)
        verdicts.append(
            _judge(
                f"bytes of SGD with fp32 over those of QSGD with {words}, over the prediction",
                measurements.settings[qsgd_name(*judged)],
                saving / due,
                least=1 - TOLERANCE,
                most=1 + TOLERANCE,
                note=f"With {words} {qsgd_name(*judged)} moves {saving.mean():.2f} times fewer bytes than SGD in fp32 "
                "does with the same: what comes back is not compressed.",
            )
        )
    return verdicts


def _lengths(measurements: Found) -> list[Verdict]:
    section, verdicts = measurements.section, []
    for (levels, coding), length in measurements.lengths.items():
        again = coding != section["codings"][0]
        note = f"In {coding} the first {length.iterations:.0f} iterations were run again." if again else ""
        name, compressor = qsgd_name(levels, coding), qsgd(section, levels, coding)
        verdicts.append(_length(measurements, name, compressor, length.bits, LENGTH["l2"], note))
    for name, compressor in max_norm_runs(section).items():
        length = length_of(measurements.tables[name], section["workers"])
        verdicts.append(_length(measurements, name, compressor, length.bits, LENGTH["max"]))
    return verdicts


def _length(
    measurements: Found, name: str, compressor: dict[str, Any], bits: pd.Series, tolerance: float, note: str = ""
) -> Verdict:
    ratio, setting = bits / expected_bits(compressor, measurements.section["dimension"]), measurements.settings[name]
    least, most = 1 - tolerance, 1 + tolerance
    return _judge("length of a message over the expected one", setting, ratio, least=least, most=most, note=note)


def _same_errors(measurements: Found) -> list[Verdict]:
    first, *others = measurements.section["codings"]
    verdicts = []
    for coding in others:
        same, trials, iterations = True, 0, 0
        for levels in measurements.section["levels"]:
            whole, again = (measurements.tables[qsgd_name(levels, name)] for name in (first, coding))
            shared = again.merge(whole, on=["trial", "iteration"])
            same &= len(shared) > 0 and bool((shared["relative_error_x"] == shared["relative_error_y"]).all())
            trials = max(trials, shared["trial"].nunique())
            iterations = max(iterations, int(shared["iteration"].max()))
        statistic = f"the errors of the first {iterations} iterations are the same numbers in {coding} as in {first}"
        evidence = measurements.settings[qsgd_name(measurements.section["levels"][0], coding)].evidence
        note = f"Bytes in {coding} beyond them are those of an iteration times the iterations in {first}."
        verdicts.append(exactly(statistic, "all levels", same, trials=trials, evidence=evidence, note=note))
    return verdicts


def _dense(measurements: Found) -> list[Verdict]:
    if _DENSE not in measurements.coded:
        return []
    return [
        _judge(
            "uplink bytes of SGD with fp32 over those of QSGD with s = 1 and a fixed-length code",
            measurements.settings[qsgd_name(*_DENSE)],
            measurements.saving(measurements.coded[_DENSE]),
            most=1.0,
        )
    ]


def _batches(measurements: Found) -> list[Verdict]:
    section, single, verdicts = measurements.section, {"name": "fp32"}, []
    for name, run in measurements.runs.items():
        setting = measurements.settings[name]
        batch = setting.spec["batch_size"]
        if batch == section["mini_batch"]:
            continue
        due = expected_bytes(section, single) / expected_bytes(measurements.section_of(setting), single)
        saving = measurements.saving(run)
        verdict = _judge(
            f"uplink bytes with m = {section['mini_batch']} over those with m = {batch}, fp32, over the prediction",
            setting,
            saving / due,
            least=1 - TOLERANCE,
            most=1 + TOLERANCE,
            note=f"m = {batch} alone sends {saving.mean():.2f} times fewer bytes than m = {section['mini_batch']}, "
            "both in fp32 in the same exchange; by all-reduce the ratio is the same.",
        )
        verdicts.append(verdict)
    return verdicts


def _rows(measurements: Found) -> list[Verdict]:
    best, verdicts = measurements.best(), []
    for setting in measurements.settings.values():
        if setting.procedure != "ship_rows":
            continue
        table = measurements.tables[setting.name].set_index("trial")
        sent, tolerance = table["payload_bytes"], measurements.section["tolerance"]
        share = measurements.coded[best].uplink.mean() / sent.mean()
        verdicts += [
            _judge(
                "uplink bytes of SGD with fp32 over those of the active rows, sent once",
                setting,
                measurements.single.uplink.loc[sent.index] / sent,
                least=1.0,
                note=f"{qsgd_name(*best)} sends {share:.2f} times the bytes of {setting.name}.",
            ),
            rows_sent(measurements, setting, sent),
            exactly(
                f"least squares on the rows that arrived comes to relative error {tolerance:g}",
                setting.name,
                bool((table["relative_error"] <= tolerance).all()),
                trials=setting.trials,
                evidence=setting.evidence,
            ),
        ]
    return verdicts
