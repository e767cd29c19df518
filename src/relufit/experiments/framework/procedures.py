"""What a trial does: train, solve, take single steps, encode vectors, ship rows. Each is a function of its seed."""

from __future__ import annotations

import importlib
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from relufit import solvers, streams
from relufit.compression import make_compressor
from relufit.errors import DataError
from relufit.experiments.framework.base import Outcome, Procedure, Setting, Trial, seed_of
from relufit.numerics.blas import one_blas_thread
from relufit.planted import PlantedModel, relative_error
from relufit.planted.dataset import Dataset, open_rows, shard_rows
from relufit.planted.stores import inside
from relufit.training import Timeouts, Trace, TrainingSpec, train
from relufit.training.serial import SingleSteps
from relufit.training.spec import make_plan

#: Distance from w* at which single steps are looked at: no row changes its side, and nothing is lost to rounding.
_NEAR = 1e-6


def model_of(setting: Setting, seed: int, trial: int) -> PlantedModel:
    """Return the recipe of the data of one trial."""
    return PlantedModel(**setting.data, seed=seed_of(setting, seed, "data", trial))


def _model(trial: Trial) -> PlantedModel:
    return model_of(trial.setting, trial.seed, trial.number)


def _training_spec(trial: Trial) -> TrainingSpec:
    source: Any = _model(trial)
    setting = trial.setting
    if setting.datasets:
        path = inside(trial.data, f"{setting.datasets[trial.number]}.zarr")
        Dataset(path, expected=source)
        source = path
    return TrainingSpec(dataset=source, seed=trial.seed_of("training"), **setting.spec)


def _train(trial: Trial) -> Outcome:
    """Train as `relufit.train` does; on a cluster the serial engine runs too, which the weights must equal."""
    spec = _training_spec(trial)
    client, outcomes = trial.cluster.client if trial.cluster else None, list[Outcome]()

    def save(trace: Trace) -> None:
        outcomes.append(_outcome(trace, train(spec) if client else None))
        if trial.unfinished:
            trial.unfinished.save(outcomes[0])

    timeouts = Timeouts(**(trial.setting.cluster or {}).get("timeouts", {}))
    run = partial(train, spec, client, timeouts=timeouts, progress=trial.tell, told=_say, save=save)
    _go_on(run, trial.unfinished.checkpoint if trial.unfinished else None)
    return outcomes[0]


def _outcome(trace: Trace, oracle: Trace | None) -> Outcome:
    measured = {
        "received": trace.received,
        "uncounted": trace.uncounted,
        "faults": trace.faults,
        "weights_sha256": trace.summary["weights_sha256"],
        "serial_sha256": oracle.summary["weights_sha256"] if oracle else None,
    }
    return Outcome(trace.table, trace.summary, trace.timing, measured)


def _go_on(run: Callable[..., Trace], checkpoint: Path | None) -> None:
    """Train from the checkpoint if there is one of this run, else from the beginning."""
    try:
        run(checkpoint=checkpoint)
    except DataError as refusal:
        if checkpoint is None or refusal.where != str(checkpoint):
            raise
        _say(f"{refusal.what}: the run begins anew")
        checkpoint.unlink(missing_ok=True)
        run(checkpoint=checkpoint)


def _say(what: str) -> None:
    print(f"relufit: {what}", file=sys.stderr, flush=True)


def _solve(trial: Trial) -> Outcome:
    """Run a solver of `relufit.solvers` on all rows, from a start by name, until w* is near or its budget spent.

    The table has its ``iterations``, the relative error at the ``start`` and at the end, ``relative_error``, whether
    that ``reached`` the tolerance, and the number of ``active`` rows, those with a label above zero.
    """
    model, spec = _model(trial), dict(trial.setting.spec)
    w_star = model.weights()
    x, y = model.rows(0, model.n, w_star)
    draw = streams.generator(streams.key(trial.seed_of("start"), purpose="start"))
    began = perf_counter()
    start = solvers.STARTS[spec.pop("start")](x, y, w_star, draw)
    tolerance = spec.pop("tolerance")
    solver = solvers.SOLVERS[spec.pop("solver")]
    solution = solver(x, y, start, near=lambda w: relative_error(w, w_star) <= tolerance, **spec)
    error = relative_error(solution.weights, w_star)
    row = {"iterations": solution.iterations, "start": relative_error(start, w_star), "relative_error": error}
    table = pd.DataFrame({**row, "reached": error <= tolerance, "active": np.count_nonzero(y > 0)}, index=[0])
    return Outcome(table, {}, _elapsed(began), {})


def _one_step(trial: Trial) -> Outcome:
    """Take single steps from random points near w*, by the ranks, the exchange and the master of a training run.

    The specification is that of a training run, whose iterations are the steps. The table has the factor on the
    squared error of each step.
    """
    spec = _training_spec(trial)
    rows = open_rows(spec.dataset)
    plan = make_plan(spec, rows)
    steps = SingleSteps(plan, rows)
    draw = streams.generator(streams.key(trial.seed_of("direction"), purpose="direction"))
    began, factors = perf_counter(), np.empty(spec.iterations)
    for iteration in range(spec.iterations):
        direction = draw.standard_normal(rows.d)
        w = rows.w_star + _NEAR / np.linalg.norm(direction) * direction
        before = relative_error(w, rows.w_star)
        factors[iteration] = (steps.step(iteration, w) / before) ** 2
    return Outcome(pd.DataFrame({"factor": factors}), {"step_size": plan.step}, _elapsed(began), {})


@one_blas_thread()
def _quantize(trial: Trial) -> Outcome:
    """Encode and decode Gaussian vectors: directions are uniformly distributed, scales log-uniformly over an octave.

    The specification has the ``compressor`` and the number of ``vectors``. The table has, for each vector v and
    its copy q, ``error``, ||q - v||^2 / ||v||^2; ``along``, <q - v, v> / ||v||^2; ``across``, sum(q - v) / ||v||;
    and the ``bytes`` of the payload.
    """
    compressor = make_compressor(**trial.setting.spec["compressor"])
    d, key = trial.setting.data["d"], trial.seed_of("vectors")
    draw = streams.generator(streams.key(key, purpose="vectors"))
    began, rows = perf_counter(), []
    for number in range(trial.setting.spec["vectors"]):
        v = 2 ** draw.random() * draw.standard_normal(d)
        payload = compressor.encode(v, streams.key(key, iteration=number))
        lost = compressor.decode(payload, d) - v
        square = v @ v
        rows.append((lost @ lost / square, lost @ v / square, lost.sum() / np.sqrt(square), len(payload)))
    return Outcome(pd.DataFrame(rows, columns=["error", "along", "across", "bytes"]), {}, _elapsed(began), {})


def _ship_rows(trial: Trial) -> Outcome:
    """Send the active rows and their labels once, and solve least squares on what arrives.

    The specification has ``workers``, the ``compressor`` of rows and labels, and ``rows``, how many active rows are
    sent at most, None for all. A rank's message is their number in four bytes, the labels, and the rows one after the
    other; the master decodes it.
    """
    model, spec = _model(trial), trial.setting.spec
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
    return Outcome(pd.DataFrame(row, index=[0]), {}, _elapsed(began), {})


def _elapsed(began: float) -> pd.DataFrame:
    return pd.DataFrame({"elapsed": [perf_counter() - began]})


#: The modules of procedures that have one of their own, which is imported when the first trial runs: no other procedure
#: depends on it.
MODULES = {
    "measure_costs": "experiments.framework.plan_costs",
    "time_links": "experiments.framework.emulated_trials",
    "train_on_links": "experiments.framework.emulated_trials",
}


def _of_module(name: str) -> Procedure:
    def run(trial: Trial) -> Outcome:
        procedure = getattr(importlib.import_module(f"relufit.{MODULES[name]}"), name)
        return procedure(trial)  # type: ignore[no-any-return]

    return run


PROCEDURES: dict[str, Procedure] = {
    **{name: _of_module(name) for name in MODULES},
    "train": _train,
    "solve": _solve,
    "one_step": _one_step,
    "quantize": _quantize,
    "ship_rows": _ship_rows,
}
