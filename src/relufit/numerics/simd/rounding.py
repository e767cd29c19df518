"""Random words by their number, and stochastic rounding with them.

Word i of a stream is a hash of i with the stream's 128-bit key: rounds of multiplication, with another 32 bits of
the key mixed in at each, so that any part of a stream can be had without the part before it. Every operation is
exact or rounds as IEEE 754 says, whatever the width of the vectors: the bits are the same everywhere.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from relufit.numerics.simd.emit import DOUBLE, INT16, INT32, call, constant, copies, each, lanes, load, store

_WIDTH = 16
_KEY = types.UniTuple(types.uint32, 4)


def _words(builder: Any, first: Any, key: list[Any], width: int) -> Any:  # noqa: ANN401 - llvmlite is untyped
    """Words `first`, `first` + 1, ... of the stream with that key."""

    def number(value: int) -> Any:  # noqa: ANN401
        return constant(INT32, width, value)

    def stir(x: Any, shift: int, factor: int) -> Any:  # noqa: ANN401
        return builder.mul(builder.xor(x, builder.lshr(x, number(shift))), number(factor))

    a, b, c, d = (copies(builder, part, width) for part in key)
    index = copies(builder, first, width)
    if width > 1:
        index = builder.add(index, ir.Constant(lanes(INT32, width), list(range(width))))
    x = builder.xor(builder.mul(index, number(0x9E3779B1)), a)
    x = builder.add(stir(x, 16, 0x21F0AAAD), b)
    x = builder.xor(stir(x, 15, 0x735A2D97), c)
    x = builder.add(stir(x, 15, 0xD168AAAD), d)
    return builder.xor(x, builder.lshr(x, number(16)))


@intrinsic
def draw(typingctx, first, key, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Write words `first`, `first` + 1, ... of a stream to the uint32 array `out`.

    `first` is uint32 and `key` a tuple of four uint32, see `relufit.streams.words`. For use inside compiled
    functions.
    """
    if first != types.uint32 or key != _KEY or out.dtype != types.uint32:
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        array = context.make_array(sig.args[2])(context, builder, args[2])
        parts = cgutils.unpack_tuple(builder, args[1], 4)

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            start = builder.add(args[0], builder.trunc(i, INT32))
            store(builder, _words(builder, start, parts, width), array.data, i)

        each(builder, builder.extract_value(array.shape, 0), _WIDTH, body)
        return context.get_dummy_value()

    return types.void(first, key, out), codegen  # type: ignore[operator]


@intrinsic
def round_levels(typingctx, v, scale, first, key, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write ``trunc(v_i scale + sgn(v_i) u_i)`` to the int16 array `levels`; u_i is word `first` + i times 2^-32.

    That is ``|v_i| scale`` rounded up with the probability of its fractional part, with the sign of v_i. `v` is a
    contiguous float32 or float64 array of the length of `levels`, and ``|v_i| scale + 1`` is below 2^15; `first`
    is uint32, `key` a tuple of four uint32. For use inside compiled functions.
    """
    if first != types.uint32 or key != _KEY or levels.dtype != types.int16 or scale != types.float64:
        return None
    if v.dtype not in (types.float32, types.float64):
        return None
    dtype = v.dtype

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source = context.make_array(sig.args[0])(context, builder, args[0])
        target = context.make_array(sig.args[4])(context, builder, args[4])
        parts = cgutils.unpack_tuple(builder, args[3], 4)

        def body(i: Any, width: int) -> None:  # noqa: ANN401
            start = builder.add(args[2], builder.trunc(i, INT32))
            drawn = builder.uitofp(_words(builder, start, parts, width), lanes(DOUBLE, width))
            value = load(builder, source.data, i, width)
            if dtype != types.float64:
                value = builder.fpext(value, lanes(DOUBLE, width))
            # The product with 2^-32 is exact, so that the fused operation rounds once, as product and sum would.
            unit = call(builder, "copysign", constant(DOUBLE, width, 2.0**-32), value)
            position = call(builder, "fma", drawn, unit, builder.fmul(value, copies(builder, args[1], width)))
            level = builder.fptosi(position, lanes(INT32, width))
            store(builder, builder.trunc(level, lanes(INT16, width)), target.data, i)

        each(builder, builder.extract_value(target.shape, 0), _WIDTH, body)
        return context.get_dummy_value()

    return types.void(v, scale, first, key, levels), codegen  # type: ignore[operator]
