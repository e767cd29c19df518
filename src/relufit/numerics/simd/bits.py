"""Bit operations that the compiler of loops does not offer by itself."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from relufit.numerics.simd.emit import INT32, copies, each, load, store

_INT64 = ir.IntType(64)


@intrinsic
def leading_zeros(typingctx, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Number of zeros before the first one of a uint64; 64 for zero. For use inside compiled functions."""
    if number != types.uint64:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen  # type: ignore[operator]


@intrinsic
def ones(typingctx, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Number of ones of a uint64. For use inside compiled functions."""
    if number != types.uint64:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen  # type: ignore[operator]


@intrinsic
def multiply_high(typingctx, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Upper half of the product of two uint64, that is floor(a b / 2^64). For use inside compiled functions."""
    if a != types.uint64 or b != types.uint64:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen  # type: ignore[operator]


@intrinsic
def count(typingctx, levels, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """How often the int16 `value` is in the int16 array `levels`, 2^31 times at most. For compiled functions."""
    if levels.dtype != types.int16 or value != types.int16:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array = context.make_array(sig.args[0])(context, builder, args[0])
        total = cgutils.alloca_once_value(builder, ir.Constant(INT32, 0))

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            same = builder.icmp_signed("==", load(builder, array.data, i, width), copies(builder, args[1], width))
            if width > 1:
                same = builder.ctpop(builder.bitcast(same, ir.IntType(width)))
            elif same.type != INT32:
                same = builder.zext(same, INT32)
            builder.store(builder.add(builder.load(total), same), total)

        each(builder, builder.extract_value(array.shape, 0), 32, body)
        return builder.zext(builder.load(total), ir.IntType(64))

    return types.int64(levels, value), codegen  # type: ignore[operator]


@intrinsic
def at_least(typingctx, numbers, first, mask, least):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """A uint64 whose bit k is 1 where ``numbers[first + k] & mask >= least``, for k from 0 to 63.

    `numbers` is a uint32 or uint64 array; `first`, `mask` and `least` are uint64 that its type can hold. Nothing is
    checked: 64 numbers have to be there. For use inside compiled functions.
    """
    if not isinstance(numbers, types.Array) or numbers.dtype not in (types.uint32, types.uint64):
        return None
    if {first, mask, least} != {types.uint64}:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array, width = context.make_array(sig.args[0])(context, builder, args[0]), 16
        kind, result = array.data.type.pointee, ir.Constant(_INT64, 0)
        kept, lowest = (builder.trunc(arg, kind) if kind != _INT64 else arg for arg in args[2:])
        for start in range(0, 64, width):
            some = load(builder, array.data, builder.add(args[1], ir.Constant(_INT64, start)), width)
            some = builder.and_(some, copies(builder, kept, width))
            found = builder.icmp_unsigned(">=", some, copies(builder, lowest, width))
            found = builder.zext(builder.bitcast(found, ir.IntType(width)), _INT64)
            result = builder.or_(result, builder.shl(found, ir.Constant(_INT64, start)))
        return result

    return types.uint64(numbers, types.uint64, types.uint64, types.uint64), codegen  # type: ignore[operator]


def _is_body(body: Any, at: Any) -> bool:  # noqa: ANN401 - numba's types are untyped
    return isinstance(body, types.Array) and body.dtype == types.uint8 and at == types.uint64


@intrinsic
def load_bits(typingctx, body, at):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Eight bytes of the uint8 array `body` from index `at` on, uint64, as a number whose first byte is the highest.

    Nothing is checked: they have to be there. For use inside compiled functions.
    """
    if not _is_body(body, at):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array = context.make_array(sig.args[0])(context, builder, args[0])
        data = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())
        return builder.bswap(load(builder, data, ir.Constant(INT32, 0), 1))

    return types.uint64(body, at), codegen  # type: ignore[operator]


@intrinsic
def store_bits(typingctx, word, body, at):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Write a uint64 to the uint8 array `body` from index `at` on, uint64, its highest byte first.

    Nothing is checked: there have to be eight bytes. For use inside compiled functions.
    """
    if not _is_body(body, at) or word != types.uint64:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array = context.make_array(sig.args[1])(context, builder, args[1])
        store(builder, builder.bswap(args[0]), array.data, args[2])
        return context.get_dummy_value()

    return types.void(word, body, at), codegen  # type: ignore[operator]
