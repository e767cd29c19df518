"""The conformance suite of compressors: what every one promises, checked on any one, ours or another package's.

It needs no test framework. A package with a compressor of its own has this among its tests::

    from relufit.testing import check_compressor

    def test_conformance():
        check_compressor(RandomFraction(0.25))
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from relufit.compression import Compressor
from relufit.testing import declarations, hostile, payloads, statistics, sums
from relufit.testing.check import Check

__all__ = ["Check", "check_compressor", "compressor_checks"]


def compressor_checks() -> list[Check]:
    """Return the checks in the order in which `check_compressor` runs them; each has a name and a description."""
    return [*declarations.CHECKS, *payloads.CHECKS, *sums.CHECKS, *hostile.CHECKS, *statistics.CHECKS]


def check_compressor(compressor: Compressor, checks: Iterable[Check] | None = None) -> None:
    """Check that a compressor keeps all promises of `relufit.compression.Compressor`.

    The checks are seeded: they give the same answer each time. A right compressor fails by chance, over all seeds that
    might have been chosen, with a probability of about 1e-5. They take a few seconds.

    Parameters
    ----------
    compressor : Compressor
    checks : iterable of Check, optional
        Those to run, by default all of `compressor_checks`.

    Raises
    ------
    AssertionError
        At the first broken promise: it names the compressor, the check, and what was wrong.
    """
    for check in compressor_checks() if checks is None else checks:
        with warnings.catch_warnings():
            # Infinity and NaN, or a division by zero, on the way to a result.
            warnings.simplefilter("error", RuntimeWarning)
            try:
                check.run(compressor)
            except AssertionError as error:
                raise AssertionError(f"{compressor!r}: {check.name}: {error}") from error
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise AssertionError(f"{compressor!r}: {check.name}: raised {what}") from error
