"""Numbers as parameters: Python's and numpy's, which become Python's own, so that JSON can hold them."""

from __future__ import annotations

import math

import numpy as np


def whole(value: object) -> int | None:
    """Return a whole number of at most 64 bits as an int; None for all else: 2.0, "2" and True are none."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return None
    number = int(value)
    return number if -(2**63) <= number < 2**63 else None


def real(value: object) -> int | float | None:
    """Return a finite number as an int or a float; None for all else: "0.1", NaN, True and a Decimal are none."""
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else None
    return whole(value)
