"""Butterflies of the Walsh-Hadamard transform, up to three levels at a time.

A level replaces pairs of numbers by their sum and their difference. Several are done between a load and a store, in
vectors of eight numbers. No sum is reordered: the bits are the same everywhere.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from relufit.numerics.simd.emit import DOUBLE, INT32, copies, each, lanes, load, store

_WIDTH = 8


def _within(builder: Any, value: Any) -> Any:  # noqa: ANN401 - llvmlite is untyped
    """Three levels between the numbers of one vector."""
    for level in (1, 2, 4):
        partner = ir.Constant(lanes(INT32, _WIDTH), [lane ^ level for lane in range(_WIDTH)])
        sign = ir.Constant(lanes(DOUBLE, _WIDTH), [-1.0 if lane & level else 1.0 for lane in range(_WIDTH)])
        swapped = builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), partner)
        value = builder.fadd(swapped, builder.fmul(value, sign))
    return value


def _across(builder: Any, values: list[Any]) -> list[Any]:  # noqa: ANN401
    """Levels between 2, 4 or 8 vectors."""
    level = 1
    while level < len(values):
        values = [
            builder.fsub(values[r ^ level], value) if r & level else builder.fadd(value, values[r ^ level])
            for r, value in enumerate(values)
        ]
        level *= 2
    return values


@intrinsic
def hadamard_64(typingctx, x, factor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Replace every 64 neighbours in the float64 array `x`, in whole blocks, by `factor` times their transform.

    For use inside compiled functions.
    """
    if (x.dtype, factor) != (types.float64, types.float64):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array, scale = context.make_array(sig.args[0])(context, builder, args[0]), copies(builder, args[1], _WIDTH)
        size = builder.extract_value(array.shape, 0)
        step = ir.Constant(size.type, _WIDTH * _WIDTH)
        full = builder.sub(size, builder.urem(size, step))
        with cgutils.for_range_slice(builder, ir.Constant(size.type, 0), full, step) as (i, _):
            places = [builder.add(i, ir.Constant(size.type, _WIDTH * r)) for r in range(_WIDTH)]
            loaded = [builder.fmul(load(builder, array.data, at, _WIDTH), scale) for at in places]
            for at, value in zip(places, _across(builder, [_within(builder, value) for value in loaded]), strict=True):
                store(builder, value, array.data, at)
        return context.get_dummy_value()

    return types.void(x, factor), codegen  # type: ignore[operator]


def _butterflies(radix: int) -> Any:  # noqa: ANN401
    def butterflies(typingctx, x, stride, factor):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        """Replace groups of numbers of the float64 array `x`, `stride` apart, by `factor` times their transform.

        The size of `x` is a multiple of as many times `stride`, int64, as a group has numbers. For use inside
        compiled functions.
        """
        if (x.dtype, stride, factor) != (types.float64, types.int64, types.float64):
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


@intrinsic
def flip_signs(typingctx, x, words):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Change the sign of number i of the float64 array `x` where bit i % 32 of ``words[i // 32]``, uint32, is set.

    For use inside compiled functions.
    """
    if (x.dtype, words.dtype) != (types.float64, types.uint32):
        return None
    wide = ir.IntType(64)

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array, bits = (context.make_array(sig.args[n])(context, builder, args[n]) for n in range(2))
        data = builder.bitcast(array.data, wide.as_pointer())

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            word = builder.zext(load(builder, bits.data, builder.lshr(i, ir.Constant(i.type, 5)), 1), wide)
            first = builder.lshr(word, builder.and_(i, ir.Constant(wide, 31)))
            each_lane = ir.Constant(lanes(wide, width), list(range(width)) if width > 1 else 0)
            sign = builder.lshr(copies(builder, first, width), each_lane)
            top = builder.shl(sign, ir.Constant(lanes(wide, width), [63] * width if width > 1 else 63))
            store(builder, builder.xor(load(builder, data, i, width), top), data, i)

        each(builder, builder.extract_value(array.shape, 0), _WIDTH, body)
        return context.get_dummy_value()

    return types.void(x, words), codegen  # type: ignore[operator]
