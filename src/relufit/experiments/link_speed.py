"""Seconds between hosts: what compression gains on links of several speeds, and how fast whole runs come to w*.

Hosts are emulated on this machine: processes in networks of their own, real TCP over links with a rate and a round
trip. An iteration is timed at rates that the machine can carry; the alpha-beta model of `relufit.theory.network`, with
the costs of computing, encoding and decoding measured in the same runs, is laid over it and goes on beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from relufit.claims.verdict import Verdict
from relufit.experiments.base import Judgement, Setting
from relufit.experiments.link_model import (
    EXCHANGES,
    MTU,
    Model,
    cell_name,
    expected_payload,
    expected_traffic,
    runs_of,
    whole_runs,
)
from relufit.experiments.link_verdicts import agreement, exactness, gains_held, whole_curves
from relufit.records import Record

NAME = "link_speed"


class LinkSpeed:
    """The experiment ``link_speed``."""

    NAME = NAME
    TITLE = "What compression gains on links of several speeds"
    QUESTION = "Between hosts, how much faster is QSGD than SGD, and does it keep its convergence?"
    PREDICTION = (
        "the alpha-beta model (theory.network.iteration), with computing, encoding and decoding as measured in the "
        "same runs: seconds of an iteration are those of the work, of half round trips, and of bytes over the rate"
    )
    TIMED = True
    TABLES = ("timing-iterations", "timing-model", "timing-curves")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell of dimension and ranks, and one for each whole run."""
        section, found = config[NAME], []
        for cell in section["cells"]:
            d, ranks = cell["dimension"], cell["workers"]
            runs = {}
            for run in runs_of(d):
                payload = expected_payload(run.compressor, d)
                rates = [
                    rate
                    for rate in cell["rates"]
                    if expected_traffic(run, cell, payload, rate, section["round_trip"]) <= section["carried"]
                ]
                runs[run.name] = {"compressor": run.compressor, "rates": rates, **EXCHANGES[run.exchange]}
            spec = {
                "runs": runs,
                "round_trip": section["round_trip"],
                "workers": ranks,
                "batch_size": section["rank_batch"] * ranks,
                "iterations": section["iterations"],
            }
            data = {"n": section["rank_rows"] * ranks, "d": d, "noise_std": 0.1}
            found.append(Setting(NAME, cell_name(cell), data, spec, section["trials"], procedure="time_links"))
        whole = section["whole"]
        data = {"n": round(whole["ratio"] * whole["dimension"]), "d": whole["dimension"]}
        names = tuple(f"{NAME}-{trial}" for trial in range(section["trials"]))
        for run in whole_runs(whole):
            spec = {
                "compressor": run.compressor,
                "batch_size": whole["mini_batch"],
                "step_size": "optimal",
                **EXCHANGES[run.exchange],
                **{key: whole[key] for key in ("workers", "iterations", "tolerance", "record_every", "rate")},
                "round_trip": section["round_trip"],
            }
            found.append(
                Setting(NAME, run.name, data, spec, section["trials"], procedure="train_on_links", datasets=names)
            )
        return found

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Hold the seconds against the model, the bytes against what interfaces have counted."""
        section = config[NAME]
        gains: list[Verdict] = []
        exact: list[Verdict] = []
        measured, modelled = [], []
        for cell in section["cells"]:
            name = cell_name(cell)
            told = timings[name].about["trials"]
            evidence = f"traces/{NAME}/{name}.timing.parquet"
            model = Model(cell, section, results[name].table, timings[name].table, told)
            points, curves = model.points(), model.curves()
            modelled.append(curves)
            measured.append(points)
            refused = told[0]["refused"]
            exact += exactness(name, told, points, evidence) if not refused else []
            gains += gains_held(name, points, section["trials"], evidence, refused)
            gains += agreement(name, points, section["trials"], evidence) if not refused else []
        curves, whole = whole_curves(section, results, timings)
        gains += whole
        tables = {
            "timing-iterations": pd.concat(measured, ignore_index=True),
            "timing-model": pd.concat(modelled, ignore_index=True),
            "timing-curves": curves,
        }
        setting = (
            f"hosts emulated on one machine, one a rank and one for a master, TCP, a round trip of "
            f"{1e3 * section['round_trip']:g} ms, MTU {MTU}; cells of dimension and ranks "
            f"{', '.join(cell_name(cell) for cell in section['cells'])}; {section['rank_batch']} rows a rank and "
            f"iteration; at most {section['carried'] / 1e9:g} Gbit/s over all links are timed; {section['trials']} "
            f"trials; whole runs at {section['whole']['rate'] / 1e6:g} Mbit/s, d = {section['whole']['dimension']}, "
            f"K = {section['whole']['workers']}, m = {section['whole']['mini_batch']}"
        )
        budget = f"{section['iterations']} iterations; whole runs {section['whole']['iterations']}"
        return Judgement(setting, budget, {"communication": exact, "network": gains}, tables)
