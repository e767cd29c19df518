"""Gains in bytes by the number of ranks: modelled, from expected iterations and expected lengths of payloads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from relufit import theory
from relufit.compression import Compressor, make_compressor
from relufit.compression.lengths import payload_bits
from relufit.exchange import EXCHANGES, Exchange
from relufit.experiments.framework.counted_exchanges import baseline_bytes, payload_bytes
from relufit.experiments.framework.quantized import make, qsgd

#: Levels over the root of the coordinates that are encoded together: about where fewest bytes are sent.
SIGMA = 0.6
RANKS = (2, 4, 8, 16, 32, 64)
_SINGLE = make_compressor("fp32")


def by_ranks(section: Mapping[str, Any]) -> pd.DataFrame:
    """Return for each exchange and number of ranks what QSGD is expected to save, at s = .6 sqrt(coordinates).

    The coordinates are those of a vector, or of a part where the exchange cuts vectors into parts. The coding is that
    of the section's which is shortest. The mini-batch is the section's, or the multiple of K next to it. Iterations are
    those of rows drawn with replacement, at the optimal step.

    Columns: ``exchange``, ``workers``, ``mini_batch``, ``levels``, ``coding``, ``iterations``, ``bytes`` that all
    members send, ``saving``, the bytes of SGD in fp32 in the same exchange over these, and ``baseline_saving``, those
    of SGD in fp32 by all-reduce over these.
    """
    rows = []
    for exchange in EXCHANGES.values():
        for workers in RANKS:
            d, m = section["dimension"], workers * max(1, round(section["mini_batch"] / workers))
            levels = max(1, round(SIGMA * math.sqrt(max(exchange.part_sizes(d, workers)))))
            coded = {coding: make(qsgd(section, levels, coding)) for coding in section["codings"]}
            coding = min(coded, key=lambda name: _vector_bits(exchange, coded[name], d, workers))
            iterations, sent = _run(section, exchange, coded[coding], workers, m)
            alone, single = _run(section, exchange, _SINGLE, workers, m)
            saved = single / sent, baseline_bytes(alone, workers, d) / sent
            rows.append((exchange.name, workers, m, levels, coding, iterations, sent, *saved))
    columns = ["exchange", "workers", "mini_batch", "levels", "coding", "iterations", "bytes"]
    return pd.DataFrame(rows, columns=[*columns, "saving", "baseline_saving"])


def _vector_bits(exchange: Exchange, compressor: Compressor, d: int, workers: int) -> float:
    return exchange.vector_length(partial(payload_bits, compressor), d, workers)


def _run(
    section: Mapping[str, Any], exchange: Exchange, compressor: Compressor, workers: int, m: int
) -> tuple[float, float]:
    """Return the expected iterations of a run, and the bytes that all members send."""
    d, sent = section["dimension"], exchange.sent(workers)
    omega, sum_omega = exchange.variances(compressor.variance, d, workers)
    assert omega is not None
    iterations = theory.iterations_fixed(
        d, m, section["ratio"], section["tolerance"], omega=omega, workers=workers, sum_omega=sum_omega
    )
    vectors = (sent.up + sent.down) * _vector_bits(exchange, compressor, d, workers) / 8
    moments = workers * sum(exchange.moment_copies(workers)) * payload_bytes("fp64", d)
    return iterations, moments + iterations * (vectors + sent.weights * payload_bytes("fp64", d))


def vanishes_at(table: pd.DataFrame, exchange: str) -> int | None:
    """Return the fewest ranks in a table of `by_ranks` at which an exchange saves nothing against the baseline."""
    lost = table[(table["exchange"] == exchange) & (table["baseline_saving"] <= 1)]
    return int(lost["workers"].min()) if len(lost) else None
