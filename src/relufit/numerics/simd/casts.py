"""Conversions between double precision and numbers of 64, 32 or 16 bits that lie anywhere in memory.

All are exact, or round to nearest, ties to even, as IEEE 754 says, whatever the width of the vectors. Half precision is
made of operations on double precision and on integers: not every processor, nor every compiler of loops, has it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from relufit.numerics.simd.emit import DOUBLE, FLOAT, INT16, INT32, constant, copies, each, lanes, load, store

_WIDTH = 16
_INT64 = ir.IntType(64)
_INTEGERS = {16: INT16, 32: INT32, 64: _INT64}
_SCALES = types.UniTuple(types.float64, 2)
_EXPONENT, _MAGNITUDE = 0x7FF << 52, 2**63 - 1
#: The exponent of the smallest normal half, 2^-14, as float64 has it; halves below have its spacing, 2^-24.
_LEAST_EXPONENT = 1009
#: The bits by which the fraction of float64 is longer than that of a half.
_ABOVE = 42


class _Largest:
    """The largest of the non-negative integers that a loop of `each` has seen."""

    def __init__(self, builder: Any, kind: Any) -> None:  # noqa: ANN401 - llvmlite is untyped
        self._builder, self._kind = builder, kind
        self._seen = {width: cgutils.alloca_once_value(builder, constant(kind, width, 0)) for width in (_WIDTH, 1)}

    def see(self, value: Any, width: int) -> None:  # noqa: ANN401
        before = self._builder.load(self._seen[width])
        self._builder.store(self._greater(value, before), self._seen[width])

    def get(self) -> Any:  # noqa: ANN401
        """Return it as a 64-bit integer."""
        vector, result = self._builder.load(self._seen[_WIDTH]), self._builder.load(self._seen[1])
        for lane in range(_WIDTH):
            result = self._greater(self._builder.extract_element(vector, ir.Constant(INT32, lane)), result)
        return result if self._kind == _INT64 else self._builder.zext(result, _INT64)

    def _greater(self, value: Any, other: Any) -> Any:  # noqa: ANN401
        return self._builder.select(self._builder.icmp_signed(">", value, other), value, other)


def _as_doubles(builder: Any, value: Any, width: int) -> Any:  # noqa: ANN401
    kind = lanes(DOUBLE, width)
    return value if value.type == kind else builder.fpext(value, kind)


def _scaled(builder: Any, value: Any, scales: list[Any], width: int) -> Any:  # noqa: ANN401
    for scale in scales:
        value = builder.fmul(value, copies(builder, scale, width))
    return value


def _at(builder: Any, body: Any, first: Any, bits: int) -> Any:  # noqa: ANN401
    """Return a pointer to number `first` of `bits` bits in the bytes `body`."""
    offset = builder.mul(first, ir.Constant(first.type, bits // 8))
    return builder.bitcast(builder.gep(body.data, [offset]), _INTEGERS[bits].as_pointer())


def _from_half(builder: Any, raw: Any, width: int) -> Any:  # noqa: ANN401
    """Return halves times 2^-1008: exponent and fraction at their places in float64, whose bias is greater by that."""
    wide = builder.shl(builder.sext(raw, lanes(_INT64, width)), constant(_INT64, width, _ABOVE))
    kept = builder.and_(wide, constant(_INT64, width, -(1 << 63) | 0x7FFF << _ABOVE))
    return builder.bitcast(kept, lanes(DOUBLE, width))


def _to_half(builder: Any, value: Any, width: int) -> Any:  # noqa: ANN401
    """Return doubles below 2^15 in magnitude as the bits of halves."""

    def number(value: int) -> Any:  # noqa: ANN401
        return constant(_INT64, width, value)

    whole = lanes(_INT64, width)
    bits = builder.bitcast(value, whole)
    exponent, least = builder.and_(bits, number(_EXPONENT)), number(_LEAST_EXPONENT << 52)
    exponent = builder.select(builder.icmp_signed(">", exponent, least), exponent, least)
    # Next to this power of two the spacing of doubles is that of halves next to the number: the sum is rounded to it,
    # and its last bits count the steps from zero.
    power = builder.bitcast(builder.add(exponent, number(_ABOVE << 52)), value.type)
    magnitude = builder.bitcast(builder.and_(bits, number(_MAGNITUDE)), value.type)
    steps = builder.bitcast(builder.fadd(magnitude, power), whole)
    half = builder.add(builder.add(steps, builder.lshr(exponent, number(_ABOVE))), number(-(_LEAST_EXPONENT << 10)))
    sign = builder.and_(builder.lshr(bits, number(48)), number(1 << 15))
    return builder.trunc(builder.or_(builder.and_(half, number(2**15 - 1)), sign), lanes(INT16, width))


def _is_vector(v: Any) -> bool:  # noqa: ANN401 - numba's types are untyped
    return isinstance(v, types.Array) and v.dtype in (types.float32, types.float64)


def _is_bytes(body: Any) -> bool:  # noqa: ANN401
    return isinstance(body, types.Array) and body.dtype == types.uint8


@intrinsic
def largest_magnitude(typingctx, v):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Largest magnitude of a float32 or float64 array, float64; NaN or infinity if there is one.

    For use inside compiled functions.
    """
    if not _is_vector(v):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source, most = context.make_array(sig.args[0])(context, builder, args[0]), _Largest(builder, _INT64)

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            value = _as_doubles(builder, load(builder, source.data, i, width), width)
            bits = builder.bitcast(value, lanes(_INT64, width))
            most.see(builder.and_(bits, constant(_INT64, width, _MAGNITUDE)), width)

        each(builder, builder.extract_value(source.shape, 0), _WIDTH, body)
        return builder.bitcast(most.get(), DOUBLE)

    return types.float64(v), codegen  # type: ignore[operator]


@intrinsic
def write_singles(typingctx, v, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Write a float32 or float64 array as float32 to the uint8 array `out`; return the largest magnitude's bits.

    From 0x7F800000 on they are those of infinity or NaN. Nothing is checked: `out` has four bytes for each number.
    For use inside compiled functions.
    """
    if not _is_vector(v) or not _is_bytes(out):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source = context.make_array(sig.args[0])(context, builder, args[0])
        target = context.make_array(sig.args[1])(context, builder, args[1])
        size, most = builder.extract_value(source.shape, 0), _Largest(builder, INT32)
        data = _at(builder, target, ir.Constant(size.type, 0), 32)

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            value, single = load(builder, source.data, i, width), lanes(FLOAT, width)
            bits = builder.bitcast(
                value if value.type == single else builder.fptrunc(value, single), lanes(INT32, width)
            )
            store(builder, bits, data, i)
            most.see(builder.and_(bits, constant(INT32, width, 2**31 - 1)), width)

        each(builder, size, _WIDTH, body)
        return most.get()

    return types.int64(v, out), codegen  # type: ignore[operator]


@intrinsic
def write_halves(typingctx, v, scales, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Write a float32 or float64 array, times each of two powers of two, as halves to the uint8 array `out`.

    The products are below 2^15 in magnitude, and where one of them is rounded it is far below 2^-25. Nothing is
    checked: `out` has two bytes for each number. For use inside compiled functions.
    """
    if not _is_vector(v) or scales != _SCALES or not _is_bytes(out):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source = context.make_array(sig.args[0])(context, builder, args[0])
        target = context.make_array(sig.args[2])(context, builder, args[2])
        size, factors = builder.extract_value(source.shape, 0), cgutils.unpack_tuple(builder, args[1], 2)
        data = _at(builder, target, ir.Constant(size.type, 0), 16)

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            value = _as_doubles(builder, load(builder, source.data, i, width), width)
            store(builder, _to_half(builder, _scaled(builder, value, factors, width), width), data, i)

        each(builder, size, _WIDTH, body)
        return context.get_dummy_value()

    return types.void(v, scales, out), codegen  # type: ignore[operator]


def _reading(bits: Any, body: Any, first: Any, scales: Any, out: Any, *, adds: bool) -> Any:  # noqa: ANN401
    """Return the signature and the code of `add_numbers` and `read_numbers`."""
    if not isinstance(bits, types.IntegerLiteral) or bits.literal_value not in _INTEGERS or not _is_bytes(body):
        return None
    if types.unliteral(first) != types.int64 or scales != _SCALES or not _is_vector(out):
        return None
    size_of, kind = bits.literal_value, _INTEGERS[bits.literal_value]

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source = context.make_array(sig.args[1])(context, builder, args[1])
        target = context.make_array(sig.args[4])(context, builder, args[4])
        factors, most = cgutils.unpack_tuple(builder, args[3], 2), _Largest(builder, kind)
        data = _at(builder, source, args[2], size_of)

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            raw = load(builder, data, i, width)
            most.see(builder.and_(raw, constant(kind, width, 2 ** (size_of - 1) - 1)), width)
            if size_of == 16:
                value = _scaled(builder, _from_half(builder, raw, width), factors, width)
            else:
                value = builder.bitcast(raw, lanes(FLOAT if size_of == 32 else DOUBLE, width))
            value = _as_doubles(builder, value, width)
            if adds:
                value = builder.fadd(_as_doubles(builder, load(builder, target.data, i, width), width), value)
            if out.dtype != types.float64:
                value = builder.fptrunc(value, lanes(FLOAT, width))
            store(builder, value, target.data, i)

        each(builder, builder.extract_value(target.shape, 0), _WIDTH, body)
        return most.get()

    return types.int64(bits, body, types.int64, scales, out), codegen  # type: ignore[operator]


@intrinsic(prefer_literal=True)
def add_numbers(typingctx, bits, body, first, scales, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add numbers of `bits` bits, from number `first` on, to the float64 array `out`; return the largest magnitude.

    That is the largest as an integer, without the sign, in the format that was read; infinity and NaN are above all
    numbers. `bits` is the constant 64, 32 or 16, `body` a uint8 array that has them, at any address. Halves are taken
    times 2^-1008 and times each of the two `scales`; others as they are. Nothing is checked. For use inside compiled
    functions.
    """
    return _reading(bits, body, first, scales, out, adds=True)


@intrinsic(prefer_literal=True)
def read_numbers(typingctx, bits, body, first, scales, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write numbers to `out`, float64 or float32, in place of adding them; see `add_numbers`."""
    return _reading(bits, body, first, scales, out, adds=False)
