"""Elias' universal codes of whole numbers from 1 on, in strings of zeros and ones."""

from __future__ import annotations


def gamma(n: int) -> str:
    """One zero less than n has bits, then its bits."""
    return "0" * (len(f"{n:b}") - 1) + f"{n:b}"


def omega(n: int) -> str:
    """A zero; before it n; before that the number of its bits less one, and so on down to 1."""
    code = "0"
    while n > 1:
        code = f"{n:b}" + code
        n = len(f"{n:b}") - 1
    return code
