"""Training between emulated hosts: a few iterations in each of several ways to time them, or whole runs.

The hosts are opened once for all trials of a group, and their links given another rate between runs.
"""

from __future__ import annotations

import json
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from relufit.experiments.framework.base import Outcome, Trial, seed_of
from relufit.planted import PlantedData, PlantedModel, generate
from relufit.planted.stores import inside
from relufit.training import Trace, TrainingSpec, train
from relufit.training.trace import TIMINGS

if TYPE_CHECKING:
    from relufit.clusters import Cluster
    from relufit.clusters.emulated import Emulated

#: The first iterations of a run do not count, one in three and these at least: connections find their pace.
_WARM_UP = 2
#: Rows of a rank in a run without a payload to speak of.
_EMPTY_ROWS = 16


def _open(cluster: Cluster | None) -> tuple[Emulated | None, str]:
    """Return the hosts, or why there are none."""
    from relufit.clusters.emulated import Emulated, Refused

    if isinstance(cluster, Emulated):
        return cluster, ""
    return None, cluster.why if isinstance(cluster, Refused) else "no hosts were asked for"


def _interfaces(cluster: Emulated) -> dict[str, int]:
    """Return what all interfaces together have counted."""
    counted = cluster.counters().values()
    return {
        "interface_bytes": sum(host["bytes_sent"] for host in counted),
        "packets": sum(host["packets_sent"] for host in counted),
        "dropped": sum(host["queue_drops"] + host["delay_drops"] for host in counted),
    }


class _Runs:
    """Runs between hosts, one after the other: nothing else is on the links between two of them."""

    def __init__(self, hosts: Emulated) -> None:
        self._hosts, self._before = hosts, _interfaces(hosts)

    def train(self, spec: TrainingSpec) -> tuple[Trace, dict[str, int | None]]:
        """Train, and return what frames and interfaces have moved meanwhile too.

        The bytes of frames are None where not all links have told their counts.
        """
        trace = train(spec, self._hosts.client)
        after = _interfaces(self._hosts)
        moved = {key: count - self._before[key] for key, count in after.items()}
        self._before = after
        return trace, {"frame_bytes": trace.received["frame_bytes"] if trace.received else None, **moved}


def _counted(trace: Trace) -> bool:
    """Tell whether the bytes counted are those that arrived, if that is known."""
    last, received = trace.table.iloc[-1], trace.received
    return received is None or all(received[name] == last[name] for name in ("uplink_bytes", "downlink_bytes"))


def _about(hosts: Emulated | None, refusal: str) -> dict[str, Any]:
    """Return what a trial has measured of the hosts it runs on."""
    if hosts is None:
        return {"refused": refusal}
    first, second = hosts.hosts[:2]
    trip = hosts.measure(second, first, 0.0)["round_trip"]
    return {"refused": "", "round_trip": trip, "cluster": hosts.describe()}


def _seconds(trace: Trace) -> dict[str, float]:
    """Return the median seconds of an iteration and of its parts."""
    first = max(_WARM_UP, (len(trace.timing) - 1) // 3)
    timing = trace.timing.iloc[1 + first :]
    whole = float(np.median(np.diff(trace.timing["elapsed"])[first:]))
    return {"seconds": whole, **{part: float(timing[part].median()) for part in TIMINGS}}


class _Serial(NamedTuple):
    """A run of the serial engine: a digest of its weights, the bytes of an iteration up and down, and its seconds."""

    weights: str
    uplink: float
    downlink: float
    parts: dict[str, float]


class _Cell:
    """The runs of a cell, and what the serial engine makes of them.

    All trials have the same rows and draws, so that one run of the serial engine is the oracle of each.

    Parameters
    ----------
    data, runs, shared : dict
        The planted data; the runs by name; what all of them have in common.
    seeds : tuple of int
        Of the data, and of the draws.
    """

    def __init__(
        self, data: dict[str, Any], runs: dict[str, dict[str, Any]], shared: dict[str, Any], seeds: tuple[int, int]
    ) -> None:
        self._runs, self._shared, self._seed = runs, shared, seeds[1]
        self._data = {**data, "seed": seeds[0]}
        self._model = PlantedModel(**self._data)
        self._oracles: dict[tuple[str, int], _Serial] = {}

    def spec(self, name: str, iterations: int) -> TrainingSpec:
        """Return a run between hosts, which make their rows themselves."""
        return self._spec(name, iterations, self._model)

    def serial(self, name: str, iterations: int) -> _Serial:
        """Run the serial engine, which has the rows at hand."""
        trace = train(self._spec(name, iterations, self._rows))
        first, last = trace.table.iloc[0], trace.table.iloc[-1]
        up, down = ((last[way] - first[way]) / last["iteration"] for way in ("uplink_bytes", "downlink_bytes"))
        return _Serial(trace.summary["weights_sha256"], up, down, _seconds(trace))

    def oracle(self, name: str, iterations: int) -> _Serial:
        """Return what the serial engine made of a run, which it is asked for once."""
        if (name, iterations) not in self._oracles:
            self._oracles[name, iterations] = self.serial(name, iterations)
        return self._oracles[name, iterations]

    @cached_property
    def _rows(self) -> PlantedData:
        return generate(**self._data)

    def _spec(self, name: str, iterations: int, rows: PlantedModel | PlantedData) -> TrainingSpec:
        parameters = {key: value for key, value in self._runs[name].items() if key != "points"}
        return TrainingSpec(dataset=rows, seed=self._seed, iterations=iterations, **self._shared, **parameters)


@lru_cache(maxsize=1)
def _cell(described: str) -> _Cell:
    """Return the cell that a JSON text describes: the trials of a cell follow each other."""
    return _Cell(**json.loads(described))


def time_links(trial: Trial) -> Outcome:
    """Run a few iterations in each of several ways, at each of several rates.

    The specification has what all runs have; ``empty``, the dimension, iterations and rate of runs in each exchange
    whose messages have next to nothing in them; and ``runs``: for each its name, its ``points``, pairs of a rate and a
    number of iterations, and what `relufit.TrainingSpec` takes. The table has the bytes of an iteration of each run, up
    and down; the timing has the seconds of an iteration and of its parts at each rate, and the bytes of frames and of
    interfaces. A run that is not timed has, at a rate of 0, the parts that the serial engine measures, for one rank.

    Trials differ in nothing but the time at which they are run, and in the order of their runs.
    """
    setting, shared = trial.setting, dict(trial.setting.spec)
    runs, empty = shared.pop("runs"), shared.pop("empty")
    seeds = [seed_of(setting, trial.seed, what, 0) for what in ("data", "training")]
    cell = _cell(json.dumps({"data": setting.data, "runs": runs, "shared": shared, "seeds": seeds}))
    hosts, refusal = _open(trial.cluster)
    about = _about(hosts, refusal)
    rows, timing, exact, faults = [], [], [], 0
    uncounted: set[str] = set()
    timed = {name: run["points"] if hosts else [] for name, run in runs.items()}
    for name, points in timed.items():
        serial = cell.oracle(name, points[0][1]) if points else cell.serial(name, 2 * _WARM_UP)
        rows.append({"run": name, "uplink_bytes": serial.uplink, "downlink_bytes": serial.downlink})
        if not points:
            timing.append({"run": name, "rate": 0.0, **_alone(serial, shared["workers"])})
    links = _Runs(hosts) if hosts else None
    for rate in sorted({rate for points in timed.values() for rate, _ in points}):
        assert hosts
        assert links
        hosts.reshape(rate=rate)
        # Runs that are compared stand side by side, and every other trial goes the other way round, so that what makes
        # the machine slower for a while makes none of them slower than another on average.
        ways = [(name, count) for name, points in timed.items() for at, count in points if at == rate]
        ways.sort(key=lambda way: runs[way[0]]["exchange"])
        for name, iterations in ways[:: -1 if trial.number % 2 else 1]:
            trace, moved = links.train(cell.spec(name, iterations))
            exact.append(_counted(trace) and trace.summary["weights_sha256"] == cell.oracle(name, iterations).weights)
            faults += len(trace.faults)
            uncounted |= set(trace.uncounted)
            timing.append({"run": name, "rate": rate, **_seconds(trace), **moved})
    if hosts and links:
        hosts.reshape(rate=empty["rate"])
        timing += _empty(links, empty, shared["workers"], seeds[1])
    measured = {
        **about,
        "exact": all(exact),
        "runs": len(exact),
        "faults": faults,
        "uncounted": sorted(uncounted),
    }
    return Outcome(pd.DataFrame(rows), {"step_size": shared["step_size"]}, pd.DataFrame(timing), measured)


def _empty(links: _Runs, empty: dict[str, Any], workers: int, seed: int) -> list[dict[str, Any]]:
    """Time each exchange of messages with next to nothing in them."""
    model, rows = PlantedModel(n=_EMPTY_ROWS * workers, d=empty["dimension"], noise_std=0.1, seed=seed), []
    for exchange in empty["exchanges"]:
        spec = TrainingSpec(
            dataset=model,
            seed=seed,
            workers=workers,
            compressor="fp32",
            batch_size=_EMPTY_ROWS * workers,
            iterations=empty["iterations"],
            exchange=exchange,
        )
        trace, moved = links.train(spec)
        rows.append({"run": f"empty-{exchange}", "rate": empty["rate"], **_seconds(trace), **moved})
    return rows


def _alone(serial: _Serial, workers: int) -> dict[str, float]:
    """Return the parts of an iteration as the serial engine has measured them, `compute` and `encode` for one rank."""
    parts = serial.parts
    return {**parts, "seconds": np.nan, "compute": parts["compute"] / workers, "encode": parts["encode"] / workers}


def train_on_links(trial: Trial) -> Outcome:
    """Train between hosts to the tolerance or the budget; without hosts, in this process, and no seconds are told.

    The specification is that of a training run, with the ``rate`` of the links. All trials have the data set named
    first.
    """
    setting = trial.setting
    parameters = {key: value for key, value in setting.spec.items() if key != "rate"}
    asked = TrainingSpec(
        dataset=inside(trial.data, f"{setting.datasets[0]}.zarr"),
        seed=trial.seed_of("training"),
        **parameters,
    )
    hosts, refusal = _open(trial.cluster)
    measured: dict[str, Any] = {**_about(hosts, refusal), "counted": True, "faults": 0, "uncounted": []}
    if hosts is None:
        trace = train(asked)
        return Outcome(trace.table, trace.summary, trace.timing.assign(elapsed=np.nan), measured)
    hosts.reshape(rate=setting.spec["rate"])
    trace, moved = _Runs(hosts).train(asked)
    measured |= {"counted": _counted(trace), "faults": len(trace.faults), "uncounted": list(trace.uncounted), **moved}
    return Outcome(trace.table, trace.summary, trace.timing, measured)
