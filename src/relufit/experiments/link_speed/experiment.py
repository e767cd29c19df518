"""Seconds between hosts: what compression gains on links of several speeds, and how fast whole runs come to w*.

Hosts are emulated on this machine: processes in networks of their own, real TCP over links with a rate and a round
trip. An iteration is timed at rates that the machine can carry; the alpha-beta model of `relufit.theory.network`, with
the costs of computing, encoding, decoding and messages measured in the same runs, is laid over it and goes on beyond.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict
from relufit.clusters.emulated.shaping import MTU
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.plan_costs import machine_of, measured_costs
from relufit.experiments.link_speed.model import EMPTY, Model
from relufit.experiments.link_speed.planned import best_ways, held, planned, speed_up
from relufit.experiments.link_speed.runs import cell_name, points_of, runs_of, whole_runs
from relufit.experiments.link_speed.tables import curves_of, iterations_of
from relufit.experiments.link_speed.verdicts import agreement, exactness, gains, reached, refused, same

NAME = "link_speed"
#: Iterations of a run whose messages have next to nothing in them.
_EMPTY_ITERATIONS = 60
#: So small that rows that are active stay so: a gradient of zero is sent as a header alone.
_STEP = 1e-9


class LinkSpeed:
    """The experiment ``link_speed``."""

    NAME = NAME
    TITLE = "What compression gains on links of several speeds"
    QUESTION = "Between hosts, how much faster is QSGD than SGD, and does it keep its convergence?"
    PREDICTION = (
        "the alpha-beta model (relufit.exchange.Exchange.iteration), with computing, encoding, decoding and the "
        "overhead of a message as measured in the same runs: seconds of an iteration are those of the work, of half "
        "round trips, of messages, and of bytes over the rate"
    )
    TIMED = True
    TABLES = ("timing-iterations", "timing-model", "timing-curves", "timing-plan", "timing-plan-speed-up", "timing-map")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell of dimension and ranks, and one for each run on rows from disk.

        Those with as many ranks have the same hosts.
        """
        section, settings = config[NAME], []
        for cell in section["cells"]:
            d, ranks = cell["dimension"], cell["workers"]
            spec = {
                "runs": {
                    run.name: {
                        "compressor": run.compressor,
                        "points": points_of(run, cell, section),
                        "exchange": run.exchange,
                    }
                    for run in runs_of(d, section["exchanges"])
                },
                "empty": {
                    "dimension": EMPTY,
                    "iterations": _EMPTY_ITERATIONS,
                    "rate": max(cell["rates"]),
                    "exchanges": section["exchanges"],
                },
                "workers": ranks,
                "batch_size": section["rank_batch"] * ranks,
                "step_size": _STEP,
            }
            data = {"n": section["rank_rows"] * ranks, "d": d, "noise_std": 0.1}
            settings.append(
                Setting(
                    NAME,
                    cell_name(cell),
                    data,
                    spec,
                    section["trials"],
                    procedure="time_links",
                    group=f"iterations-K{ranks}",
                    cluster=_hosts(section),
                )
            )
        return [*settings, *self._whole(section), measured_costs(NAME)]

    def _whole(self, section: Mapping[str, Any]) -> list[Setting]:
        whole = section["whole"]
        data = {"n": round(whole["ratio"] * whole["dimension"]), "d": whole["dimension"]}
        shared = {key: whole[key] for key in ("workers", "record_every")}
        return [
            Setting(
                NAME,
                name,
                data,
                {
                    "compressor": run.compressor,
                    "batch_size": whole["mini_batch"],
                    "step_size": "optimal",
                    "tolerance": whole["tolerance"],
                    "iterations": iterations,
                    "rate": rate,
                    **shared,
                    "exchange": run.exchange,
                },
                whole["trials"],
                procedure="train_on_links",
                group="runs",
                datasets=(NAME,),
                cluster=_hosts(section),
            )
            for name, run, rate, iterations, _ in whole_runs(whole)
        ]

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Hold the seconds against the model, the bytes against what interfaces have counted."""
        section = config[NAME]
        network: list[Verdict] = []
        exact: list[Verdict] = []
        seconds: list[Verdict] = []
        measured, modelled, messages, plans = [], [], {}, []
        machine = machine_of(timings["costs"].about["trials"])
        for cell in section["cells"]:
            name, ranks = cell_name(cell), cell["workers"]
            reports = timings[name].about["trials"]
            evidence, trials = f"traces/{NAME}/iterations-K{ranks}.timing.parquet", section["trials"]
            uplink = results[name].table.groupby("run")["uplink_bytes"].mean()
            model = Model(cell, uplink, timings[name].table, **_known(reports, section))
            messages[ranks] = model.messages
            points = model.points()
            measured.append(points)
            modelled.append(model.curves())
            if reports[0]["refused"]:
                network.append(refused("seconds between hosts", name, evidence, reports[0]["refused"]))
                seconds.append(refused("seconds of an iteration, modelled", name, evidence, reports[0]["refused"]))
                continue
            exact += exactness(name, reports, points, evidence)
            network += gains(name, points, trials, evidence)
            seconds += agreement(name, points, trials, evidence)
            plans.append(planned(machine, points, cell, section["rank_batch"], _known(reports, section)["round_trip"]))
            seconds += held(name, plans[-1], trials, evidence)
        whole = section["whole"]
        reports = timings[whole_runs(whole)[0].name].about["trials"]
        uplink, iterations = iterations_of(whole, results, timings)
        known = {**_known(reports, section), "messages": messages.get(whole["workers"])}
        model = Model(whole, uplink, iterations, **known)
        points, evidence = model.points(), f"traces/{NAME}/runs.timing.parquet"
        measured.append(points)
        curves = curves_of(whole, results, timings, model)
        if reports[0]["refused"]:
            name = f"{cell_name(whole)}, rows from disk"
            network.append(refused("seconds to the error between hosts", name, evidence, reports[0]["refused"]))
        else:
            exact += same(whole, results, timings, points, evidence)
            seconds += agreement(f"{cell_name(whole)}, rows from disk", points, whole["trials"], evidence)
            rows = -(-whole["mini_batch"] // whole["workers"])
            plans.append(planned(machine, points, whole, rows, known["round_trip"]))
            seconds += held(f"{cell_name(whole)}, rows from disk", plans[-1], whole["trials"], evidence)
            network += reached(whole, results, points, evidence)
        plan = pd.concat(plans, ignore_index=True) if plans else planned(machine, points, whole, 1, 0.0)
        tables = {
            "timing-iterations": pd.concat(measured, ignore_index=True),
            "timing-model": pd.concat(modelled, ignore_index=True),
            "timing-curves": curves,
            "timing-plan": plan,
            "timing-plan-speed-up": speed_up(machine, plan, section),
            "timing-map": best_ways(machine, section),
        }
        setting = (
            f"hosts emulated on one machine, one a rank and one for a master, TCP, a round trip of "
            f"{1e3 * section['round_trip']:g} ms, MTU {MTU}; cells of dimension and ranks "
            f"{', '.join(cell_name(cell) for cell in section['cells'])}; {section['rank_batch']} rows a rank and "
            f"iteration; at most {section['carried'] / 1e9:g} Gbit/s over all links, and {section['longest']:g} s an "
            f"iteration, are timed; {section['trials']} trials; rows from disk with {cell_name(whole)}, "
            f"n/d = {whole['ratio']:g}, m = {whole['mini_batch']}, {whole['trials']} trials"
        )
        least, most = section["iterations"]
        budget = f"{least} to {most} iterations; whole runs {whole['iterations']}"
        return Judgement(
            setting,
            budget,
            {Topic.COMMUNICATION: exact, Topic.NETWORK: network, Topic.MODELLED_SECONDS: seconds},
            tables,
        )


def _hosts(section: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "emulated", "emulated": {"round_trip": section["round_trip"], "required": False}}


def _known(reports: list[dict[str, Any]], section: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model is told beside measurements: what trials have found out about the hosts, and exchanges."""
    trips = pd.Series([report["round_trip"] for report in reports if not report["refused"]], dtype=float)
    round_trip = section["round_trip"] if trips.empty else float(trips.median())
    return {"round_trip": round_trip, "exchanges": section["exchanges"]}
