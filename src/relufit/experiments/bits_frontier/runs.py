"""What is run: each method in each exchange and with each mini-batch, and QSGD with feedback, unscaled and scaled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relufit import theory
from relufit.errors import ConfigError
from relufit.exchange import BASELINE, DEFAULT, EXCHANGES
from relufit.experiments.framework.quantized import Method, make

NAME = "bits_frontier"
_SGD = {"name": "fp32"}


@dataclass(frozen=True)
class Run:
    """A method in an exchange, with a mini-batch.

    Parameters
    ----------
    compressor : dict
        As `relufit.TrainingSpec` takes it.
    exchange : str
    mini_batch : int
    error_feedback : bool
    factor : float, optional
        The step in units of SGD's own; the best one by prediction where None.
    searched : bool
        Whether it is one of several steps that are tried, and nothing is predicted.
    paired : bool
        Whether it is one of those that are run unscaled and scaled.
    """

    compressor: dict[str, Any] = field(hash=False)
    exchange: str
    mini_batch: int
    error_feedback: bool = False
    factor: float | None = None
    searched: bool = False
    paired: bool = False

    @property
    def label(self) -> str:
        """The compressor and error feedback in a word."""
        return _word(self.compressor) + ("-feedback" if self.error_feedback else "")

    @property
    def group(self) -> str:
        """The job that it belongs to."""
        return self._cell + ("-feedback" if self.error_feedback and not self.paired else "")

    @property
    def name(self) -> str:
        """The name of its setting."""
        step = "" if self.factor is None else f"-step{self.factor:g}"
        return f"{self.label}{step}-{self._cell}".replace("=", "")

    @property
    def _cell(self) -> str:
        return "unscaled" if self.paired else f"{self.exchange}-m{self.mini_batch}"

    @property
    def words(self) -> str:
        """What it is, in a report."""
        parts = [_word(self.compressor)]
        if self.error_feedback:
            parts.append("error feedback")
        if self.factor is not None and not self.paired:
            parts.append("SGD's own step" if self.factor == 1 else f"{self.factor:g} times SGD's own step")
        return ", ".join([*parts, EXCHANGES[self.exchange].label, f"m = {self.mini_batch}"])

    @property
    def is_baseline(self) -> bool:
        """Whether it is SGD in fp32."""
        return self.compressor == _SGD and not self.error_feedback

    def method(self, step: float | None) -> Method:
        """Return it as predictions take it, with a step; None for the best one."""
        return Method(self.compressor, self.exchange, self.error_feedback, step)


def _word(compressor: Mapping[str, Any]) -> str:
    """Return a compressor with the parameters that a configuration gives: ``qsgd-s19-rans``, ``eden-bits=1``."""
    written = {"name": "{}", "levels": "s{}", "coding": "{}"}
    return "-".join(written.get(key, f"{key}={{}}").format(value) for key, value in compressor.items())


def runs_of(section: Mapping[str, Any]) -> list[Run]:
    """Return the runs of a section's methods; SGD in fp32 comes first, and is there by all-reduce in any case.

    Raises
    ------
    ConfigError
        If a compressor cannot be made, or theory has no step for it and none is given.
    """
    for nth, method in enumerate(section["methods"]):
        _check(method, f"{NAME}.methods.{nth}")
    named = [name for method in section["methods"] for name in method.get("exchanges", [])]
    exchanges = dict.fromkeys([BASELINE, *section["exchanges"], *named])
    runs = [Run(_SGD, exchange, m) for m in section["mini_batches"] for exchange in exchanges]
    for m in section["mini_batches"]:
        for exchange in exchanges:
            for method in section["methods"]:
                if exchange not in method.get("exchanges", section["exchanges"]):
                    continue
                searched = method.get("searched", [])
                kind = (method["compressor"], exchange, m, method.get("error_feedback", False))
                runs += [Run(*kind, factor, searched=True) for factor in searched] or [
                    Run(*kind, method.get("step_factor"))
                ]
    return runs


def _check(method: Mapping[str, Any], where: str) -> None:
    name = method["compressor"]["name"]
    try:
        compressor = make(method["compressor"])
    except ConfigError as error:
        key = error.where if error.where in method["compressor"] else "name"
        raise ConfigError(error.what, where=f"{where}.compressor.{key}", remedy=error.remedy) from error
    if "searched" in method:
        return
    if not method.get("error_feedback", False) and compressor.variance(2) is None:
        raise ConfigError(
            f"{name} is biased: nothing is predicted of it without error feedback",
            where=f"{where}.error_feedback",
            remedy="set it to true, or give the steps to be searched",
        )
    if compressor.encoding(2) is None:
        raise ConfigError(
            f"{name} does not state how much of a vector it keeps",
            where=f"{where}.compressor.name",
            remedy="give the steps to be searched",
        )


def scaled_pairs(section: Mapping[str, Any]) -> list[tuple[Run, Run]]:
    """Return QSGD with error feedback, unscaled and scaled, at the best step of the latter.

    They run in the exchange that is used where none is named, which encodes whole vectors, and no sums.
    """
    d, m, workers = section["dimension"], section["mini_batches"][0], section["workers"]
    pairs = []
    for levels in section["unscaled_levels"]:
        unscaled, scaled = (
            {"name": name, "levels": levels, "coding": section["coding"]} for name in ("qsgd", "scaled_qsgd")
        )
        delta = make(scaled).contraction(d)
        assert delta
        step = theory.feedback_optimal_step(d, m, delta=delta, workers=workers)
        factor = step / theory.optimal_step(d, m, workers=workers)
        pairs.append(tuple(Run(kind, DEFAULT, m, True, factor, paired=True) for kind in (unscaled, scaled)))
    return pairs  # type: ignore[return-value]  # two each


def all_runs(section: Mapping[str, Any]) -> list[Run]:
    """Return the runs of the methods, and then the others."""
    return [*runs_of(section), *(run for pair in scaled_pairs(section) for run in pair)]
