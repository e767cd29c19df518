"""What goes with an encoded sum."""

from __future__ import annotations

import numpy as np
import pytest

from relufit.errors import TransportError
from relufit.training.exchanges.base import gradients_of, sum_notes


@pytest.mark.parametrize("count", [0, 1, 2**24 - 1, 2**24, 10**9 + 7, 2**47 + 12345])
def test_a_count_of_bytes_is_exact_in_two_numbers_of_single_precision(count: int) -> None:
    squares, *rest = sum_notes(0.1, count)
    assert squares == 0.1
    assert gradients_of((squares, *(float(np.float32(number)) for number in rest))) == count


@pytest.mark.parametrize(
    "notes", [(0, -1.0, 0), (0, 0, 0.5), (0, float("nan"), 0), (0, 0, 2.0**24), (0, float("inf"), 0)]
)
def test_anything_else_is_refused(notes: tuple[float, float, float]) -> None:
    with pytest.raises(TransportError, match="bytes of its gradients"):
        gradients_of(tuple(map(float, notes)))  # type: ignore[arg-type]
