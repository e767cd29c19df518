"""The model of an iteration against iterations that were measured."""

from __future__ import annotations

import math

import pandas as pd

from relufit.errors import ConfigError, DataError
from relufit.exchange import find_exchange
from relufit.planning.costs import FEEDBACK, named, vector_bytes
from relufit.theory.network import Network, Work

#: Columns that must be there, and what the others are where they are not.
COLUMNS = ("exchange", "compressor", "K", "d", "rate", "round_trip", "compute", "encode", "decode", "seconds")
_DEFAULTS = {"update": 0.0, "weights": 0.0, "message": 0.0, "byte": 0.0, "mtu": 1500, "apart": True}


def validate(measured: pd.DataFrame) -> pd.DataFrame:
    """Return measured iterations with the model's bounds, from the same run's costs, and the ratios to them.

    Parameters
    ----------
    measured : DataFrame
        A row a setting: ``exchange`` (a key of `relufit.exchange.EXCHANGES`), ``compressor`` (such as ``fp32`` or
        ``qsgd-s16-rans``), ``K``, ``d``, ``rate`` (bit/s, infinite for none), ``round_trip``, ``seconds`` (of an
        iteration), and the costs in seconds: ``compute`` and ``encode`` of the slowest rank, ``decode`` of *one*
        gradient (the column of a trace is of all K). Optional: ``payload``, the bytes of a gradient, in place of what
        is expected; ``update``, ``weights``, ``message``, ``byte`` as in `relufit.theory.Work`, 0 if not given;
        ``mtu``, 1500; ``apart``, whether a master has a host of its own, true.

    Returns
    -------
    DataFrame
        Those columns, and ``lower``, ``upper``, ``network`` (the share of the upper bound that the link and the latency
        have), ``lower_ratio`` and ``upper_ratio``, predicted over measured, and ``error``: how far the measured seconds
        are outside of the bounds, relative; 0 between them, below 0 if the run was faster.

    Raises
    ------
    DataError
        If a column is missing, or a number is impossible.
    """
    missing = [column for column in COLUMNS if column not in measured]
    if missing:
        raise DataError(f"no column {', '.join(missing)}", where="measured iterations", remedy="see `validate`")
    made = []
    for index, row in enumerate(measured.to_dict("records")):
        try:
            made.append(_row({str(key): value for key, value in row.items()}))
        except (ValueError, TypeError, ConfigError) as error:
            raise DataError(str(error), where=f"measured iterations, row {index}") from error
    return pd.concat([measured.reset_index(drop=True), pd.DataFrame(made)], axis=1)


def _row(given: dict[str, object]) -> dict[str, float]:
    values: dict[str, object] = _DEFAULTS | given
    number = {key: float(str(values[key])) for key in values if key not in ("exchange", "compressor", "apart")}
    d, seconds = int(number["d"]), number["seconds"]
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be finite and above 0, not {seconds!r}")
    work = Work(**{name: number[name] for name in vars(Work())})
    network = Network(number["rate"], number["round_trip"] / 2, int(number["mtu"]))
    exchange, workers = find_exchange(str(values["exchange"])), int(number["K"])
    compressor = named(str(values["compressor"]).removesuffix(FEEDBACK))
    payload = number.get("payload") or vector_bytes(compressor, exchange, d, workers)
    iteration = exchange.iteration(workers, payload, d, network, work, apart=bool(values["apart"]))
    outside = max(0.0, seconds / iteration.upper - 1) + min(0.0, seconds / iteration.lower - 1)
    return {
        "lower": iteration.lower,
        "upper": iteration.upper,
        "network": (iteration.link + iteration.latency) / iteration.upper,
        "lower_ratio": iteration.lower / seconds,
        "upper_ratio": iteration.upper / seconds,
        "error": outside,
    }
