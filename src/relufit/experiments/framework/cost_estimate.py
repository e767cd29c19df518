"""What a group of settings is expected to cost, for the estimate of the time that is left; nothing rests on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from relufit import theory
from relufit.compression import make_compressor
from relufit.exchange import DEFAULT, find_exchange
from relufit.experiments.framework.base import Setting

#: Seconds: the start of a job; a step of a rank beside its arithmetic; a number of a row read, drawn, and encoded.
_START, _STEP, _READ, _DRAWN, _ENCODED = 2.0, 30e-6, 0.4e-9, 6e-9, 4e-9
#: Seconds: a part of opening hosts, of a run between them, and of an iteration beside its bytes; bytes of a number.
_OPEN, _RUN, _LINK_STEP, _LINK_BYTES = 3.0, 0.7, 1.5e-3, 4.0
#: Seconds to measure the costs of a machine, twice.
_MEASURED = 35.0
_ENTROPY_CODED = {"rans": 10.0, "elias": 6.0, "auto": 10.0}


def expected_seconds(settings: Sequence[Setting]) -> float:
    """Return about how many seconds of a core the trials of some settings take, the start of their job included."""
    return _START + sum(setting.trials * (_data(setting) + _COSTS[setting.procedure](setting)) for setting in settings)


def _data(setting: Setting) -> float:
    return _DRAWN * float(setting.data.get("n", 1)) * float(setting.data["d"])


def _train(setting: Setting) -> float:
    spec, d = setting.spec, int(setting.data["d"])
    return _iterations(setting) * float(spec["workers"] * spec.get("local_steps", 1)) * _step(setting, d)


def _one_step(setting: Setting) -> float:
    return float(setting.spec["iterations"] * setting.spec["workers"]) * _step(setting, int(setting.data["d"]))


def _step(setting: Setting, d: int) -> float:
    spec = setting.spec
    batch = float(spec["batch_size"]) / float(spec["workers"])
    row = _DRAWN if spec["sampling"] == "fresh" else _READ
    coded = _ENTROPY_CODED.get(spec["compressor"].get("coding", ""), 1.0) if isinstance(spec["compressor"], dict) else 1
    return _STEP + d * (batch * row + coded * _ENCODED)


def _iterations(setting: Setting) -> float:
    """Return the iterations that theory expects to the tolerance, at most the budget."""
    spec, n, d = setting.spec, int(setting.data["n"]), int(setting.data["d"])
    budget, tolerance = float(spec["iterations"]), spec.get("tolerance")
    if tolerance is None:
        return budget
    kind = dict(spec["compressor"]) if isinstance(spec["compressor"], dict) else {"name": spec["compressor"]}
    compressor = make_compressor(kind.pop("name"), **kind)
    exchange = find_exchange(spec.get("exchange", DEFAULT))
    omega, sum_omega = exchange.variances(compressor.variance, d, int(spec["workers"]))
    if spec.get("error_feedback", False) or omega is None:
        # What is encoded keeps nearly the rate of SGD, or is not known.
        omega = sum_omega = 0.0
    known = {"omega": omega, "workers": spec["workers"], "sum_omega": sum_omega}
    step = spec["step_size"]
    m, count = spec["batch_size"], spec.get("local_steps", 1)
    step = theory.local_optimal_step(d, m, count, **known) if isinstance(step, str) else float(step)
    rate = theory.local_contraction(d, m, step, count, **known)
    if not 0 < rate < 1:
        return budget
    # On fixed data SGD is slower than on fresh samples.
    slower = 1.0 if spec["sampling"] == "fresh" else 1 / max(1 - math.sqrt(min(1.0, 2 * d / n)), 1e-3)
    return min(budget, slower * 2 * math.log(max(theory.initial_error(n, d), 1.0) / tolerance) / -math.log(rate))


def _solve(setting: Setting) -> float:
    n, d = float(setting.data["n"]), float(setting.data["d"])
    if setting.spec["solver"] == "gradient_descent":
        return float(setting.spec["iterations"]) / 3 * n * d * _READ
    return 10.0 * n * d * d * 1e-10


def _vectors(setting: Setting) -> float:
    return float(setting.spec["vectors"]) * (_STEP + float(setting.data["d"]) * 4 * _ENCODED)


def _ship(setting: Setting) -> float:
    n, d = float(setting.data["n"]), float(setting.data["d"])
    return min(n / 2, float(setting.spec["rows"] or n)) * d * d * 2e-10


def _time_links(setting: Setting) -> float:
    spec, d = setting.spec, float(setting.data["d"])
    points = [point for run in spec["runs"].values() for point in run["points"]]
    moved = sum(8 * _LINK_BYTES * d * float(spec["workers"] * iterations / rate) for rate, iterations in points)
    return _OPEN + _RUN * len(points) + moved


def _train_on_links(setting: Setting) -> float:
    spec, d = setting.spec, float(setting.data["d"])
    fresh = {**spec, "sampling": "with_replacement"}
    arithmetic = float(spec["batch_size"]) / float(spec["workers"]) * d * _READ
    return _RUN + _iterations(replace(setting, spec=fresh)) * (_LINK_STEP + arithmetic + 32 * d / float(spec["rate"]))


def _measure(setting: Setting) -> float:
    return _MEASURED


_COSTS: dict[str, Callable[[Setting], float]] = {
    "train": _train,
    "solve": _solve,
    "one_step": _one_step,
    "quantize": _vectors,
    "ship_rows": _ship,
    "measure_costs": _measure,
    "time_links": _time_links,
    "train_on_links": _train_on_links,
}
