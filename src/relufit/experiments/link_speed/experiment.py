"""Seconds between hosts: what compression gains on links of several speeds, and how fast whole runs come to w*.

Hosts are emulated on this machine: processes in networks of their own, real TCP over links with a rate and a round
trip. An iteration is timed at rates that the machine can carry; the alpha-beta model of `relufit.theory.network`, with
the costs of computing, encoding, decoding and messages measured in the same runs, is laid over it and goes on beyond.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict
from relufit.clusters.emulated.shaping import MTU
from relufit.experiments.framework.base import Judgement, Setting
from relufit.experiments.framework.plan_costs import machine_of, measured_costs
from relufit.experiments.link_speed.model import EMPTY, Model
from relufit.experiments.link_speed.overlap import ahead_runs, cell_of, computed_ahead, name_of, saved
from relufit.experiments.link_speed.payoff import agreeing, marked, measured_gains
from relufit.experiments.link_speed.planned import best_ways, held, planned, speed_up, together
from relufit.experiments.link_speed.runs import (
    QUANTIZED,
    SIGNS,
    Run,
    cell_name,
    points_of,
    runs_of,
    whole_runs,
)
from relufit.experiments.link_speed.scaling import cells_of, scaled, scaled_runs
from relufit.experiments.link_speed.tables import curves_of, iterations_of
from relufit.experiments.link_speed.verdicts import agreement, exactness, gains, quicker, reached, refused, same

NAME = "link_speed"
#: Iterations of a run whose messages have next to nothing in them.
_EMPTY_ITERATIONS = 60
#: So small that rows that are active stay so: a gradient of zero is sent as a header alone.
_STEP = 1e-9
#: What is not measured where there are no hosts.
_MODELLED = "seconds of an iteration, modelled"


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
    TABLES = (
        "timing-iterations", "timing-model", "timing-curves", "timing-plan", "timing-plan-speed-up", "timing-map",
        "timing-scaling", "timing-gains", "timing-overlap",
    )  # fmt: skip

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell of dimension and ranks, and one for each run on rows from disk.

        Those with as many ranks have the same hosts.
        """
        section = config[NAME]
        counts, exchanges = {cell["workers"] for cell in section["cells"]}, section["exchanges"]
        settings = []
        for cell in section["cells"]:
            own = cell.get("exchanges", exchanges)
            runs = _timed(runs_of(cell["dimension"], own), cell, section)
            settings.append(self._iterations(cell_name(cell), cell, runs, own, section))
        for cell in cells_of(section["scaling"]):
            ways = list(scaled_runs(section["scaling"]))
            # What a message takes is known from the cells above, if they have as many ranks.
            known = exchanges if cell["workers"] in counts else []
            unknown = dict.fromkeys(run.exchange for run in ways if run.exchange not in known)
            runs = _timed(ways, cell, section)
            settings.append(self._iterations(cell_name(cell), cell, runs, list(unknown), section))
        overlap = section["overlap"]
        cell, runs = cell_of(overlap), ahead_runs(overlap, section["iterations"][1])
        unknown = [] if cell["workers"] in counts else overlap["exchanges"]
        settings.append(self._iterations(name_of(overlap), cell, runs, unknown, section))
        return [*settings, *self._whole(section), measured_costs(NAME)]

    def _iterations(
        self,
        name: str,
        cell: Mapping[str, Any],
        runs: dict[str, dict[str, Any]],
        empty: Sequence[str],
        section: Mapping[str, Any],
    ) -> Setting:
        """Return the setting in which iterations of a cell are timed, and messages in the exchanges of `empty`."""
        ranks, batch = cell["workers"], cell.get("rank_batch", section["rank_batch"])
        # Without replacement a rank of which most rows are not active has an active one all the same: a gradient of
        # zero is sent as a header alone.
        sampling = "reshuffled" if batch <= section["rank_rows"] else "with_replacement"
        spec = {
            "runs": runs,
            "empty": {
                "dimension": EMPTY,
                "iterations": _EMPTY_ITERATIONS,
                "rate": max(cell["rates"]),
                "exchanges": list(empty),
            },
            "workers": ranks,
            "batch_size": batch * ranks,
            "sampling": sampling,
            # Known to all ranks, which spares an exchange of moments; half of the rows are active there.
            "initial_weights": "- w*",
            "step_size": _STEP,
        }
        return Setting(
            NAME,
            name,
            {"n": section["rank_rows"] * ranks, "d": cell["dimension"], "noise_std": 0.1},
            spec,
            _trials(cell, section),
            procedure="time_links",
            group=f"iterations-K{ranks}",
            cluster=_hosts(section),
        )

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
                    **run.options,
                    "batch_size": whole["mini_batch"],
                    "step_size": "optimal",
                    "tolerance": whole["tolerance"],
                    "iterations": iterations,
                    "rate": rate,
                    **shared,
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
        judging = _Judging(section, results, timings)
        for cell in section["cells"]:
            judging.add_cell(cell)
        for cell in cells_of(section["scaling"]):
            judging.add_scaled(cell)
        judging.add_overlap()
        judging.add_whole()
        whole = section["whole"]
        setting = (
            f"hosts emulated on one machine, one a rank and one for a master, TCP, a round trip of "
            f"{1e3 * section['round_trip']:g} ms, MTU {MTU}; cells of dimension and ranks "
            f"{', '.join(cell_name(cell) for cell in section['cells'])}; {section['rank_batch']} rows a rank and "
            f"iteration; at most {section['carried'] / 1e9:g} Gbit/s over all links, and {section['longest']:g} s an "
            f"iteration, are timed; {_count_trials(section)}; rows from disk with {cell_name(whole)}, "
            f"n/d = {whole['ratio']:g}, m = {whole['mini_batch']}, {whole['trials']} trials"
        )
        least, most = section["iterations"]
        budget = f"{least} to {most} iterations; whole runs {whole['iterations']}"
        return Judgement(setting, budget, judging.verdicts, judging.tables())


def _trials(cell: Mapping[str, Any], section: Mapping[str, Any]) -> int:
    """Return the number of trials of a cell."""
    return int(cell.get("trials", section["trials"]))


def _count_trials(section: Mapping[str, Any]) -> str:
    """Return how many trials there are, in words."""
    others = [f"{cell['trials']} with {cell_name(cell)}" for cell in section["cells"] if "trials" in cell]
    return ", ".join([f"{section['trials']} trials", *others])


class _Judging:
    """The verdicts and tables, as cells and runs are added."""

    def __init__(
        self, section: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> None:
        self._section, self._results, self._timings = section, results, timings
        self._machine = machine_of(timings["costs"].about["trials"])
        self._network, self._exact, self._seconds = list[Verdict](), list[Verdict](), list[Verdict]()
        self._measured, self._modelled = list[pd.DataFrame](), list[pd.DataFrame]()
        self._plans, self._scaled, self._gains = list[pd.DataFrame](), list[pd.DataFrame](), list[pd.DataFrame]()
        self._curves, self._ahead = pd.DataFrame(), pd.DataFrame()
        #: Seconds of a message by exchange, by the number of ranks.
        self._messages: dict[int, Mapping[str, float]] = {}

    @property
    def verdicts(self) -> dict[Topic, list[Verdict]]:
        """The verdicts by topic."""
        return {
            Topic.COMMUNICATION: self._exact,
            Topic.NETWORK: self._network,
            Topic.MODELLED_SECONDS: self._seconds,
        }

    def add_cell(self, cell: Mapping[str, Any]) -> None:
        """Hold a cell's bytes against the interfaces', gains and seconds against the model, seconds against a plan."""
        name, ranks, trials = cell_name(cell), cell["workers"], _trials(cell, self._section)
        reports, evidence, model = self._iterations(cell)
        self._messages[ranks] = {**self._messages.get(ranks, {}), **model.messages}
        points = model.points()
        self._measured.append(points)
        self._modelled.append(model.curves())
        if reports[0]["refused"]:
            self._network.append(refused("seconds between hosts", name, evidence, reports[0]["refused"]))
            self._seconds.append(refused(_MODELLED, name, evidence, reports[0]["refused"]))
            return
        self._exact += exactness(name, reports, points, evidence)
        self._network += gains(name, points, trials, evidence, QUANTIZED)
        self._seconds += gains(name, points, trials, evidence, SIGNS)
        self._seconds += agreement(name, points, trials, evidence)
        trip = _known(reports, self._section)["round_trip"]
        self._plans.append(planned(self._machine, points, cell, self._section["rank_batch"], trip))
        self._seconds += held(name, self._plans[-1], trials, evidence)
        self._gains.append(measured_gains(self._machine, self._plans[-1], trip))
        self._seconds += agreeing(name, self._gains[-1], trials, evidence)

    def add_scaled(self, cell: Mapping[str, Any]) -> None:
        """Hold bytes against the interfaces' and seconds against a plan, in a cell with samples of its own."""
        name, trials = cell_name(cell), _trials(cell, self._section)
        reports, evidence, model = self._iterations(cell)
        if reports[0]["refused"]:
            self._seconds.append(refused(_MODELLED, name, evidence, reports[0]["refused"]))
            return
        points, trip = model.points(), _known(reports, self._section)["round_trip"]
        self._exact += exactness(name, reports, points, evidence)
        self._scaled.append(planned(self._machine, points, cell, cell["rank_batch"], trip))
        self._seconds += held(name, self._scaled[-1], trials, evidence)

    def add_overlap(self) -> None:
        """Hold bytes against the interfaces', and the gain of gradients that are computed ahead against the model's."""
        overlap = self._section["overlap"]
        name, ranks = name_of(overlap), overlap["workers"]
        reports, evidence = self._timings[name].about["trials"], _evidence(ranks)
        if reports[0]["refused"]:
            self._seconds.append(refused(_MODELLED, name, evidence, reports[0]["refused"]))
            return
        timing = self._timings[name].table
        trip, messages = _known(reports, self._section)["round_trip"], self._messages.get(ranks)
        self._ahead = computed_ahead(overlap, self._results[name], timing, trip, messages)
        self._exact += exactness(name, reports, timing[timing["rate"] == overlap["rate"]], evidence)
        self._seconds += saved(name, overlap, self._ahead, self._section["trials"], evidence)

    def _iterations(self, cell: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str, Model]:
        """Return what the trials of a cell have told, where their seconds are, and the model of them."""
        name, ranks = cell_name(cell), cell["workers"]
        reports = self._timings[name].about["trials"]
        uplink = self._results[name].table.groupby("run")["uplink_bytes"].mean()
        known = {**_known(reports, self._section), "messages": self._messages.get(ranks)}
        known["exchanges"] = cell.get("exchanges", known["exchanges"])
        model = Model(cell, uplink, self._timings[name].table, **known)
        return reports, _evidence(ranks), model

    def add_whole(self) -> None:
        """Hold runs on rows from disk against each other, against the model and against a plan."""
        whole, results, timings = self._section["whole"], self._results, self._timings
        reports = timings[whole_runs(whole)[0].name].about["trials"]
        uplink, iterations = iterations_of(whole, results, timings)
        known = {**_known(reports, self._section), "messages": self._messages.get(whole["workers"])}
        model = Model(whole, uplink, iterations, **known)
        points, evidence = model.points(), f"traces/{NAME}/runs.timing.parquet"
        self._measured.append(points)
        self._curves = curves_of(whole, results, timings, model)
        name = f"{cell_name(whole)}, rows from disk"
        if reports[0]["refused"]:
            statistic = "seconds to the error between hosts"
            self._network.append(refused(statistic, name, evidence, reports[0]["refused"]))
            return
        self._exact += same(whole, results, timings, points, evidence)
        self._seconds += agreement(name, points, whole["trials"], evidence)
        rows = -(-whole["mini_batch"] // whole["workers"])
        self._plans.append(planned(self._machine, points, whole, rows, known["round_trip"]))
        self._seconds += held(name, self._plans[-1], whole["trials"], evidence)
        self._network.append(reached(whole, results, evidence))
        self._network += quicker(whole, results, points, evidence, QUANTIZED)
        self._seconds += quicker(whole, results, points, evidence, SIGNS)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables of the experiment."""
        section, machine = self._section, self._machine
        plan = together(self._plans)
        gains_had = pd.concat(self._gains, ignore_index=True) if self._gains else measured_gains(machine, plan, 0.0)
        return {
            "timing-iterations": pd.concat(self._measured, ignore_index=True),
            "timing-model": pd.concat(self._modelled, ignore_index=True),
            "timing-curves": self._curves,
            "timing-plan": plan,
            "timing-plan-speed-up": speed_up(machine, plan, section),
            "timing-map": marked(best_ways(machine, section), gains_had),
            "timing-scaling": scaled(machine, together(self._scaled), section["scaling"], section["round_trip"]),
            "timing-gains": gains_had,
            "timing-overlap": self._ahead,
        }


def _timed(runs: Iterable[Run], cell: Mapping[str, Any], section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is timed in a cell, by name, with its points."""
    return {run.name: {**run.options, "points": points_of(run, cell, section)} for run in runs}


def _evidence(ranks: int) -> str:
    return f"traces/{NAME}/iterations-K{ranks}.timing.parquet"


def _hosts(section: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "emulated", "emulated": {"round_trip": section["round_trip"], "required": False}}


def _known(reports: list[dict[str, Any]], section: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model is told beside measurements: what trials have found out about the hosts, and exchanges."""
    trips = pd.Series([report["round_trip"] for report in reports if not report["refused"]], dtype=float)
    round_trip = section["round_trip"] if trips.empty else float(trips.median())
    return {"round_trip": round_trip, "exchanges": section["exchanges"]}
