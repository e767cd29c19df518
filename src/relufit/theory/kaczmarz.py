"""Randomized Kaczmarz: steps along gradients of single rows, each divided by the squared norm of its row.

Sources: T. Strohmer, R. Vershynin, *A Randomized Kaczmarz Algorithm with Exponential Convergence*, 2009,
arXiv:math/0702226; for means over rows J. D. Moorman, T. K. Tu, D. Molitor, D. Needell, *Randomized Kaczmarz with
Averaging*, 2020, arXiv:2002.04126.
"""

from __future__ import annotations

from relufit.theory._checks import whole
from relufit.theory.sgd import contraction, optimal_step, stability_limit

#: The kurtosis that `contraction` takes for rows divided by their norm: times sqrt(d) they have the second moments of
#: rows of SGD, and the fourth moment ``E (x . h)^2 ||x||^2 = (d - 1 + kurtosis) ||h||^2`` is ``d ||h||^2``.
NORMALIZED = 1.0


def kaczmarz_contraction(
    d: int, m: int, step: float, *, omega: float = 0.0, workers: int = 1, sum_omega: float = 0.0
) -> float:
    """Return the expected factor on the squared error of one step along the mean of m Kaczmarz gradients.

    On fresh samples near the solution, where the active rows are those of w*. A row divided by its squared norm adds
    ``u u' h`` to the gradient where it is active, with ``u = x / ||x||`` evenly distributed over the sphere. So
    ``E u u' = I / d``, half of the rows are active, ``(u u')^2 = u u'``, and of the mean N_b over b rows
    ``E N_b = I / (2 d)`` and ``E||N_b h||^2 = C(b) ||h||^2``. As in `contraction`

        E||h+||^2 / ||h||^2 = 1 - step / d + step^2 (1 + sum_omega) [C(m) + (omega / workers) C(b)],
        C(b) = 1 / (2 d b) + (1 - 1 / b) / (4 d^2) = (2 d + b - 1) / (4 d^2 b).

    It is `contraction` at the step ``step / d`` with the kurtosis `NORMALIZED`, and exact for infinitesimal h: at
    m = 1 and step 1 the factor is ``1 - 1 / (2 d)``, and at the best step ``2 d m / (2 d + m - 1)`` it is
    ``1 - m / (2 d + m - 1)``.

    Parameters and errors are those of `contraction`, but that the step is along means of gradients that are divided by
    the squared norm of their rows.
    """
    encoded = {"omega": omega, "workers": workers, "sum_omega": sum_omega}
    return contraction(d, m, step / whole("d", d), kurtosis=NORMALIZED, **encoded)  # type: ignore[arg-type]


def kaczmarz_optimal_step(d: int, m: int, *, omega: float = 0.0, workers: int = 1, sum_omega: float = 0.0) -> float:
    """Return the step that minimises `kaczmarz_contraction`; ``2 d m / (2 d + m - 1)`` if omega = 0, 1 at m = 1."""
    return d * optimal_step(d, m, omega=omega, workers=workers, sum_omega=sum_omega, kurtosis=NORMALIZED)


def kaczmarz_stability_limit(d: int, m: int, *, omega: float = 0.0, workers: int = 1, sum_omega: float = 0.0) -> float:
    """Return the step from which on `kaczmarz_contraction` is 1 or more."""
    return d * stability_limit(d, m, omega=omega, workers=workers, sum_omega=sum_omega, kurtosis=NORMALIZED)
