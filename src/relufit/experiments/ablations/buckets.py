"""Buckets and norms of the quantizer: iterations and bytes with the omega of a bucket, against SGD in fp32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.topics import Topic
from relufit.claims.trace_files import Record
from relufit.experiments.ablations.part import LINE, Run, Section, Shown, due, run, verdict
from relufit.experiments.bits_to_accuracy.runs import LENGTH, expected_bits, length_of
from relufit.experiments.framework.counted_exchanges import payload_bytes
from relufit.experiments.framework.curves import ends

_SINGLE: dict[str, Any] = {"name": "fp32"}


class Buckets:
    """The part ``buckets``."""

    def runs(self, section: Section) -> list[Run]:
        """Return SGD in fp32, and QSGD for each norm and bucket."""
        cells = _cells(section)
        return [
            run(section, "bucket-none", _SINGLE),
            *(run(section, _name(norm, size), _qsgd(section, norm, size)) for norm, size in cells),
        ]

    def show(self, section: Section, tables: Mapping[str, pd.DataFrame]) -> Shown:
        """Compare iterations, the length of messages, and both with SGD in fp32."""
        single = ends(Record(tables["bucket-none"], {}), section["tolerance"])
        rows, fast, cheap = [], [], []
        for norm, size in _cells(section):
            name, compressor = _name(norm, size), _qsgd(section, norm, size)
            last_rows = ends(Record(tables[name], {}), section["tolerance"])
            bits, expected = length_of(tables[name], section["workers"]).bits, _expected(section, norm, size)
            statistic = "iterations over the prediction with the omega of the buckets"
            fast.append(verdict(statistic, "buckets", name, last_rows["iterations"] / due(section, compressor)))
            statistic = "length of a message over the expected one"
            length = bits / expected_bits(compressor, section["dimension"])
            cheap.append(verdict(statistic, "buckets", name, length, tolerance=LENGTH[norm]))
            measured = {
                "slower": last_rows["iterations"] / single["iterations"],
                "saving": single["uplink_bytes"] / last_rows["uplink_bytes"],
                "bits": bits / section["dimension"],
            }
            rows += [(norm, size, what, *mean_interval(values), expected[what]) for what, values in measured.items()]
        table = pd.DataFrame(rows, columns=["norm", "bucket_size", "quantity", "mean", "low", "high", "predicted"])
        sizes = {size for _, size in _cells(section)}
        # Buckets that divide the vector: of another size the last one is short.
        whole = [size for size in range(min(sizes), max(sizes) + 1) if section["dimension"] % size == 0]
        grid = sorted(sizes | set(whole))
        lines = [
            (f"{norm} {what}", size, expected)
            for norm in section["buckets"]["norms"]
            for size in grid
            for what, expected in _expected(section, norm, size).items()
        ]
        return Shown(
            table, pd.DataFrame(lines, columns=LINE), {Topic.FAST_CONVERGENCE: fast, Topic.COMMUNICATION: cheap}
        )


def _cells(section: Section) -> list[tuple[str, int]]:
    buckets = section["buckets"]
    return [(norm, size or section["dimension"]) for norm in buckets["norms"] for size in buckets["sizes"]]


def _name(norm: str, size: int) -> str:
    return f"bucket-{norm}-{size}"


def _qsgd(section: Section, norm: str, size: int) -> dict[str, Any]:
    buckets = section["buckets"]
    return {"name": "qsgd", "levels": buckets["levels"], "coding": buckets["coding"], "norm": norm, "bucket_size": size}


def _expected(section: Section, norm: str, size: int) -> dict[str, float]:
    """Return the expected iterations over those of SGD, bytes of SGD in fp32 over those of QSGD, bits a coordinate."""
    d, compressor = section["dimension"], _qsgd(section, norm, size)
    bits = expected_bits(compressor, d)
    moments = payload_bytes("fp64", d)
    alone, iterations = due(section, _SINGLE), due(section, compressor)
    sent = moments + iterations * bits / 8
    single = moments + alone * payload_bytes("fp32", d)
    return {"slower": iterations / alone, "saving": single / sent, "bits": bits / d}
