"""Numbers to the nearest of few levels that are symmetric about zero, and back, many at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from relufit.numerics.simd.emit import FLOAT, INT16, INT32, call, constant, copies, each, lanes, load, store

_WIDTH = 16


@intrinsic
def to_levels(typingctx, x, limits, levels, indices, nearest):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the index of the level of each number of `x` to `indices`, and the level to `nearest`.

    `levels`, (h,), are those above zero, and the magnitude of a number above ``limits[j]``, (h - 1,), has level j + 1
    or a higher one. Indices, int16, count all levels from the lowest on; zero has the index h - 1. Other arrays are
    float32. For use inside compiled functions.
    """
    if indices.dtype != types.int16 or {x.dtype, limits.dtype, levels.dtype, nearest.dtype} != {types.float32}:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source, edges, table, target, found = (
            context.make_array(kind)(context, builder, value) for kind, value in zip(sig.args, args, strict=True)
        )
        count = builder.extract_value(edges.shape, 0)
        zero, one = ir.Constant(count.type, 0), ir.Constant(count.type, 1)
        slots = {
            width: [cgutils.alloca_once(builder, lanes(kind, width)) for kind in (INT32, FLOAT)]
            for width in (_WIDTH, 1)
        }

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            value, (above, level) = load(builder, source.data, i, width), slots[width]
            magnitude = call(builder, "fabs", value)
            builder.store(constant(INT32, width, 0), above)
            builder.store(copies(builder, load(builder, table.data, zero, 1), width), level)
            with cgutils.for_range_slice(builder, zero, count, one) as (j, _):
                limit = copies(builder, load(builder, edges.data, j, 1), width)
                higher = copies(builder, load(builder, table.data, builder.add(j, one), 1), width)
                exceeds = builder.fcmp_ordered(">", magnitude, limit)
                more = builder.zext(exceeds, lanes(INT32, width))
                builder.store(builder.add(builder.load(above), more), above)
                builder.store(builder.select(exceeds, higher, builder.load(level)), level)
            half = copies(builder, builder.trunc(builder.add(count, one), INT32), width)
            up, number = builder.fcmp_ordered(">", value, constant(FLOAT, width, 0.0)), builder.load(above)
            down = builder.sub(builder.sub(half, constant(INT32, width, 1)), number)
            index = builder.select(up, builder.add(half, number), down)
            store(builder, builder.trunc(index, lanes(INT16, width)), target.data, i)
            number = builder.load(level)
            store(builder, builder.select(up, number, builder.fneg(number)), found.data, i)

        each(builder, builder.extract_value(source.shape, 0), _WIDTH, body)
        return context.get_dummy_value()

    return types.void(x, limits, levels, indices, nearest), codegen  # type: ignore[operator]


@intrinsic
def from_levels(typingctx, indices, levels, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the levels that `indices` stand for to `out`; see `to_levels`. For use inside compiled functions."""
    if indices.dtype != types.int16 or {levels.dtype, out.dtype} != {types.float32}:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source, table, target = (
            context.make_array(kind)(context, builder, value) for kind, value in zip(sig.args, args, strict=True)
        )
        half = builder.extract_value(table.shape, 0)
        zero, one = ir.Constant(half.type, 0), ir.Constant(half.type, 1)
        slots = {width: cgutils.alloca_once(builder, lanes(FLOAT, width)) for width in (_WIDTH, 1)}

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            index = builder.sext(load(builder, source.data, i, width), lanes(INT32, width))
            offset = builder.sub(index, copies(builder, builder.trunc(half, INT32), width))
            # Below zero, -1 - offset is the number of the magnitude: that is all bits flipped.
            sign = builder.ashr(offset, constant(INT32, width, 31))
            number = builder.xor(offset, sign)
            builder.store(copies(builder, load(builder, table.data, zero, 1), width), slots[width])
            with cgutils.for_range_slice(builder, one, half, one) as (j, _):
                higher = copies(builder, load(builder, table.data, j, 1), width)
                reached = builder.icmp_signed(">=", number, copies(builder, builder.trunc(j, INT32), width))
                builder.store(builder.select(reached, higher, builder.load(slots[width])), slots[width])
            bits = builder.bitcast(builder.load(slots[width]), lanes(INT32, width))
            top = builder.and_(sign, constant(INT32, width, -(2**31)))
            store(builder, builder.bitcast(builder.xor(bits, top), lanes(FLOAT, width)), target.data, i)

        each(builder, builder.extract_value(source.shape, 0), _WIDTH, body)
        return context.get_dummy_value()

    return types.void(indices, levels, out), codegen  # type: ignore[operator]
