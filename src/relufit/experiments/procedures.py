"""What a trial does: train, solve, take single steps, encode vectors, ship rows. Each is a function of its seed."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from relufit import solvers, streams
from relufit.clusters import Cluster
from relufit.compression import make_compressor
from relufit.dataset import Dataset, open_rows, shard_rows
from relufit.errors import DataError
from relufit.experiments import links, plan_costs
from relufit.experiments.base import Outcome, Setting, seed_of
from relufit.planted import PlantedModel, relative_error
from relufit.stores import inside
from relufit.training import News, Patience, Trace, TrainingSpec, train
from relufit.training.master import Master
from relufit.training.rank import Rank
from relufit.training.spec import make_plan

if TYPE_CHECKING:
    from distributed import Client

#: Told how far a run is now and then.
Tell = Callable[[News], None]
#: Distance from w* at which single steps are looked at: no row changes its side, and nothing is lost to rounding.
_NEAR = 1e-6


class Procedure(Protocol):
    """One trial of a setting."""

    def __call__(
        self,
        setting: Setting,
        seed: int,
        trial: int,
        *,
        data: str | Path,
        cluster: Cluster | None,
        tell: Tell | None,
        checkpoint: Path | None,
    ) -> Outcome:
        """Return what the trial with that number leaves.

        `data` is the folder of the data sets on disk, `checkpoint` a file from which a training run goes on.
        """


def model_of(setting: Setting, seed: int, trial: int) -> PlantedModel:
    """Return the recipe of the data of one trial."""
    return PlantedModel(**setting.data, seed=seed_of(setting, seed, "data", trial))


def _training_spec(setting: Setting, seed: int, trial: int, data: str | Path) -> TrainingSpec:
    source: Any = model_of(setting, seed, trial)
    if setting.datasets:
        path = inside(data, f"{setting.datasets[trial]}.zarr")
        Dataset(path, expected=source)
        source = path
    return TrainingSpec(dataset=source, seed=seed_of(setting, seed, "training", trial), **setting.spec)


def _train(
    setting: Setting,
    seed: int,
    trial: int,
    *,
    data: str | Path,
    cluster: Cluster | None,
    tell: Tell | None,
    checkpoint: Path | None,
) -> Outcome:
    """Train as `relufit.train` does; on a cluster the serial engine runs too, which the weights must equal."""
    spec = _training_spec(setting, seed, trial, data)
    patience = Patience(**(setting.cluster or {}).get("patience", {}))
    trace = _go_on(spec, cluster.client if cluster else None, patience, tell, checkpoint)
    oracle = train(spec) if cluster and cluster.client else None
    measured = {
        "received": trace.received,
        "uncounted": trace.uncounted,
        "faults": trace.faults,
        "weights_sha256": trace.summary["weights_sha256"],
        "serial_sha256": oracle.summary["weights_sha256"] if oracle else None,
    }
    return Outcome(trace.table, trace.summary, trace.timing, measured)


def _go_on(
    spec: TrainingSpec, client: Client | None, patience: Patience, tell: Tell | None, checkpoint: Path | None
) -> Trace:
    """Train from the checkpoint if there is one of this run, else from the beginning."""
    run = partial(train, spec, client, patience=patience, progress=tell, checkpoint=checkpoint, told=_say)
    try:
        return run()
    except DataError as refusal:
        if checkpoint is None or refusal.where != str(checkpoint):
            raise
        _say(f"{refusal.what}: the run begins anew")
        checkpoint.unlink()
        return run()


def _say(what: str) -> None:
    print(f"relufit: {what}", file=sys.stderr, flush=True)


def _solve(
    setting: Setting,
    seed: int,
    trial: int,
    *,
    data: str | Path,
    cluster: Cluster | None,
    tell: Tell | None,
    checkpoint: Path | None,
) -> Outcome:
    """Run a solver of `relufit.solvers` on all rows, from a start by name, until w* is near or its budget spent.

    The table has its ``iterations``, the relative error at the ``start`` and at the end, ``relative_error``, whether
    that ``reached`` the tolerance, and the number of ``active`` rows, those with a label above zero.
    """
    model, spec = model_of(setting, seed, trial), dict(setting.spec)
    w_star = model.weights()
    x, y = model.rows(0, model.n, w_star)
    draw = streams.generator(streams.key(seed_of(setting, seed, "start", trial), purpose="start"))
    began = perf_counter()
    start = solvers.STARTS[spec.pop("start")](x, y, w_star, draw)
    tolerance = spec.pop("tolerance")
    solver = solvers.SOLVERS[spec.pop("solver")]
    solution = solver(x, y, start, near=lambda w: relative_error(w, w_star) <= tolerance, **spec)
    error = relative_error(solution.weights, w_star)
    row = {"iterations": solution.iterations, "start": relative_error(start, w_star), "relative_error": error}
    table = pd.DataFrame([{**row, "reached": error <= tolerance, "active": np.count_nonzero(y > 0)}])
    return Outcome(table, {}, _elapsed(began), {})


def _one_step(
    setting: Setting,
    seed: int,
    trial: int,
    *,
    data: str | Path,
    cluster: Cluster | None,
    tell: Tell | None,
    checkpoint: Path | None,
) -> Outcome:
    """Take single steps from random points near w*, by the ranks and the master of a training run.

    The specification is that of a training run, whose iterations are the steps. The table has the factor on the
    squared error of each step.
    """
    spec = _training_spec(setting, seed, trial, data)
    rows = open_rows(spec.dataset)
    plan = make_plan(spec, rows)
    ranks, master = [Rank(plan, rank, rows) for rank in range(spec.workers)], Master(plan, rows.w_star)
    draw = streams.generator(streams.key(seed_of(setting, seed, "direction", trial), purpose="direction"))
    began, factors = perf_counter(), np.empty(spec.iterations)
    for iteration in range(spec.iterations):
        direction = draw.standard_normal(rows.d)
        w = rows.w_star + _NEAR / np.linalg.norm(direction) * direction
        before = relative_error(w, rows.w_star)
        master.weights[:] = w
        for rank in ranks:
            master.add(rank.step(iteration, w).payload)
        master.update()
        factors[iteration] = (master.error / before) ** 2
    return Outcome(pd.DataFrame({"factor": factors}), {"step_size": plan.step}, _elapsed(began), {})


def _quantize(
    setting: Setting,
    seed: int,
    trial: int,
    *,
    data: str | Path,
    cluster: Cluster | None,
    tell: Tell | None,
    checkpoint: Path | None,
) -> Outcome:
    """Encode and decode Gaussian vectors: directions are uniformly distributed, scales log-uniformly over an octave.

    The specification has the ``compressor`` and the number of ``vectors``. The table has, for each vector v and
    its copy q, ``error``, ||q - v||^2 / ||v||^2; ``along``, <q - v, v> / ||v||^2; ``across``, sum(q - v) / ||v||;
    and the ``bytes`` of the payload.
    """
    compressor = make_compressor(**setting.spec["compressor"])
    d, key = setting.data["d"], seed_of(setting, seed, "vectors", trial)
    draw = streams.generator(streams.key(key, purpose="vectors"))
    began, rows = perf_counter(), []
    for number in range(setting.spec["vectors"]):
        v = 2 ** draw.random() * draw.standard_normal(d)
        payload = compressor.encode(v, streams.key(key, iteration=number))
        lost = compressor.decode(payload, d) - v
        square = v @ v
        rows.append((lost @ lost / square, lost @ v / square, lost.sum() / np.sqrt(square), len(payload)))
    return Outcome(pd.DataFrame(rows, columns=["error", "along", "across", "bytes"]), {}, _elapsed(began), {})


def _ship_rows(
    setting: Setting,
    seed: int,
    trial: int,
    *,
    data: str | Path,
    cluster: Cluster | None,
    tell: Tell | None,
    checkpoint: Path | None,
) -> Outcome:
    """Send the active rows and their labels once, and solve least squares on what arrives.

    The specification has ``workers``, the ``compressor`` of rows and labels, and ``rows``, how many active rows are
    sent at most, None for all. A rank's message is their number in four bytes, the labels, and the rows one after the
    other; the master decodes it.
    """
    model, spec = model_of(setting, seed, trial), setting.spec
    w_star, compressor = model.weights(), make_compressor(**spec["compressor"])
    most = model.n if spec["rows"] is None else -(-spec["rows"] // spec["workers"])
    began, sent, inputs, labels = perf_counter(), 0, [], []
    for start, stop in shard_rows(model.n, spec["workers"]):
        x, y = model.rows(start, stop, w_star)
        active = np.flatnonzero(y > 0)[:most]
        if not active.size:
            continue
        message = (
            struct.pack("<I", active.size),
            compressor.encode(y[active], 0),
            compressor.encode(x[active].reshape(-1), 0),
        )
        sent += sum(map(len, message))
        (count,) = struct.unpack("<I", message[0])
        labels.append(compressor.decode(message[1], count))
        inputs.append(compressor.decode(message[2], count * model.d).reshape(count, model.d))
    w = np.zeros(model.d)
    if inputs:
        w = solvers.SOLVERS["least_squares"](
            np.concatenate(inputs), np.concatenate(labels), w, near=lambda w: False
        ).weights
    row = {"rows": sum(map(len, labels)), "payload_bytes": sent, "relative_error": relative_error(w, w_star)}
    return Outcome(pd.DataFrame([row]), {}, _elapsed(began), {})


def _elapsed(began: float) -> pd.DataFrame:
    return pd.DataFrame({"elapsed": [perf_counter() - began]})


PROCEDURES: dict[str, Procedure] = {
    "measure_costs": plan_costs.measure_costs,
    "time_links": links.time_links,
    "train_on_links": links.train_on_links,
    "train": _train,
    "solve": _solve,
    "one_step": _one_step,
    "quantize": _quantize,
    "ship_rows": _ship_rows,
}
