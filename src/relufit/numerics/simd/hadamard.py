"""Loops of the Walsh-Hadamard transform in single precision, several levels between a load and a store.

A level replaces pairs of numbers by their sum and their difference. No sum is reordered, and fused operations round
once where sum and product would, as one factor is 1 or -1: the bits are the same everywhere.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from relufit.numerics.simd.emit import DOUBLE, FLOAT, INT16, INT32, call, copies, each, lanes, load, store

#: Numbers of a vector, and vectors in registers.
_WIDTH, _VECTORS = 16, 8
_FLOATS = (types.float32, types.float64)


def _within(builder: Any, value: Any) -> Any:  # noqa: ANN401 - llvmlite is untyped
    """Return the transform of the numbers of one vector."""
    for level in (1, 2, 4, 8):
        partner = ir.Constant(lanes(INT32, _WIDTH), [lane ^ level for lane in range(_WIDTH)])
        sign = ir.Constant(lanes(FLOAT, _WIDTH), [-1.0 if lane & level else 1.0 for lane in range(_WIDTH)])
        swapped = builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), partner)
        value = call(builder, "fma", value, sign, swapped)
    return value


def _across(builder: Any, values: list[Any]) -> list[Any]:  # noqa: ANN401
    """Return the transforms across 2, 4 or 8 vectors."""
    level = 1
    while level < len(values):
        values = [
            builder.fsub(values[r ^ level], value) if r & level else builder.fadd(value, values[r ^ level])
            for r, value in enumerate(values)
        ]
        level *= 2
    return values


@intrinsic
def hadamard_128(typingctx, x, factor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Replace every 128 neighbours in the float32 array `x`, in whole blocks, by `factor` times their transform.

    `factor` is float32. For use inside compiled functions.
    """
    if (x.dtype, factor) != (types.float32, types.float32):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array, scale = context.make_array(sig.args[0])(context, builder, args[0]), copies(builder, args[1], _WIDTH)
        size = builder.extract_value(array.shape, 0)
        step = ir.Constant(size.type, _WIDTH * _VECTORS)
        full = builder.sub(size, builder.urem(size, step))
        with cgutils.for_range_slice(builder, ir.Constant(size.type, 0), full, step) as (i, _):
            places = [builder.add(i, ir.Constant(size.type, _WIDTH * r)) for r in range(_VECTORS)]
            loaded = [builder.fmul(load(builder, array.data, at, _WIDTH), scale) for at in places]
            for at, value in zip(places, _across(builder, [_within(builder, value) for value in loaded]), strict=True):
                store(builder, value, array.data, at)
        return context.get_dummy_value()

    return types.void(x, factor), codegen  # type: ignore[operator]


def _butterflies(radix: int) -> Any:  # noqa: ANN401
    def butterflies(typingctx, x, stride, factor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        """Replace groups of numbers of the float32 array `x`, `stride` apart, by `factor` times their transform.

        The size of `x` is a multiple of as many times `stride`, int64, as a group has numbers; `factor` is float32.
        For use inside compiled functions.
        """
        if (x.dtype, stride, factor) != (types.float32, types.int64, types.float32):
            return None

        def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            array, apart = context.make_array(sig.args[0])(context, builder, args[0]), args[1]
            size = builder.extract_value(array.shape, 0)
            offsets = [builder.mul(apart, ir.Constant(size.type, r)) for r in range(radix)]
            group = builder.mul(apart, ir.Constant(size.type, radix))
            with cgutils.for_range_slice(builder, ir.Constant(size.type, 0), size, group) as (start, _):

                def body(j: Any, width: int) -> None:  # noqa: ANN401
                    first, scale = builder.add(start, j), copies(builder, args[2], width)
                    places = [builder.add(first, offset) for offset in offsets]
                    loaded = [builder.fmul(load(builder, array.data, at, width), scale) for at in places]
                    for at, value in zip(places, _across(builder, loaded), strict=True):
                        store(builder, value, array.data, at)

                each(builder, apart, _WIDTH, body)
            return context.get_dummy_value()

        return types.void(x, stride, factor), codegen  # type: ignore[operator]

    return intrinsic(butterflies)


butterflies_2, butterflies_4, butterflies_8 = map(_butterflies, (2, 4, 8))


def _flipped(builder: Any, value: Any, words: Any, i: Any) -> Any:  # noqa: ANN401
    """Return one number or a vector with other signs where bit i % 32 of ``words[i // 32]`` and those after it are set.

    `i` is a multiple of 16 for a vector.
    """
    if isinstance(value.type, ir.VectorType):
        halves = builder.bitcast(words.data, INT16.as_pointer())
        half = load(builder, halves, builder.lshr(i, ir.Constant(i.type, 4)), 1)
        set_bits = builder.bitcast(half, lanes(ir.IntType(1), _WIDTH))
    else:
        word = load(builder, words.data, builder.lshr(i, ir.Constant(i.type, 5)), 1)
        shifted = builder.lshr(word, builder.trunc(builder.and_(i, ir.Constant(i.type, 31)), INT32))
        set_bits = builder.trunc(shifted, ir.IntType(1))
    return builder.select(set_bits, builder.fneg(value), value)


@intrinsic
def copy_run(typingctx, x, start, out, place, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Copy `count` numbers of the float32 array `x` from index `start` on to `out`, float32, from index `place` on.

    Indices are int64, and nothing is checked. For use inside compiled functions.
    """
    if {x.dtype, out.dtype} != {types.float32} or {start, place, count} != {types.int64}:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source, target = (context.make_array(sig.args[n])(context, builder, args[n]).data for n in (0, 2))

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            value = load(builder, source, builder.add(args[1], i), width)
            store(builder, value, target, builder.add(args[3], i))

        each(builder, args[4], _WIDTH, body)
        return context.get_dummy_value()

    return types.void(x, start, out, place, count), codegen  # type: ignore[operator]


@intrinsic
def flip_signs(typingctx, x, words):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Change the sign of number i of the float32 array `x` where bit i % 32 of ``words[i // 32]``, uint32, is set.

    For use inside compiled functions.
    """
    if (x.dtype, words.dtype) != (types.float32, types.uint32):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array, bits = (context.make_array(sig.args[n])(context, builder, args[n]) for n in range(2))

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            store(builder, _flipped(builder, load(builder, array.data, i, width), bits, i), array.data, i)

        each(builder, builder.extract_value(array.shape, 0), _WIDTH, body)
        return context.get_dummy_value()

    return types.void(x, words), codegen  # type: ignore[operator]


@intrinsic
def scale_with_signs(typingctx, x, factor, words, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write `factor`, float64, times `x` to `out`, with signs changed as by `flip_signs`.

    `x` and `out` are float32 or float64 and of one size; products are in double precision. For use inside compiled
    functions.
    """
    if x.dtype not in _FLOATS or out.dtype not in _FLOATS or (factor, words.dtype) != (types.float64, types.uint32):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source, bits, target = (context.make_array(sig.args[n])(context, builder, args[n]) for n in (0, 2, 3))
        to_single = sig.args[3].dtype == types.float32

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            value = load(builder, source.data, i, width)
            if sig.args[0].dtype == types.float32:
                value = builder.fpext(value, lanes(DOUBLE, width))
            value = builder.fmul(value, copies(builder, args[1], width))
            if to_single:
                value = builder.fptrunc(value, lanes(FLOAT, width))
            store(builder, _flipped(builder, value, bits, i), target.data, i)

        each(builder, builder.extract_value(source.shape, 0), _WIDTH, body)
        return context.get_dummy_value()

    return types.void(x, factor, words, out), codegen  # type: ignore[operator]
