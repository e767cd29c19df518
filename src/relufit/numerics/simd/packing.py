"""Numbers of any width up to 16 bits, packed 16 at a time.

A block is 16 lanes of 16 numbers: lane j has the numbers j, j + 16, j + 32, ... of the block, one after the other
from the low bit on in as many 16-bit little-endian words as a number has bits. Word k of all lanes is stored
before word k + 1 of any, so that shifting and merging are done for all lanes at once.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from relufit.numerics.simd.emit import INT16, INT32, constant, copies, lanes, load, store

_LANES, _ROWS = 16, 16
BLOCK = _LANES * _ROWS


def _blocks(builder: Any, size: Any, width: Any) -> Any:  # noqa: ANN401 - llvmlite is untyped
    """Loop over whole blocks; give the index of their first number and of their first byte."""
    block = ir.Constant(size.type, BLOCK)
    bytes_each = builder.mul(builder.zext(width, size.type), ir.Constant(size.type, BLOCK // 8))
    count = builder.udiv(size, block)
    loop = cgutils.for_range_slice(builder, ir.Constant(size.type, 0), count, ir.Constant(size.type, 1))
    return loop, block, bytes_each


def _shift(builder: Any, kind: str, value: Any, by: Any) -> Any:  # noqa: ANN401
    return getattr(builder, kind)(value, copies(builder, builder.trunc(by, INT16), _LANES))


@intrinsic
def pack(typingctx, levels, offset, width, out):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write ``levels + offset`` as numbers of `width` bits to the bytes `out`, whole blocks of 256 alone.

    `levels` is int16, `offset` and `width` are int32, `out` is uint8 with ``32 width`` bytes for each block. For use
    inside compiled functions.
    """
    if levels.dtype != types.int16 or out.dtype != types.uint8 or (offset, width) != (types.int32, types.int32):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source = context.make_array(sig.args[0])(context, builder, args[0])
        target = context.make_array(sig.args[3])(context, builder, args[3])
        low, bits = copies(builder, builder.trunc(args[1], INT16), _LANES), args[2]
        full, word_bytes = ir.Constant(INT32, 16), 2 * _LANES
        word = cgutils.alloca_once(builder, lanes(INT16, _LANES))
        used, at = cgutils.alloca_once(builder, INT32), cgutils.alloca_once(builder, ir.IntType(64))
        loop, block, bytes_each = _blocks(builder, builder.extract_value(source.shape, 0), bits)
        with loop as (number, _):
            builder.store(constant(INT16, _LANES, 0), word)
            builder.store(ir.Constant(INT32, 0), used)
            builder.store(builder.mul(number, bytes_each), at)
            for row in range(_ROWS):
                index = builder.add(builder.mul(number, block), ir.Constant(block.type, row * _LANES))
                value = builder.add(load(builder, source.data, index, _LANES), low)
                shift = builder.load(used)
                filled = builder.or_(builder.load(word), _shift(builder, "shl", value, shift))
                end = builder.add(shift, bits)
                builder.store(filled, word)
                builder.store(end, used)
                with builder.if_then(builder.icmp_unsigned(">=", end, full)):
                    store(builder, filled, target.data, builder.load(at))
                    builder.store(builder.add(builder.load(at), ir.Constant(block.type, word_bytes)), at)
                    # In two steps: a shift by all 16 bits at once would be undefined.
                    rest = _shift(builder, "lshr", value, builder.sub(ir.Constant(INT32, 15), shift))
                    builder.store(builder.lshr(rest, constant(INT16, _LANES, 1)), word)
                    builder.store(builder.sub(end, full), used)
        return context.get_dummy_value()

    return types.void(levels, offset, width, out), codegen  # type: ignore[operator]


@intrinsic
def unpack(typingctx, body, offset, width, levels):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Undo `pack`: write whole blocks to the int16 `levels`; return the largest number, before `offset` is taken off.

    For use inside compiled functions.
    """
    if levels.dtype != types.int16 or body.dtype != types.uint8 or (offset, width) != (types.int32, types.int32):
        return None

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source = context.make_array(sig.args[0])(context, builder, args[0])
        target = context.make_array(sig.args[3])(context, builder, args[3])
        low, bits = copies(builder, builder.trunc(args[1], INT16), _LANES), args[2]
        ones = builder.sub(builder.shl(ir.Constant(INT32, 1), bits), ir.Constant(INT32, 1))
        mask = copies(builder, builder.trunc(ones, INT16), _LANES)
        largest = cgutils.alloca_once_value(builder, constant(INT16, _LANES, 0))
        value = cgutils.alloca_once(builder, lanes(INT16, _LANES))
        loop, block, bytes_each = _blocks(builder, builder.extract_value(target.shape, 0), bits)
        with loop as (number, _):
            for row in range(_ROWS):
                begin = builder.mul(bits, ir.Constant(INT32, row))
                shift = builder.and_(begin, ir.Constant(INT32, 15))
                word = builder.zext(builder.lshr(begin, ir.Constant(INT32, 4)), block.type)
                at = builder.mul(word, ir.Constant(block.type, 2 * _LANES))
                at = builder.add(at, builder.mul(number, bytes_each))

                def words(at: Any) -> Any:  # noqa: ANN401
                    data = builder.bitcast(builder.gep(source.data, [at]), INT16.as_pointer())
                    return load(builder, data, ir.Constant(block.type, 0), _LANES)

                builder.store(_shift(builder, "lshr", words(at), shift), value)
                with builder.if_then(builder.icmp_unsigned(">", builder.add(shift, bits), ir.Constant(INT32, 16))):
                    above = words(builder.add(at, ir.Constant(block.type, 2 * _LANES)))
                    above = builder.shl(above, constant(INT16, _LANES, 1))
                    above = _shift(builder, "shl", above, builder.sub(ir.Constant(INT32, 15), shift))
                    builder.store(builder.or_(builder.load(value), above), value)
                masked = builder.and_(builder.load(value), mask)
                before = builder.load(largest)
                builder.store(builder.select(builder.icmp_unsigned(">", masked, before), masked, before), largest)
                index = builder.add(builder.mul(number, block), ir.Constant(block.type, row * _LANES))
                store(builder, builder.sub(masked, low), target.data, index)
        most = builder.load(largest)
        result = ir.Constant(INT16, 0)
        for lane in range(_LANES):
            one = builder.extract_element(most, ir.Constant(INT32, lane))
            result = builder.select(builder.icmp_unsigned(">", one, result), one, result)
        return builder.zext(result, INT32)

    return types.int32(body, offset, width, levels), codegen  # type: ignore[operator]
