"""Training between hosts whose links have a rate and a round trip: seconds of iterations, and of whole runs.

The hosts are emulated on this machine, with real connections over shaped links. Where the system does not allow that,
only what the serial engine gives is there, and the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from relufit.errors import ClusterError
from relufit.experiments.base import Outcome, Setting, seed_of
from relufit.planted import PlantedModel
from relufit.stores import inside
from relufit.training import Trace, TrainingSpec, train
from relufit.training.trace import TIMINGS

if TYPE_CHECKING:
    from relufit.clusters import Cluster
    from relufit.clusters.emulated import Emulated

#: The first iterations of a run do not count: connections find their pace.
_WARM_UP = 4


@contextmanager
def _hosts(rate: float, round_trip: float, workers: int) -> Iterator[tuple[Emulated | None, str]]:
    """Open the hosts, or say why there are none."""
    from relufit.clusters.emulated import open_emulated, probe

    try:
        probe().require(delay=round_trip > 0, loss=False)
    except ClusterError as refusal:
        yield None, str(refusal)
        return
    with open_emulated({"rate": rate, "round_trip": round_trip}, workers) as cluster:
        yield cluster, ""


def _interfaces(cluster: Emulated) -> dict[str, int]:
    """Return what all interfaces together have counted."""
    counted = cluster.counters().values()
    return {
        "interface_bytes": sum(host["bytes_sent"] for host in counted),
        "packets": sum(host["packets_sent"] for host in counted),
        "dropped": sum(host["queue_drops"] + host["delay_drops"] for host in counted),
    }


def _train(spec: TrainingSpec, hosts: Emulated) -> tuple[Trace, dict[str, int | None]]:
    """Train between hosts, and return what frames and interfaces have moved meanwhile too.

    The bytes of frames are None where not all links have told their counts.
    """
    before = _interfaces(hosts)
    trace = train(spec, hosts.client)
    moved = {key: after - before[key] for key, after in _interfaces(hosts).items()}
    return trace, {"frame_bytes": trace.received["frame_bytes"] if trace.received else None, **moved}


def _counted(trace: Trace, oracle: Trace) -> bool:
    """Tell whether the weights are those of the serial engine, and the bytes those that arrived, if that is known."""
    last, received = trace.table.iloc[-1], trace.received
    return trace.weights.tobytes() == oracle.weights.tobytes() and (
        received is None or all(received[name] == last[name] for name in ("uplink_bytes", "downlink_bytes"))
    )


def _seconds(trace: Trace) -> dict[str, float]:
    """Return the median seconds of an iteration and of its parts."""
    timing = trace.timing.iloc[1 + _WARM_UP :]
    whole = float(np.median(np.diff(trace.timing["elapsed"])[_WARM_UP:]))
    return {"seconds": whole, **{part: float(timing[part].median()) for part in TIMINGS}}


def time_links(
    setting: Setting,
    seed: int,
    trial: int,
    *,
    data: str | Path,
    cluster: Cluster | None,
    tell: object,
    checkpoint: Path | None,
) -> Outcome:
    """Run a few iterations in each of several ways, at each of several rates.

    The specification has what all runs have, the ``round_trip``, and ``runs``: for each its name, its ``rates`` and
    what `relufit.TrainingSpec` takes. The table has the ``bytes`` of an iteration of each run, up and down; the
    timing has the seconds of an iteration and of its parts at each rate, and the bytes of frames and of interfaces.
    Without hosts it has, at a rate of 0, the parts that the serial engine measures, for one rank.
    """
    shared, rows, timing, exact, faults, uncounted = dict(setting.spec), [], [], [], 0, set[str]()
    runs: dict[str, dict[str, Any]] = shared.pop("runs")
    round_trip, workers = shared.pop("round_trip"), shared["workers"]
    rates = sorted({rate for run in runs.values() for rate in run["rates"]})
    model = PlantedModel(**setting.data, seed=seed_of(setting, seed, "data", trial))
    specs = {
        name: TrainingSpec(
            dataset=model,
            seed=seed_of(setting, seed, "training", trial),
            **shared,
            **{key: value for key, value in run.items() if key != "rates"},
        )
        for name, run in runs.items()
    }
    oracles = {name: train(spec) for name, spec in specs.items()}
    for name, oracle in oracles.items():
        first, last = oracle.table.iloc[0], oracle.table.iloc[-1]
        steps = last["iteration"]
        up, down = ((last[f"{way}_bytes"] - first[f"{way}_bytes"]) / steps for way in ("uplink", "downlink"))
        rows.append({"run": name, "uplink_bytes": up, "downlink_bytes": down})
    with _hosts(rates[0] if rates else 1e9, round_trip, workers) as (hosts, refusal):
        if hosts is None:
            timing = [{"run": name, "rate": 0.0, **_alone(oracles[name], workers)} for name in runs]
        else:
            for rate in rates:
                hosts.reshape(rate=rate)
                for name in [name for name, run in runs.items() if rate in run["rates"]]:
                    trace, moved = _train(specs[name], hosts)
                    exact.append(_counted(trace, oracles[name]))
                    faults += len(trace.faults)
                    uncounted |= set(trace.uncounted)
                    timing.append({"run": name, "rate": rate, **_seconds(trace), **moved})
        described = hosts.describe() if hosts else {}
    measured = {
        "refused": refusal,
        "exact": all(exact),
        "runs": len(exact),
        "faults": faults,
        "uncounted": sorted(uncounted),
        "cluster": described,
    }
    return Outcome(pd.DataFrame(rows), {"step": "optimal"}, pd.DataFrame(timing), measured)


def _alone(oracle: Trace, workers: int) -> dict[str, float]:
    """Return the parts of an iteration as the serial engine has measured them, `compute` and `encode` for one rank."""
    parts = _seconds(oracle)
    return {**parts, "seconds": np.nan, "compute": parts["compute"] / workers, "encode": parts["encode"] / workers}


def train_on_links(
    setting: Setting,
    seed: int,
    trial: int,
    *,
    data: str | Path,
    cluster: Cluster | None,
    tell: object,
    checkpoint: Path | None,
) -> Outcome:
    """Train between hosts to the tolerance; without hosts, in this process, and no seconds are told.

    The specification is that of a training run, with the ``rate`` and the ``round_trip`` of the links.
    """
    spec: Mapping[str, Any] = {key: value for key, value in setting.spec.items() if key not in ("rate", "round_trip")}
    asked = TrainingSpec(
        dataset=inside(data, f"{setting.datasets[trial]}.zarr"),
        seed=seed_of(setting, seed, "training", trial),
        **spec,
    )
    oracle = train(asked)
    measured: dict[str, Any]
    with _hosts(setting.spec["rate"], setting.spec["round_trip"], asked.workers) as (hosts, refusal):
        if hosts is None:
            measured = {"refused": refusal, "exact": True, "faults": 0, "uncounted": []}
            return Outcome(oracle.table, oracle.summary, oracle.timing.assign(elapsed=np.nan), measured)
        trace, moved = _train(asked, hosts)
        measured = {
            "refused": "",
            "exact": _counted(trace, oracle),
            "faults": len(trace.faults),
            "uncounted": list(trace.uncounted),
            "cluster": hosts.describe(),
            **moved,
        }
    return Outcome(trace.table, trace.summary, trace.timing, measured)
