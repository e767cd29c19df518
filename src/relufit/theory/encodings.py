"""What an encoding makes of a vector, in the mean: all that theory needs to know of a compressor."""

from __future__ import annotations

from typing import NamedTuple

from relufit.theory._checks import nonnegative


class Encoding(NamedTuple):
    """The first two moments of what a compressor makes of a vector p: ``C(p) = gain p + n``.

    The error n is uncorrelated with p and evenly spread over all directions, and ``E||n||^2 = noise ||p||^2``.

    Parameters
    ----------
    gain, noise : float
        ``<C(p), p> / ||p||^2``, and the mean square of the error.
    """

    gain: float
    noise: float

    @classmethod
    def contraction(cls, delta: float) -> Encoding:
        """Return a compressor with ``<C(p), p> = ||C(p)||^2 = delta ||p||^2``, as signs and the largest numbers are.

        Raises
        ------
        ValueError
            If delta is not above 0 and at most 1.
        """
        if not 0 < delta <= 1:
            raise ValueError(f"delta must be above 0 and at most 1, not {delta!r}")
        return cls(delta, delta * (1 - delta))

    @classmethod
    def unbiased(cls, omega: float) -> Encoding:
        """Return a compressor whose mean is p, with ``E||C(p) - p||^2 = omega ||p||^2``."""
        return cls(1.0, nonnegative("omega", omega))


#: What loses nothing.
EXACT = Encoding(1.0, 0.0)
