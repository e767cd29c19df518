"""What the hand-written loops share: types, constants and loads for one number or for a vector of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils

INT8, INT16, INT32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
DOUBLE, FLOAT = ir.DoubleType(), ir.FloatType()


def lanes(kind: Any, width: int) -> Any:  # noqa: ANN401 - llvmlite is untyped
    """Return the type of `width` numbers of that kind."""
    return kind if width == 1 else ir.VectorType(kind, width)


def constant(kind: Any, width: int, value: float) -> Any:  # noqa: ANN401
    """Return `width` copies of a constant."""
    return ir.Constant(lanes(kind, width), value if width == 1 else [ir.Constant(kind, value)] * width)


def copies(builder: Any, value: Any, width: int) -> Any:  # noqa: ANN401
    """Return `width` copies of a value."""
    if width == 1:
        return value
    empty = ir.Constant(lanes(value.type, width), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, empty, constant(INT32, width, 0))


def call(builder: Any, name: str, *operands: Any) -> Any:  # noqa: ANN401
    """Call LLVM's intrinsic `name` on operands of one type of floating-point numbers."""
    kind = operands[0].type
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    suffix = "f64" if element == DOUBLE else "f32"
    suffix = f"v{kind.count}{suffix}" if isinstance(kind, ir.VectorType) else suffix
    function = ir.FunctionType(kind, [kind] * len(operands))
    return builder.call(
        cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.{suffix}"), list(operands)
    )


def load(builder: Any, data: Any, at: Any, width: int) -> Any:  # noqa: ANN401
    """Load `width` neighbours from any address."""
    kind = data.type.pointee
    value = builder.load(builder.bitcast(builder.gep(data, [at]), lanes(kind, width).as_pointer()))
    value.align = 1
    return value


def store(builder: Any, value: Any, data: Any, at: Any) -> None:  # noqa: ANN401
    """Store neighbours at any address; `data` may point to smaller numbers than those of `value`."""
    builder.store(value, builder.bitcast(builder.gep(data, [at]), value.type.as_pointer())).align = 1


def each(builder: Any, size: Any, width: int, body: Callable[[Any, int], None]) -> None:  # noqa: ANN401
    """Emit ``body(i, width)`` for every `width` indices below `size`, and ``body(i, 1)`` for each that is left."""
    zero, one, step = (ir.Constant(size.type, number) for number in (0, 1, width))
    full = builder.sub(size, builder.urem(size, step))
    with cgutils.for_range_slice(builder, zero, full, step) as (i, _):
        body(i, width)
    with cgutils.for_range_slice(builder, full, size, one) as (i, _):
        body(i, 1)
