"""The loss of mini-batches of fresh samples, against the error of the weights that it was measured at.

Near w*, with ``h = w - w*``, an active sample has the residual ``<h, x>`` and the others have none. Half of the
samples are active, and x and -x are equally likely, so that

    E loss = E[<h, x>^2 1{<w*, x> > 0}] / 2 = ||h||^2 / 4,

which is `relufit.theory.population_loss` up to a share of at most ``0.22 ||h||``. A row of a trace has the loss at
the weights before its update. Where the row before it is r iterations back and has the relative error e, these weights
have the expected squared error ``e^2 c^(r - 1)``, with c the factor `relufit.theory.contraction` of a step. The loss
over ``e^2 c^(r - 1) / 4`` has the mean 1, whatever came before, and the ratios of successive rows are uncorrelated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from relufit import theory
from relufit.claims.trace_files import Record
from relufit.claims.verdict import Verdict, agrees
from relufit.experiments.framework.base import Setting
from relufit.experiments.framework.exact_tests import level_note, mean_over, off_by, shared, weakest

#: The mean of a mini-batch is confirmed if its interval, at the level of `exact_tests`, is within this share of the
#: expectation: at m = 1 the variance of a loss is 5 times its squared mean, and the interval over a thousand rows is
#: 0.3 to both sides. With larger batches much smaller errors are refuted.
RESOLUTION = 0.5


def loss_ratios(table: pd.DataFrame, contraction: float, least: float, most: float) -> np.ndarray:
    """Return the losses of a trace over their expectations.

    Parameters
    ----------
    table : DataFrame
        Rows of the trials of a setting, as of `relufit.training.Trace.table`, with the column ``trial``.
    contraction : float
        The expected factor of a step on the squared error.
    least, most : float
        Relative errors. A row counts if the error of the row before it is between them: below `most` the active samples
        are those of w*, and above `least` the run does not end before the row, which would select among the losses.

    Returns
    -------
    array, shape (rows that count,)
    """
    rows = table.sort_values(["trial", "iteration"])
    before = rows.groupby("trial")[["iteration", "relative_error"]].shift()
    counts = before["relative_error"].between(least, most)
    passed = (rows["iteration"] - before["iteration"])[counts]
    with np.errstate(over="ignore"):
        expected = before["relative_error"][counts] ** 2 * contraction ** (passed - 1) / 4
    ratios: np.ndarray = (rows["loss"][counts] / expected).to_numpy(np.float64)
    return ratios


def fresh_losses(settings: Sequence[Setting], results: Mapping[str, Record], most: float) -> Verdict:
    """Return the verdict on the losses of runs of SGD on fresh samples, at the optimal step: the weakest of all.

    Parameters
    ----------
    settings : sequence of Setting
        Training runs to a tolerance, without compression.
    results : mapping of str to Record
        Their traces.
    most : float
        The relative error below which losses are looked at.
    """
    confidence = shared(len(settings))
    verdicts = []
    for setting in settings:
        d, m = setting.data["d"], setting.spec["batch_size"]
        rate = theory.contraction(d, m, theory.optimal_step(d, m))
        # Rows that are more than an iteration apart are so close that no error falls by half from one to the next.
        ratios = loss_ratios(results[setting.name].table, rate, 2 * setting.spec["tolerance"], most)
        verdicts.append(
            agrees(
                "mean loss of a mini-batch over a quarter of the squared error before it",
                f"m = {m}",
                mean_over(ratios, 1.0, confidence),
                resolution=RESOLUTION,
                trials=setting.trials,
                evidence=setting.evidence,
                confidence=confidence,
                note=f"Over {len(ratios)} rows of the traces, below the relative error {most:g}. "
                f"{level_note(len(settings))}",
            )
        )
    return weakest(verdicts, off_by(1.0))
