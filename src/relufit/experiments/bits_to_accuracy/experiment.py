"""Bytes to an accuracy: codings, compressors, exchanges, larger batches, and the rows themselves.

SGD in fp32 and QSGD run on the same data until the tolerance. The levels of QSGD do not depend on how they are coded:
in the first of the codings the runs are whole, and in the others their first iterations are run again, which shows how
many bytes an iteration takes and that the errors are the same numbers; the bytes to the tolerance are those of an
iteration times the iterations of the whole run. Beside it stand what a reader would ask for: other compressors, SGD
with a larger batch, and the active rows sent once, from which least squares gives the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from relufit.claims.trace_files import Record
from relufit.experiments.bits_to_accuracy.runs import SINGLE, find, max_norm_runs, qsgd_name
from relufit.experiments.bits_to_accuracy.tables import all_tables
from relufit.experiments.bits_to_accuracy.verdicts import all_verdicts
from relufit.experiments.framework.base import Judgement, Setting, budget_of
from relufit.experiments.framework.quantized import is_long, planted, qsgd, training, trials_of

NAME = "bits_to_accuracy"


def _whole(section: Mapping[str, Any]) -> list[Setting]:
    """Return the settings whose runs go on until the tolerance: SGD in fp32, QSGD, and what they are compared with."""
    first = section["codings"][0]
    made = [_run(section, SINGLE, {"name": "fp32"})]
    made += [_run(section, qsgd_name(s, first), qsgd(section, s, first), first) for s in section["levels"]]
    made += [_run(section, name, compressor) for name, compressor in max_norm_runs(section).items()]
    made += [
        _run(section, "-".join(["sgd", *map(str, compressor.values())]), dict(compressor))
        for compressor in section["compressors"]
    ]
    for factor in section["larger_batches"]:
        batch = factor * section["mini_batch"]
        made.append(_run({**section, "mini_batch": batch}, f"{SINGLE}-m{batch}", {"name": "fp32"}))
    return made


def _run(section: Mapping[str, Any], name: str, compressor: dict[str, Any], group: str = "sgd") -> Setting:
    spec, trials = training(section, compressor), trials_of(section, compressor)
    own = "levels" in compressor and is_long(section, compressor)
    return Setting(NAME, name, planted(section), spec, trials, group=name if own else group)


def _again(section: Mapping[str, Any]) -> list[Setting]:
    """Return the settings that run the first iterations of QSGD again in the other codings."""
    part = {**section, "iterations": min(section["coded"]["iterations"], section["iterations"])}
    trials = min(section["trials"], section["coded"]["trials"])
    return [
        Setting(NAME, qsgd_name(s, c), planted(section), training(part, qsgd(section, s, c)), trials, group=c)
        for c in section["codings"][1:]
        for s in section["levels"]
    ]


def _shipped(section: Mapping[str, Any]) -> list[Setting]:
    trials = min(section["trials"], section["coded"]["trials"])
    made = []
    for factor in section["shipped_rows"]:
        rows = None if factor is None else math.ceil(factor * section["dimension"])
        spec = {"workers": section["workers"], "compressor": {"name": "fp32"}, "rows": rows}
        name = f"rows-{'all' if rows is None else rows}"
        made.append(Setting(NAME, name, planted(section), spec, trials, procedure="ship_rows", group="rows"))
    return made


class BitsToAccuracy:
    """The experiment ``bits_to_accuracy``."""

    NAME = NAME
    TITLE = "Bytes to an accuracy"
    QUESTION = (
        "How many bytes does it take to come to a given error: with each coding and compressor, in each exchange, "
        "with larger batches, and by sending the rows?"
    )
    PREDICTION = (
        "iterations by the recursion over the limiting spectrum (theory.fixed_data_curve) times the expected length "
        "of a message (the law of the levels, theory.level_probabilities, in each code)"
    )
    TIMED = False
    TABLES = ("curves", "summary", "codings", "exchanges", "predictions", "ranks")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return the whole runs, those again in other codings, and the rows."""
        section = config[NAME]
        return [*_whole(section), *_again(section), *_shipped(section)]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Compare bytes with the prediction, and with SGD in fp32, in the same exchange and by all-reduce."""
        section, settings = config[NAME], {setting.name: setting for setting in self.settings(config)}
        measurements = find(section, settings, [setting.name for setting in _whole(section)], results)
        said = (
            f"d = {section['dimension']}, n/d = {section['ratio']:g}, K = {section['workers']}, "
            f"m = {section['mini_batch']}, {section['sampling']}, optimal step for each omega, {section['trials']} "
            f"trials, {section['long_runs']['trials']} of long runs and {section['coded']['trials']} of codes"
        )
        budget = budget_of(section)
        return Judgement(said, budget, all_verdicts(measurements), all_tables(measurements))
