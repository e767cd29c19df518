"""Runs of SGD and of quantized SGD side by side: what experiments on them share.

A section of the configuration has ``dimension``, ``ratio``, ``workers``, ``mini_batch``, ``bucket_size``,
``sampling``, ``tolerance``, ``iterations``, ``record_every`` and ``trials``. Each run is at the step that is optimal
for the omega of its compressor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from relufit import theory
from relufit.claims.statistics import mean_interval
from relufit.claims.verdict import Verdict, judge
from relufit.compression import Compressor, make_compressor
from relufit.compression.lengths import payload_bits
from relufit.errors import ConfigError
from relufit.exchange import DEFAULT, Role, find_exchange
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.counted_exchanges import payload_bytes
from relufit.experiments.framework.procedures import model_of


class Spectrum(NamedTuple):
    """What `relufit.theory.fixed_data_curve` takes of the data, as of `relufit.theory.instance_spectrum`."""

    eigenvalues: np.ndarray
    weights: np.ndarray
    initial_error_squared: np.ndarray


def qsgd(section: Mapping[str, Any], levels: int, coding: str) -> dict[str, Any]:
    """Return QSGD with the buckets of a section, as `relufit.TrainingSpec` takes it."""
    return {"name": "qsgd", "levels": levels, "coding": coding, "bucket_size": section["bucket_size"]}


def sgd_or_qsgd(section: Mapping[str, Any], levels: int | None, plain: str = "fp64") -> dict[str, Any]:
    """Return QSGD with one norm of the whole gradient, or for None levels the cast that SGD sends."""
    return {"name": plain} if levels is None else {"name": "qsgd", "levels": levels, "coding": section["coding"]}


def max_norm(levels: int, coding: str) -> dict[str, Any]:
    """Return QSGD with the largest magnitude in place of the l2 norm, of the whole gradient."""
    return {"name": "qsgd", "levels": levels, "coding": coding, "norm": "max"}


def compressors(section: Mapping[str, Any], plain: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the compressors of a section with ``levels``, ``coding`` and ``other_codings``, by names of settings.

    The plain ones come first, then QSGD in the section's coding, then in the others.
    """
    specs: dict[str, dict[str, Any]] = {f"sgd-{name}": {"name": name} for name in plain}
    for coding in dict.fromkeys([section["coding"], *section["other_codings"]]):
        ending = "" if coding == section["coding"] else f"-{coding}"
        for levels in section["levels"]:
            specs[f"qsgd-s{levels}{ending}"] = qsgd(section, levels, coding)
    return specs


def planted(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a section's settings."""
    d = section["dimension"]
    return {"n": round(section["ratio"] * d), "d": d}


def training(section: Mapping[str, Any], compressor: str | dict[str, Any]) -> dict[str, Any]:
    """Return the specification of a section's runs with one compressor."""
    taken = ("workers", "iterations", "tolerance", "sampling", "record_every")
    return {
        "compressor": compressor,
        "batch_size": section["mini_batch"],
        "step_size": "optimal",
        **{key: section[key] for key in taken},
    }


def fresh_training(
    section: Mapping[str, Any], compressor: str | dict[str, Any], due: float, **cell: int
) -> dict[str, Any]:
    """Return the specification of a run on fresh samples that records its state about ``points`` times.

    Parameters
    ----------
    section : mapping
        Of the configuration, with ``points`` in place of ``sampling`` and ``record_every``.
    compressor : str or dict
    due : float
        The iterations that are predicted to the tolerance.
    **cell : int
        ``workers`` and ``mini_batch`` where they are not those of the section.
    """
    every = max(1, int(due / section["points"]))
    return training({**section, "sampling": "fresh", "record_every": every, **cell}, compressor)


def make(compressor: dict[str, Any]) -> Compressor:
    """Return the compressor of a specification."""
    parameters = dict(compressor)
    return make_compressor(parameters.pop("name"), **parameters)


def omega_of(compressor: dict[str, Any], d: int) -> float:
    """Return the relative variance of a compressor.

    Raises
    ------
    ConfigError
        If it is biased: without error feedback nothing is predicted of it.
    """
    omega = make(compressor).variance(d)
    if omega is None:
        raise _biased(compressor)
    return omega


def variances_of(compressor: dict[str, Any], exchange: str, d: int, workers: int) -> dict[str, Any]:
    """Return a compressor's variances in an exchange, as the formulas of `relufit.theory` take them.

    Raises
    ------
    ConfigError
        If it is biased: without error feedback nothing is predicted of it.
    """
    omega, sum_omega = find_exchange(exchange).variances(make(compressor).variance, d, workers)
    if omega is None:
        raise _biased(compressor)
    return {"omega": omega, "workers": workers, "sum_omega": sum_omega}


def _biased(compressor: dict[str, Any]) -> ConfigError:
    return ConfigError(
        f"{compressor['name']} is biased: without error feedback no rate is known",
        where="compressor",
        remedy="choose an unbiased compressor",
    )


def is_long(section: Mapping[str, Any], compressor: dict[str, Any]) -> bool:
    """Return whether theory expects more iterations, on fresh samples, than the section calls a long run."""
    d, start = section["dimension"], theory.initial_error(**planted(section))
    due = theory.iterations_fresh(
        d,
        section["mini_batch"],
        start,
        section["tolerance"],
        omega=omega_of(compressor, d),
        workers=section["workers"],
    )
    return bool(due > section["long_runs"]["iterations"])


def trials_of(section: Mapping[str, Any], compressor: dict[str, Any]) -> int:
    """Return the trials of a setting: fewer of a long run, whose iterations vary little from trial to trial."""
    trials: int = section["trials"]
    return min(trials, section["long_runs"]["trials"]) if is_long(section, compressor) else trials


def spectra_of(settings: Sequence[Setting], seed: int) -> list[Spectrum]:
    """Return the spectrum of each trial's own data, for settings that share their data."""
    longest = max(settings, key=lambda setting: setting.trials)
    spectra = []
    for trial in range(longest.trials):
        model = model_of(longest, seed, trial)
        w_star = model.weights()
        spectra.append(Spectrum(*theory.instance_spectrum(*model.rows(0, model.n, w_star), w_star)))
    return spectra


def limiting_spectrum(section: Mapping[str, Any]) -> Spectrum:
    """Return the spectrum of a section's data as n and d grow, with the expected error of w0 at its own n and d."""
    eigenvalues, weights = theory.marchenko_pastur(section["ratio"])
    profile = theory.initial_profile(eigenvalues, weights)
    return Spectrum(eigenvalues, weights, profile * (theory.initial_error(**planted(section)) / profile.sum()))


class Method(NamedTuple):
    """How gradients are encoded and exchanged, and with which step.

    `step` is a number, or None for the one that theory has as the best.
    """

    compressor: dict[str, Any]
    exchange: str = DEFAULT
    error_feedback: bool = False
    step: float | None = None


def predicted_curve(
    section: Mapping[str, Any], method: Method, iterations: int, spectrum: Spectrum | None = None
) -> np.ndarray:
    """Return the predicted squared relative errors of a section's runs with one method.

    With replacement it is the recursion over the spectrum of the data, by default the limiting one; on fresh samples
    it is the one-step rate. The curve goes on until it comes down to the tolerance, `iterations` at the least and the
    budget at the most.

    Raises
    ------
    ConfigError
        If nothing is known of the compressor that a prediction could follow from.
    """
    encoded = _encoded(method, section["dimension"], section["workers"])
    formulas = _FEEDBACK if method.error_feedback else _PLAIN
    return _curve(section, formulas, encoded, method.step, iterations, spectrum)


def best_step(section: Mapping[str, Any], method: Method) -> float:
    """Return the step that is the best one of a method by theory."""
    d, m = section["dimension"], section["mini_batch"]
    formulas = _FEEDBACK if method.error_feedback else _PLAIN
    return formulas.optimal(d, m, **_encoded(method, d, section["workers"]))


class _Formulas(NamedTuple):
    """The best step, the factor of a step on fresh samples, and the curve on fixed data."""

    optimal: Callable[..., float]
    rate: Callable[..., float]
    curve: Callable[..., np.ndarray]


_PLAIN = _Formulas(theory.optimal_step, theory.contraction, theory.fixed_data_curve)
_FEEDBACK = _Formulas(theory.feedback_optimal_step, theory.feedback_rate, theory.feedback_curve)


def _curve(
    section: Mapping[str, Any],
    formulas: _Formulas,
    encoded: Mapping[str, Any],
    step: float | None,
    iterations: int,
    spectrum: Spectrum | None,
) -> np.ndarray:
    d, m = section["dimension"], section["mini_batch"]
    step = formulas.optimal(d, m, **encoded) if step is None else step
    if section["sampling"] == "fresh":
        rate = formulas.rate(d, m, step, **encoded)
        return theory.initial_error(**planted(section)) * rate ** np.arange(section["iterations"] + 1)
    eigenvalues, weights, start = spectrum or limiting_spectrum(section)
    budget, until = section["iterations"], section["tolerance"] ** 2
    of_length = partial(formulas.curve, eigenvalues, weights, d, m, step, initial_error_squared=start, **encoded)
    curve = of_length(budget, until=until)
    return curve if len(curve) > min(iterations, budget) else of_length(min(iterations, budget))


def _encoded(method: Method, d: int, workers: int) -> dict[str, Any]:
    """Return what those functions take of a method beside the step."""
    if not method.error_feedback:
        return variances_of(method.compressor, method.exchange, d, workers)
    gradients, total = find_exchange(method.exchange).encodings(make(method.compressor).encoding, d, workers)
    if gradients is None:
        what = f"{method.compressor['name']} does not state how much of a vector it keeps"
        raise ConfigError(what, where="compressor", remedy="choose one that does")
    return {"delta": gradients, "workers": workers, "sum_delta": total}


def expected_iterations(section: Mapping[str, Any], method: Method, spectrum: Spectrum | None = None) -> float:
    """Return the predicted iterations to the tolerance, NaN where they are beyond the budget."""
    return theory.iterations_to(predicted_curve(section, method, 0, spectrum), section["tolerance"])


def iterations_with_variance(section: Mapping[str, Any], omega: float) -> float:
    """Return the predicted iterations of an unbiased compressor with that omega, NaN where they exceed the budget."""
    encoded = {"omega": omega, "workers": section["workers"]}
    return theory.iterations_to(_curve(section, _PLAIN, encoded, None, 0, None), section["tolerance"])


def expected_sent(
    section: Mapping[str, Any],
    compressor: dict[str, Any],
    exchange: str,
    iterations: Any,  # noqa: ANN401 - a number, or a series
) -> Any:  # noqa: ANN401
    """Return the expected bytes that a rank sends in so many iterations, with those of the initial weights."""
    d, workers, way = section["dimension"], section["workers"], find_exchange(exchange)
    payload = way.vector_length(partial(payload_bits, make(compressor)), d, workers) / 8
    sent, _ = way.member_bytes(Role.RANK, workers, payload, 0)
    return way.moment_copies(workers)[0] * payload_bytes("fp64", d) + iterations * sent


def judge_ratio(
    statistic: str, words: str, setting: Setting, ratio: ArrayLike, tolerance: float, note: str = ""
) -> Verdict:
    """Return the verdict on the mean over trials of a ratio to its prediction, which is to be 1 within a tolerance."""
    return judge(
        statistic,
        words,
        mean_interval(ratio),
        least=1 - tolerance,
        most=1 + tolerance,
        trials=setting.trials,
        evidence=setting.evidence,
        note=note,
    )
