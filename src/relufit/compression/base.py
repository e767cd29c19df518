"""What every compressor is, and the header that every payload starts with."""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from inspect import Parameter, signature
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from relufit.compression.sums import Terms, sum_terms
from relufit.errors import PayloadError
from relufit.theory.encodings import Encoding

_HEADER = struct.Struct("<BBH")
HEADER_BYTES = _HEADER.size
#: The largest number of float32.
_LARGEST_SINGLE = float(np.finfo(np.float32).max)
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


#: A payload, or its header and its body, bytes both: what goes over a connection need not be in one place first.
Pieces = bytes | memoryview | tuple[bytes | memoryview, bytes | memoryview]


class Anatomy(NamedTuple):
    """The parts of the payload of a quantizer.

    Parameters
    ----------
    start : int
        Bytes before the code of the levels.
    coding : str
        Name of the code.
    symbols : (d,) array
        A number for each coordinate, the same for coordinates of one level and sign.
    """

    start: int
    coding: str
    symbols: np.ndarray


class Compressor(ABC):
    """A map from vectors to bytes and back, and everything that others need to know of it.

    A subclass has a `name`, is a frozen dataclass whose fields are its parameters, so that equal parameters give equal
    compressors, and can be pickled. `relufit.testing.check_compressor` checks all that is promised here.
    """

    #: What `relufit.compression.make_compressor` finds the class by.
    name: ClassVar[str]
    #: Whether what a rank sends depends on what it has sent before.
    stateful: ClassVar[bool] = False
    #: Whether float64 numbers are decoded to what they were, so that an encoding leaves nothing out.
    exact: ClassVar[bool] = False
    #: Whether a payload depends on the key, by whatever is drawn from its stream.
    random: ClassVar[bool] = True

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters, as `relufit.compression.make_compressor` takes them beside the name."""
        if not is_dataclass(self):
            return {}
        return {listed.name: getattr(self, listed.name) for listed in fields(self) if listed.init}

    @property
    def description(self) -> dict[str, Any]:
        """The name and the parameters, which make this compressor again."""
        return {"name": self.name, **self.parameters}

    @abstractmethod
    def encode(self, vector: np.ndarray, key: int) -> bytes:
        """Return the payload of `vector`.

        Parameters
        ----------
        vector : (d,) float64 or float32
            Finite numbers.
        key : int
            Key of the random stream that rounding draws from, see `relufit.streams.key`.

        Raises
        ------
        PayloadError
            If the vector holds NaN or infinity.
        """

    @abstractmethod
    def decode(self, payload: bytes | memoryview, size: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the vector, (size,) float64, of a payload.

        Parameters
        ----------
        payload : bytes
            Any bytes: those that are no payload are refused.
        size : int
            The number of coordinates d.
        out : (size,) float64 or float32, optional
            A contiguous array that is filled and returned in place of a new one; after an error it may hold anything.

        Raises
        ------
        PayloadError
            If the payload is not one that this compressor makes of a vector of that size.
        """

    def pieces(
        self, vector: np.ndarray, key: int, scratch: ScratchBuffer | None = None, squares: float = math.nan
    ) -> Pieces:
        """Return what `encode` returns, perhaps in pieces.

        Parameters
        ----------
        vector, key
            As for `encode`.
        scratch : ScratchBuffer, optional
            Memory for the payload, which is good until `vector` changes or `scratch` is used again.
        squares : float
            `relufit.numerics.kernels.energy` of `vector`, if that is known; finite only where all numbers are.
        """
        return self.encode(vector, key)

    def add(self, payload: bytes | memoryview, total: np.ndarray, scratch: np.ndarray) -> None:
        """Add what `decode` returns to `total`, (d,) float64; `scratch` is another such array.

        After an error `total` may hold anything.
        """
        total += self.decode(payload, total.size, out=scratch)

    def max_fused_payloads(self, size: int) -> int:
        """Return how many payloads of vectors of that size one pass can add; 1 where each needs a pass of its own.

        More than 1 only if `terms` describes them.
        """
        return 1

    def terms(self, payloads: Sequence[Pieces], size: int) -> Terms | None:
        """Return payloads as terms that are added block by block, or None where they are added one by one.

        Parameters
        ----------
        payloads : sequence of bytes
            At most as many as `max_fused_payloads` says.
        size : int
            The number of coordinates d.

        Raises
        ------
        PayloadError
            If a payload is seen to be invalid already.
        """
        return None

    def sum(self, payloads: Sequence[Pieces], total: np.ndarray, *, fresh: bool, scratch: np.ndarray) -> None:
        """Add what payloads decode to to `total`, or to zero if `fresh`, in their order.

        Parameters
        ----------
        payloads : sequence of bytes
            At most as many as `max_fused_payloads` says.
        total, scratch : (d,) float64
            After an error they may hold anything.
        fresh : bool
            Whether `total` counts as zero.

        Raises
        ------
        PayloadError
            As `decode`.
        """
        if (terms := self.terms(payloads, total.size)) is not None:
            sum_terms(terms, total, fresh)
            return
        if fresh:
            total[:] = 0.0
        for payload in payloads:
            self.add(joined(payload), total, scratch)

    @abstractmethod
    def variance(self, size: int) -> float | None:
        """Return omega, where ``E ||decode(encode(v)) - v||^2 = omega ||v||^2``, or None for a biased compressor.

        The mean is over the compressor's own draws and over a uniformly distributed direction of v in `size`
        dimensions. Rounding to nearest, as casting does, draws nothing: its omega is 0.
        """

    @abstractmethod
    def variance_bound(self, size: int) -> float | None:
        """Return the published bound on omega, which holds for every vector, or None where there is none."""

    def contraction(self, size: int) -> float | None:
        """Return delta, where ``E <C(v), v> = E ||C(v)||^2 = delta ||v||^2`` with ``C(v) = decode(encode(v))``.

        The mean is as for `variance`, so that ``E ||C(v) - v||^2 = (1 - delta) ||v||^2``. It is None where the two
        means differ, as they do for an unbiased compressor with a variance, or are not known.
        """
        return 1.0 if self.variance(size) == 0 else None

    def encoding(self, size: int) -> Encoding | None:
        """Return the moments of what is decoded, by `variance` or else by `contraction`; None where there is neither.

        From them the iterations with error feedback are predicted.
        """
        if (omega := self.variance(size)) is not None:
            return Encoding.unbiased(omega)
        delta = self.contraction(size)
        return None if delta is None else Encoding.contraction(delta)

    def expected_bits(self, size: int) -> float | None:
        """Return the expected bits of the payload of a Gaussian vector, header included, or None where unknown."""
        return None

    def coding_name(self, size: int) -> str:
        """Return the name of the code in which vectors of that size are sent; empty where there is no choice."""
        return ""

    def resolution(self, size: int) -> float:
        """Return the quantization levels over sqrt(size), on which seconds depend; 0 where there is no such choice."""
        return 0.0

    @classmethod
    def family(cls, resolutions: Sequence[float]) -> Iterator[tuple[float, Callable[[int], Self]]]:
        """Yield the members that planning times and chooses from: a resolution, and a maker that takes the size.

        Parameters
        ----------
        resolutions : sequence of float
            Those wanted of a compressor that has a choice of them. All others yield 0.

        Notes
        -----
        By default it is the compressor with its default parameters alone, or nothing where one has no default.
        """
        needed = signature(cls).parameters.values()
        if all(parameter.default is not Parameter.empty for parameter in needed):
            yield 0.0, lambda size: cls()

    def learner(self, parts: Sequence[tuple[int, int]]) -> Learner | None:
        """Return what a run has to keep of a compressor that is learnt from it; None for all others.

        Parameters
        ----------
        parts : sequence of (int, int)
            Where the vectors that are encoded begin and end among the weights.
        """
        return None

    def anatomy(self, payload: bytes, size: int) -> Anatomy | None:
        """Return the parts of a payload of `size` coordinates; None where there are no levels."""
        return None


class Learner(ABC):
    """What a compressor learns from the weights of a run: whoever sees them has the same compressor, bit for bit.

    Of the payloads of what is learnt one pass adds no more than the compressor says that it is learnt of.
    """

    #: All that has to be known beside the weights to go on, float64.
    state: np.ndarray

    @abstractmethod
    def take(self, iteration: int, weights: np.ndarray) -> None:
        """Note the weights before an iteration; once more for the same one changes nothing."""

    @abstractmethod
    def restore(self, iteration: int, weights: np.ndarray, state: np.ndarray) -> None:
        """Take up the state before an iteration with those weights."""

    @property
    @abstractmethod
    def compressor(self) -> Compressor:
        """The compressor of the iteration whose weights were taken last."""


def payload_bound(size: int) -> int:
    """Return the most bytes that a payload of a vector of `size` coordinates may have: longer ones are not received.

    It leaves room for a norm and a level of 8 bytes a coordinate, and for tables of frequencies.
    """
    return HEADER_BYTES + 256 + 16 * size


def length_of(payload: Pieces) -> int:
    """Return the bytes of a payload."""
    return sum(map(len, payload)) if isinstance(payload, tuple) else len(payload)


def joined(payload: Pieces) -> bytes | memoryview:
    """Return a payload in one piece."""
    return b"".join(payload) if isinstance(payload, tuple) else payload


class ScratchBuffer:
    """Memory in which one payload is made after the other: new memory costs more than what is written there."""

    def __init__(self) -> None:
        self._memory, self._start = np.empty(0, np.uint8), 0
        self._view = self._memory.data

    def begin(self, start: bytes, capacity: int, *, zeros: bool = True) -> np.ndarray:
        """Begin a payload, over the one before, and return what follows `start`: (capacity,) uint8.

        They are zeros at first, or anything where the caller writes all of them and sets `zeros` to False.
        """
        self._start, size = len(start), len(start) + capacity
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint8)
            self._view = self._memory.data
        self._view[: self._start] = start
        body = self._memory[self._start : size]
        if zeros:
            body[:] = 0
        return body

    def finish(self, length: int) -> memoryview:
        """Return the payload, which has that many bytes after its start."""
        return self._view[: self._start + length]


def header(kind: int, version: int, parameter: int = 0) -> bytes:
    """Return the 4 bytes that a payload starts with: its kind, its version, and a 16-bit parameter."""
    return _HEADER.pack(kind, version, parameter)


def split(payload: Pieces, version: int) -> tuple[int, int, memoryview]:
    """Return the kind, the parameter and the body of a payload, or of its header and its body, after a check.

    The body cannot be written to, so that compiled loops are compiled once for arrays that read from it.

    Raises
    ------
    PayloadError
        If it is shorter than a header, or of another version.
    """
    if isinstance(payload, tuple):
        start, body = payload[0], memoryview(payload[1]).toreadonly()
    else:
        view = memoryview(payload).toreadonly().cast("B")
        if len(view) < HEADER_BYTES:
            raise PayloadError(f"a payload of {len(view)} bytes has no header")
        start, body = view, view[HEADER_BYTES:]
    kind, sent_version, parameter = _HEADER.unpack_from(start)
    if sent_version != version:
        raise PayloadError(f"a payload of kind {kind} in version {sent_version}, not {version}")
    return kind, parameter, body


def check_vector(vector: np.ndarray) -> np.ndarray:
    """Return `vector` as a contiguous array, float32 if it was, else float64, after a check that it is a vector."""
    vector = np.asarray(vector)
    if vector.ndim != 1 or vector.dtype not in _FLOATS or not vector.flags.c_contiguous:
        if vector.dtype.kind not in "fiu":
            raise PayloadError(f"an array of {vector.dtype} is no vector of real numbers")
        vector = np.ascontiguousarray(vector, np.float32 if vector.dtype == np.float32 else np.float64)
    if vector.ndim != 1 or not 0 < vector.size < 2**32:
        raise PayloadError(f"an array of shape {vector.shape} is no vector of 1 to 2^32 - 1 numbers")
    return vector


def output_for(size: int, out: np.ndarray | None) -> np.ndarray:
    """Return `out` after a check, or a new array, (size,) float64."""
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    if out is None:
        return np.empty(size)
    if out.shape != (size,) or out.dtype not in _FLOATS or not out.flags.carray:
        raise ValueError(f"out must be contiguous, of shape ({size},), float64 or float32")
    return out


def check_range(numbers: np.ndarray | float, dtype: np.typing.DTypeLike) -> None:
    """Raise PayloadError for numbers too large for the type that they are decoded to."""
    if dtype == np.float32 and np.max(numbers) > _LARGEST_SINGLE:
        raise PayloadError("numbers beyond the range of float32, which was asked for")


NOT_FINITE = "NaN or infinity in the vector: nothing can be sent of it"
OVERFLOW = "the Euclidean norm of the vector is beyond the range of float64, though its numbers are not"
