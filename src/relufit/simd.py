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

_WIDTH, _VECTORS = 8, 2
_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, _WIDTH)


def _fused(builder: Any, kind: Any, name: str) -> Any:  # noqa: ANN401 - llvmlite is untyped
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.{name}")


def _pairwise(builder: Any, terms: list[Any]) -> Any:  # noqa: ANN401
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [builder.fadd(low, high) for low, high in zip(terms[:half], terms[half:], strict=True)]
    return terms[0]


@intrinsic
def dots(typingctx, rows, weights):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - numba's protocol
    """Inner products of each array of the tuple `rows` with `weights`, as a tuple of float64.

    The rows are float32 or float64 and contiguous, `weights` is float64; products and sums are in float64.
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

        def load(data: Any, dtype: Any, at: Any, wide: bool) -> Any:  # noqa: ANN401
            pointer, result = builder.gep(data, [at]), _DOUBLE
            if wide:
                kind = ir.VectorType(context.get_value_type(dtype), _WIDTH)
                pointer, result = builder.bitcast(pointer, kind.as_pointer()), _VECTOR
            value = builder.load(pointer)
            value.align = dtype.bitwidth // 8
            return value if dtype == types.float64 else builder.fpext(value, result)

        zero = ir.Constant(_VECTOR, [0.0] * _WIDTH)
        sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(_VECTORS)] for _ in row_data]
        for place in (place for row in sums for place in row):
            builder.store(zero, place)
        fused = _fused(builder, _VECTOR, f"v{_WIDTH}f64")
        with cgutils.for_range_slice(builder, ir.Constant(size.type, 0), full, step) as (k, _):
            for part in range(_VECTORS):
                at = builder.add(k, ir.Constant(size.type, part * _WIDTH))
                weight = load(weight_array.data, types.float64, at, True)
                for data, row in zip(row_data, sums, strict=True):
                    value = load(data, element.dtype, at, True)
                    builder.store(builder.call(fused, [value, weight, builder.load(row[part])]), row[part])

        totals = []
        for row in sums:
            vector = _pairwise(builder, [builder.load(place) for place in row])
            lanes = [builder.extract_element(vector, ir.Constant(ir.IntType(32), i)) for i in range(_WIDTH)]
            totals.append(cgutils.alloca_once(builder, _DOUBLE))
            builder.store(_pairwise(builder, lanes), totals[-1])
        fused = _fused(builder, _DOUBLE, "f64")
        with cgutils.for_range_slice(builder, full, size, ir.Constant(size.type, 1)) as (k, _):
            weight = load(weight_array.data, types.float64, k, False)
            for data, total in zip(row_data, totals, strict=True):
                value = load(data, element.dtype, k, False)
                builder.store(builder.call(fused, [value, weight, builder.load(total)]), total)
        return context.make_tuple(builder, sig.return_type, [builder.load(total) for total in totals])

    return signature, codegen
