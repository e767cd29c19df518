"""Inner products with a fixed order of summation, at the speed of the vector unit.

A compiler may only vectorise a sum by reordering it, and then the result depends on the width of the machine's
vectors. Here the order is part of the definition: 16 running sums, each a chain of fused multiply-adds over
every 16th product, added pairwise, and the remaining products one by one. LLVM maps it on whatever vectors the
machine has; the bits are the same everywhere.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from relufit.numerics.simd.emit import DOUBLE, INT32, call, constant, lanes, load

_WIDTH, _VECTORS = 8, 2


def _pairwise(builder: Any, terms: list[Any]) -> Any:  # noqa: ANN401 - llvmlite is untyped
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [builder.fadd(low, high) for low, high in zip(terms[:half], terms[half:], strict=True)]
    return terms[0]


@intrinsic
def dots(typingctx, rows, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Inner products of each array of the tuple `rows` with `weights`, as a tuple of float64.

    Rows and weights are float32 or float64 and contiguous; products and sums are in float64.
    For use inside compiled functions.
    """
    count = rows.count
    signature = types.UniTuple(types.float64, count)(rows, weights)  # type: ignore[attr-defined]

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        element = sig.args[0].dtype
        make_row, make_weights = context.make_array(element), context.make_array(sig.args[1])
        row_data = [make_row(context, builder, v).data for v in cgutils.unpack_tuple(builder, args[0], count)]
        weight_array = make_weights(context, builder, args[1])
        size = builder.extract_value(weight_array.shape, 0)
        step = ir.Constant(size.type, _WIDTH * _VECTORS)
        full = builder.sub(size, builder.urem(size, step))

        def numbers(data: Any, at: Any, width: int) -> Any:  # noqa: ANN401
            value = load(builder, data, at, width)
            return value if data.type.pointee == DOUBLE else builder.fpext(value, lanes(DOUBLE, width))

        zero = constant(DOUBLE, _WIDTH, 0.0)
        sums = [[cgutils.alloca_once(builder, zero.type) for _ in range(_VECTORS)] for _ in row_data]
        for slot in (slot for row in sums for slot in row):
            builder.store(zero, slot)
        with cgutils.for_range_slice(builder, ir.Constant(size.type, 0), full, step) as (k, _):
            for part in range(_VECTORS):
                at = builder.add(k, ir.Constant(size.type, part * _WIDTH))
                weight = numbers(weight_array.data, at, _WIDTH)
                for data, row in zip(row_data, sums, strict=True):
                    value = numbers(data, at, _WIDTH)
                    builder.store(call(builder, "fma", value, weight, builder.load(row[part])), row[part])

        totals = []
        for row in sums:
            vector = _pairwise(builder, [builder.load(slot) for slot in row])
            singles = [builder.extract_element(vector, ir.Constant(INT32, i)) for i in range(_WIDTH)]
            totals.append(cgutils.alloca_once(builder, DOUBLE))
            builder.store(_pairwise(builder, singles), totals[-1])
        with cgutils.for_range_slice(builder, full, size, ir.Constant(size.type, 1)) as (k, _):
            weight = numbers(weight_array.data, k, 1)
            for data, total in zip(row_data, totals, strict=True):
                value = numbers(data, k, 1)
                builder.store(call(builder, "fma", value, weight, builder.load(total)), total)
        return context.make_tuple(builder, sig.return_type, [builder.load(total) for total in totals])

    return signature, codegen
