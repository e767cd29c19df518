"""The verdicts of `bits_to_accuracy`."""

from __future__ import annotations

import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.verdict import Verdict, exactly, judge
from relufit.experiments.base import Setting
from relufit.experiments.bits import Found, expected_bits, expected_bytes, over, qsgd_name
from relufit.experiments.quantized import qsgd

#: Tolerance of the length of a code, and of ratios of bytes, against the prediction.
LENGTH, TOLERANCE = 0.03, 0.07
#: "Significantly" is read as: eight times fewer bytes than fp32; QSGD with an ideal code saves 13.8 times at most.
SIGNIFICANT = 8.0
_DENSE = (1, "packed")
#: Topologies in which the weights come back uncompressed; the second is not sent, but counted.
_RETURNED = {
    "master_fp64": "the weights sent back to each rank in fp64",
    "model_broadcast_fp32": "one broadcast of the weights in fp32 (counted, not sent)",
}


def all_verdicts(found: Found) -> dict[str, list[Verdict]]:
    """Return the verdicts by topic; topics on which a section has nothing are left out."""
    verdicts = {
        "communication": [_saving(found), *_topologies(found), *_lengths(found), *_same_errors(found)],
        "dense codes": _dense(found),
        "larger batches": _batches(found),
        "shipping rows": _rows(found),
    }
    return {topic: its for topic, its in verdicts.items() if its}


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


def _saving(found: Found) -> Verdict:
    best = found.best()
    return _judge(
        "uplink bytes of SGD with fp32 over those of QSGD, to the same error",
        found.settings[qsgd_name(*best)],
        found.saving(found.coded[best]),
        least=SIGNIFICANT,
        note="The best number of levels and coding is judged; all are in the table. Uplink alone: it is the whole "
        "saving where ranks exchange encoded gradients, or a master passes them on.",
    )


def _topologies(found: Found) -> list[Verdict]:
    """Hold what is left of the saving where the weights come back uncompressed against the prediction."""
    best, section, verdicts = found.best(), found.section, []
    run = found.coded[best]
    for topology, words in _RETURNED.items():
        due = expected_bytes(section, {"name": "fp32"}, topology)
        due /= expected_bytes(section, qsgd(section, *best), topology)
        saving = over(topology, found.single, section).loc[run.uplink.index] / over(topology, run, section)
        verdicts.append(
            _judge(
                f"bytes of SGD with fp32 over those of QSGD with {words}, over the prediction",
                found.settings[qsgd_name(*best)],
                saving / due,
                least=1 - TOLERANCE,
                most=1 + TOLERANCE,
                note=f"With {words} {qsgd_name(*best)} moves {saving.mean():.2f} times fewer bytes than SGD in fp32 "
                "does with the same: what comes back is not compressed.",
            )
        )
    return verdicts


def _lengths(found: Found) -> list[Verdict]:
    verdicts = []
    for (levels, coding), length in found.lengths.items():
        due = expected_bits(qsgd(found.section, levels, coding), found.section["dimension"])
        setting = found.settings[qsgd_name(levels, coding)]
        again = coding != found.section["codings"][0]
        note = f"In {coding} the first {length.iterations:.0f} iterations were run again." if again else ""
        verdict = _judge(
            "length of a message over the expected one",
            setting,
            length.bits / due,
            least=1 - LENGTH,
            most=1 + LENGTH,
            note=note,
        )
        verdicts.append(verdict)
    return verdicts


def _same_errors(found: Found) -> list[Verdict]:
    first, *others = found.section["codings"]
    verdicts = []
    for coding in others:
        same, trials = True, 0
        for levels in found.section["levels"]:
            whole, again = (found.tables[qsgd_name(levels, its)] for its in (first, coding))
            shared = again.merge(whole, on=["trial", "iteration"])
            same &= len(shared) > 0 and bool((shared["relative_error_x"] == shared["relative_error_y"]).all())
            trials = max(trials, shared["trial"].nunique())
        statistic = f"the errors are the same numbers in {coding} as in {first}"
        evidence = found.settings[qsgd_name(found.section["levels"][0], coding)].evidence
        verdicts.append(exactly(statistic, "all levels", same, trials=trials, evidence=evidence))
    return verdicts


def _dense(found: Found) -> list[Verdict]:
    if _DENSE not in found.coded:
        return []
    return [
        _judge(
            "uplink bytes of SGD with fp32 over those of QSGD with s = 1 and a fixed-length code",
            found.settings[qsgd_name(*_DENSE)],
            found.saving(found.coded[_DENSE]),
            most=1.0,
        )
    ]


def _batches(found: Found) -> list[Verdict]:
    section, single, verdicts = found.section, {"name": "fp32"}, []
    for name, run in found.runs.items():
        setting = found.settings[name]
        batch = setting.spec["batch_size"]
        if batch == section["mini_batch"]:
            continue
        due = expected_bytes(section, single) / expected_bytes(found.section_of(setting), single)
        saving = found.saving(run)
        verdict = _judge(
            f"uplink bytes with m = {section['mini_batch']} over those with m = {batch}, fp32, over the prediction",
            setting,
            saving / due,
            least=1 - TOLERANCE,
            most=1 + TOLERANCE,
            note=f"m = {batch} alone sends {saving.mean():.2f} times fewer bytes than m = {section['mini_batch']}, "
            "both in fp32.",
        )
        verdicts.append(verdict)
    return verdicts


def _rows(found: Found) -> list[Verdict]:
    best, verdicts = found.best(), []
    for setting in found.settings.values():
        if setting.procedure != "ship_rows":
            continue
        table = found.tables[setting.name].set_index("trial")
        sent, tolerance = table["payload_bytes"], found.section["tolerance"]
        share = found.coded[best].uplink.mean() / sent.mean()
        verdicts += [
            _judge(
                "uplink bytes of SGD with fp32 over those of the active rows, sent once",
                setting,
                found.single.uplink.loc[sent.index] / sent,
                least=1.0,
                note=f"{qsgd_name(*best)} sends {share:.2f} times the bytes of {setting.name}.",
            ),
            exactly(
                f"least squares on the rows that arrived comes to relative error {tolerance:g}",
                setting.name,
                bool((table["relative_error"] <= tolerance).all()),
                trials=setting.trials,
                evidence=setting.evidence,
            ),
        ]
    return verdicts
