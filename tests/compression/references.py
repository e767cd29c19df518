"""What every compressor must do, written from the definitions in plain numpy, and the list of all that are tested.

A compressor here sends each coordinate as one of two numbers, `low` and `high`, and as the second with probability
`up`; where nothing is drawn the two are equal. `every_compressor` goes through the registry, so that a new name is
tested without a line in any test, but for its reference, which goes into `REFERENCES`. A name in `ROTATED` has none,
as what it sends of a coordinate depends on all of them.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relufit.compression import COMPRESSORS, Compressor, make_compressor
from relufit.compression.coding import CODINGS

Array = NDArray[np.float64]

#: What each parameter of a compressor is tried with.
VALUES: dict[str, tuple[Any, ...]] = {
    "levels": (1, 2, 4, 16, 127, 1000, 32767),
    "norm": ("l2", "max"),
    "bucket_size": (None, 7, 64),
    "bits": (1, 2, 3, 4),
    # The choice between codings is one where there are several.
    "coding": (*CODINGS, *(("auto",) if len(CODINGS) > 1 else ())),
    "fraction": (0.01, 0.3, 1.0),
    "values": ("fp32", "fp16"),
    "scaled": (True, False),
    "components": (1, 4),
    "slice_size": (4, 32),
    "window": (1,),
    "period": (8,),
}


#: Fewer of them, by name: what is another compressor but for a factor.
FEWER: dict[str, dict[str, tuple[Any, ...]]] = {
    "scaled_qsgd": {"levels": (1, 4, 1000), "bucket_size": (None, 7), "coding": ("packed", "rans")},
}


@dataclass(frozen=True)
class Case:
    """One compressor under test: its name in the registry and its parameters."""

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def compressor(self) -> Compressor:
        """The instance that most tests use."""
        return self.make()

    def make(self) -> Compressor:
        """A new instance."""
        return make_compressor(self.name, **dict(self.parameters))

    def but(self, **changes: Any) -> Case:
        """The same with other values of parameters that it has."""
        assert set(changes) <= set(dict(self.parameters))
        return Case(self.name, tuple((dict(self.parameters) | changes).items()))

    def get(self, parameter: str, default: Any = None) -> Any:
        """A parameter's value."""
        return dict(self.parameters).get(parameter, default)

    def __str__(self) -> str:
        return "-".join([self.name, *(str(value) for _, value in self.parameters)])


class Rounding(NamedTuple):
    """Per coordinate, (d,): the two numbers that it may be decoded to, and the probability of `high`."""

    low: Array
    high: Array
    up: Array

    @property
    def possible(self) -> bool:
        """Whether the vector can be sent; where it cannot, the compressor must refuse it."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def gap(self) -> Array:
        """|high - low|, and 0 where one of the two is certain."""
        return np.where((self.up > 0) & (self.up < 1), np.abs(self.high - self.low), 0.0)

    @property
    def variances(self) -> Array:
        """The variance of each coordinate."""
        return self.gap**2 * self.up * (1 - self.up)


def rounding(case: Case, vector: Array) -> Rounding:
    """Return what the definition of that compressor says of `vector`."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return REFERENCES[case.name](case, np.asarray(vector, np.float64))


def reference_draw(case: Case, vector: Array, rng: np.random.Generator) -> Array:
    """Return one draw from the definition."""
    low, high, up = rounding(case, vector)
    return np.where(rng.random(len(up)) < up, high, low)


def uneven(decoded: Array, expected: Rounding) -> NDArray[np.intp]:
    """Return the places, if any, at which `decoded` is neither `low` nor `high`.

    A relative 1e-12 is left for the rounding of norms and products, and twice the spacing of subnormal numbers,
    in which a norm and a product are rounded as well.
    """
    slack = 1e-12 * np.abs(expected.high) + 2 * math.ulp(0.0)
    off = np.minimum(np.abs(decoded - expected.low), np.abs(decoded - expected.high))
    return np.flatnonzero(~(off <= slack))


def went_up(decoded: NDArray[np.float64], expected: Rounding) -> NDArray[np.bool_]:
    """Tell which of the two numbers was drawn, for one decoded vector or a table with one a row."""
    return np.abs(decoded - expected.high) < np.abs(decoded - expected.low)


def bernstein(variance: Array | float, largest: Array | float, level: float) -> Array:
    """Return what a sum of independent centred terms exceeds, either way, with probability at most `level`.

    Bernstein's inequality, which holds for every distribution: at rare events a normal limit would not.

    Parameters
    ----------
    variance, largest : array or float
        Variance of the sum; the largest magnitude that a term can have.
    level : float
        Probability of a false alarm.
    """
    log = math.log(2 / level)
    third = log * np.asarray(largest) / 3
    return third + np.sqrt(third**2 + 2 * log * np.asarray(variance))


def _bucket_norms(case: Case, vector: Array, default: str) -> Array:
    """The norm of its bucket for every coordinate."""
    size = case.get("bucket_size") or len(vector)
    norm = {"l2": lambda part: math.hypot(*part), "max": lambda part: max(map(abs, part))}[case.get("norm", default)]
    values = vector.tolist()
    norms = [norm(values[start : start + size]) for start in range(0, len(values), size)]
    return np.repeat(norms, size)[: len(values)]


def _multiples(vector: Array, norms: Array, s: int) -> Rounding:
    """Multiples of norm / s next to each magnitude, the probability being the distance from the lower one."""
    place = np.where(norms == 0, 0.0, np.abs(vector) / norms * s)
    below = np.minimum(np.floor(place), s)
    above = np.minimum(below + 1, s)
    sign = np.sign(vector)
    return Rounding(sign * (below / s * norms), sign * (above / s * norms), np.clip(place - below, 0, 1))


def _qsgd(case: Case, vector: Array) -> Rounding:
    return _multiples(vector, _bucket_norms(case, vector, "l2"), case.get("levels"))


def _ternary(case: Case, vector: Array) -> Rounding:
    return _multiples(vector, _bucket_norms(case, vector, "max"), 1)


def _natural(case: Case, vector: Array) -> Rounding:
    """With |v| = m 2^e, 1 <= m < 2: the powers 2^e and 2^(e+1), the second with probability m - 1."""
    fraction, exponent = np.frexp(np.abs(vector))
    low = np.where(vector == 0, 0.0, np.ldexp(np.sign(vector), exponent - 1))
    return Rounding(low, 2 * low, np.where(vector == 0, 0.0, 2 * fraction - 1))


def _nearest(vector: Array, digits: int, least: int, largest: int) -> Rounding:
    """The nearest numbers, ties to even, of so many binary digits that are whole multiples of 2^least below 2^largest.

    From 2^largest on it is infinity.
    """
    step = np.maximum(np.frexp(vector)[1] - digits, least)
    near = np.where(vector == 0, 0.0, np.ldexp(np.rint(np.ldexp(vector, -step)), step))
    near = np.where(np.abs(near) < math.inf if largest > 1023 else np.abs(near) < 2.0**largest, near, math.inf)
    return Rounding(near, near, np.zeros(len(vector)))


def _fp64(case: Case, vector: Array) -> Rounding:
    return Rounding(vector, vector, np.zeros(len(vector)))


def _fp32(case: Case, vector: Array) -> Rounding:
    return _nearest(vector, 24, -149, 128)


def _fp16(case: Case, vector: Array) -> Rounding:
    """The format reaches from 2^-24 to 2^16; the largest magnitude is scaled to just below 2^15."""
    scale = math.frexp(float(np.max(np.abs(vector))))[1] - 15
    return _nearest(vector, 11, scale - 24, scale + 16)


def _values(case: Case, vector: Array) -> Array:
    """The numbers of a vector as the chosen format has them."""
    return {"fp32": _fp32, "fp16": _fp16}[case.get("values")](case, vector).low


def _count(case: Case, vector: Array) -> int:
    return max(1, round(case.get("fraction") * len(vector)))


def _top(case: Case, vector: Array) -> NDArray[np.bool_]:
    """Which coordinates are among the k largest, zeros left out."""
    order = sorted(range(len(vector)), key=lambda i: (-abs(vector[i]), i))[: _count(case, vector)]
    return np.isin(np.arange(len(vector)), order) & (vector != 0)


def _top_k(case: Case, vector: Array) -> Rounding:
    sent = np.where(_top(case, vector), _values(case, vector), 0.0)
    return _certain(sent)


def _top_k_sign(case: Case, vector: Array) -> Rounding:
    top = _top(case, vector)
    # Fractions, as neither sums nor tiny numbers may lose anything.
    mean = sum((Fraction(abs(value)) for value in vector[top].tolist()), Fraction(0)) / max(1, int(top.sum()))
    sent = np.where(top, np.sign(vector) * float(mean), 0.0)
    return _certain(sent)


def _rand_k(case: Case, vector: Array) -> Rounding:
    k, d = _count(case, vector), len(vector)
    high = _values(case, vector * (d / k if case.get("scaled") else 1.0))
    return Rounding(np.where(k == d, high, 0.0), high, np.full(d, 0.0 if k == d else k / d))


def _scaled_qsgd(case: Case, vector: Array) -> Rounding:
    omega = Case("qsgd", case.parameters).compressor.variance(len(vector))
    assert omega is not None
    return _qsgd(case, vector * (1 / (1 + omega)))


def _sign(case: Case, vector: Array) -> Rounding:
    mean = np.abs(vector).mean()
    return _certain(np.where(vector < 0, -mean, mean) if mean else np.zeros(len(vector)))


def _majority(case: Case, vector: Array) -> Rounding:
    sign = np.sign(vector)
    if not sign.any():
        return _certain(sign)
    # A sum of magnitudes that is no number is refused.
    if not np.isfinite(np.abs(vector).sum()):
        return _certain(np.full(len(vector), np.nan))
    return Rounding(np.where(sign > 0, 1.0, -1.0), np.where(sign < 0, -1.0, 1.0), np.where(sign == 0, 0.5, 0.0))


def _one_bit(case: Case, vector: Array) -> Rounding:
    below = vector < 0
    means = np.zeros(len(vector))
    for side in (below, ~below):
        if side.any():
            means[side] = vector[side].mean()
    return _certain(means)


def _certain(sent: Array) -> Rounding:
    return Rounding(sent, sent, np.zeros(len(sent)))


REFERENCES: dict[str, Callable[[Case, Array], Rounding]] = {
    "fp64": _fp64,
    "fp32": _fp32,
    "fp16": _fp16,
    "qsgd": _qsgd,
    "ternary": _ternary,
    "natural": _natural,
    "scaled_qsgd": _scaled_qsgd,
    "sign": _sign,
    "one_bit": _one_bit,
    "majority": _majority,
    "top_k": _top_k,
    "rand_k": _rand_k,
    "top_k_sign": _top_k_sign,
}
ROTATED = {"eden", "gradiveq"}


def every_compressor() -> Iterator[Case]:
    """Go through all registered compressors and, for each, all combinations of `VALUES`."""
    for name, kind in COMPRESSORS.items():
        known = {*REFERENCES, *ROTATED}
        assert name in known, f"compressor {name!r} has no reference: add one to REFERENCES in {__file__}"
        parameters = list(inspect.signature(kind).parameters)
        for parameter in parameters:
            assert parameter in VALUES, (
                f"no values to try for {parameter!r} of {name!r}: add them to VALUES in {__file__}"
            )
        tried = VALUES | FEWER.get(name, {})
        for values in itertools.product(*(tried[parameter] for parameter in parameters)):
            yield Case(name, tuple(zip(parameters, values, strict=True)))


def with_reference() -> list[Case]:
    """All of them that send a number for each coordinate."""
    return [case for case in every_compressor() if case.name in REFERENCES]


def in_one_coding() -> list[Case]:
    """Those with a reference, but for the coding: what is decoded must not depend on it, see `test_round_trips`."""
    return [case for case in with_reference() if case.get("coding", "packed") == "packed"]


def sparse(case: Case) -> bool:
    """Whether some coordinates only are sent: chosen together, and with a bias unless they are scaled."""
    return case.get("fraction") is not None


def biased(case: Case) -> bool:
    """Whether the compressor says that it is biased."""
    return case.compressor.variance(100) is None


def draws(case: Case) -> bool:
    """Whether the compressor draws at random at all."""
    return case.name in ROTATED or bool(rounding(case, np.random.default_rng(0).standard_normal(100)).gap.any())
