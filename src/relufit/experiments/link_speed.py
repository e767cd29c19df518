"""Seconds between hosts: what compression gains on links of several speeds, and how fast whole runs come to w*.

Hosts are emulated on this machine: processes in networks of their own, real TCP over links with a rate and a round
trip. An iteration is timed at rates that the machine can carry; the alpha-beta model of `relufit.theory.network`, with
the costs of computing, encoding and decoding measured in the same runs, is laid over it and goes on beyond.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from relufit.claims.statistics import mean_interval
from relufit.claims.verdict import INCONCLUSIVE, Verdict, exactly, judge
from relufit.experiments.base import Judgement, Setting
from relufit.experiments.curves import typical_curve
from relufit.experiments.quantized import make
from relufit.records import Record
from relufit.theory import network

NAME = "link_speed"
_EXCHANGES: dict[str, dict[str, str]] = {
    "master": {},
    "relay": {"downlink": "relay"},
    "all_to_all": {"topology": "all_to_all"},
}
#: Compressors that are timed in some exchanges only.
_ONLY = {"sgd-fp64": ("master",), "qsgd-s4-rans": ("all_to_all",)}
#: Bytes of a packet on the emulated links.
_MTU = 9001
#: Levels over sqrt(d) at which QSGD with an entropy code takes the fewest bits to an error.
_BEST = 0.6
#: The network dominates where links and latency are that part of the predicted seconds.
_DOMINATES = 2 / 3
#: A part of the predicted gain that is to be had; how far outside of the bounds of the model seconds may be.
_LEAST_GAIN, _MOST_OUTSIDE = 0.9, 0.15
#: Headers of TCP, IP and Ethernet in a packet; and of what interfaces count, the part that is neither frames nor
#: these: greetings, and what TCP sends again.
_PACKET_BYTES, _MOST_REST = 66, 0.02
_CURVE_RATES = np.geomspace(1e7, 1e11, 41)


class Run(NamedTuple):
    """One way to train: by name, the compressor and the exchange."""

    name: str
    compressor: dict[str, Any]
    exchange: str


def _compressors(d: int) -> dict[str, dict[str, Any]]:
    best = max(1, round(_BEST * math.sqrt(d)))
    return {
        "sgd-fp64": {"name": "fp64"},
        "sgd-fp32": {"name": "fp32"},
        f"qsgd-s{best}-rans": {"name": "qsgd", "levels": best, "coding": "rans"},
        f"qsgd-s{best}-packed": {"name": "qsgd", "levels": best, "coding": "packed"},
        "qsgd-s4-rans": {"name": "qsgd", "levels": 4, "coding": "rans"},
    }


def _runs(d: int) -> Iterator[Run]:
    """Yield what is timed: fp64 with a master alone, and the fewest levels where nothing but gradients travels."""
    for name, compressor in _compressors(d).items():
        for exchange in _EXCHANGES:
            if exchange in _ONLY.get(name, _EXCHANGES):
                yield Run(f"{name}-{exchange}", compressor, exchange)


def _cell_name(cell: Mapping[str, Any]) -> str:
    return f"d{cell['dimension']}-K{cell['workers']}"


def _payload(compressor: dict[str, Any], d: int) -> float:
    """Return the bytes of an encoded gradient that are to be expected."""
    made = make(compressor)
    expected = getattr(made, "expected_bits", None)
    return expected(d) / 8 if expected else float(len(made.encode(np.ones(d), 0)))


def _traffic(run: Run, cell: Mapping[str, Any], payload: float, rate: float, round_trip: float) -> float:
    """Return the bits a second that all links together are expected to carry."""
    d, ranks = cell["dimension"], cell["workers"]
    gradients, weights = network.messages_sent(run.exchange, ranks)
    whole = gradients * payload + weights * network.weights_bytes(d)
    return 8 * whole / network.iteration(run.exchange, ranks, payload, d, _link(rate, round_trip), network.Work()).lower


def _link(rate: float, round_trip: float) -> network.Network:
    return network.Network(rate, round_trip / 2, _MTU)


class LinkSpeed:
    """The experiment ``link_speed``."""

    NAME = NAME
    TITLE = "What compression gains on links of several speeds"
    QUESTION = "Between hosts, how much faster is QSGD than SGD, and does it keep its convergence?"
    PREDICTION = (
        "the alpha-beta model (theory.network.iteration), with computing, encoding and decoding as measured in the "
        "same runs: seconds of an iteration are those of the work, of half round trips, and of bytes over the rate"
    )
    TIMED = True
    TABLES = ("timing-iterations", "timing-model", "timing-curves")

    def settings(self, config: Mapping[str, Any]) -> list[Setting]:
        """Return a setting for each cell of dimension and ranks, and one for each whole run."""
        section, found = config[NAME], []
        for cell in section["cells"]:
            d, ranks = cell["dimension"], cell["workers"]
            runs = {}
            for run in _runs(d):
                payload = _payload(run.compressor, d)
                rates = [
                    rate
                    for rate in cell["rates"]
                    if _traffic(run, cell, payload, rate, section["round_trip"]) <= section["carried"]
                ]
                runs[run.name] = {"compressor": run.compressor, "rates": rates, **_EXCHANGES[run.exchange]}
            spec = {
                "runs": runs,
                "round_trip": section["round_trip"],
                "workers": ranks,
                "batch_size": section["rank_batch"] * ranks,
                "iterations": section["iterations"],
            }
            data = {"n": section["rank_rows"] * ranks, "d": d, "noise_std": 0.1}
            found.append(Setting(NAME, _cell_name(cell), data, spec, section["trials"], procedure="time_links"))
        whole = section["whole"]
        data = {"n": round(whole["ratio"] * whole["dimension"]), "d": whole["dimension"]}
        names = tuple(f"{NAME}-{trial}" for trial in range(section["trials"]))
        for run in _whole_runs(whole):
            spec = {
                "compressor": run.compressor,
                "batch_size": whole["mini_batch"],
                "step_size": "optimal",
                **_EXCHANGES[run.exchange],
                **{key: whole[key] for key in ("workers", "iterations", "tolerance", "record_every", "rate")},
                "round_trip": section["round_trip"],
            }
            found.append(
                Setting(NAME, run.name, data, spec, section["trials"], procedure="train_on_links", datasets=names)
            )
        return found

    def judge(
        self, config: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
    ) -> Judgement:
        """Hold the seconds against the model, the bytes against what interfaces have counted."""
        section = config[NAME]
        gains: list[Verdict] = []
        exact: list[Verdict] = []
        measured, modelled = [], []
        for cell in section["cells"]:
            name = _cell_name(cell)
            told = timings[name].about["trials"]
            evidence = f"traces/{NAME}/{name}.timing.parquet"
            model = _Model(cell, section, results[name].table, timings[name].table, told)
            points, curves = model.points(), model.curves()
            modelled.append(curves)
            measured.append(points)
            refused = told[0]["refused"]
            exact += _exactness(name, told, points, evidence) if not refused else []
            gains += _gains(name, points, section["trials"], evidence, refused)
            gains += _agreement(name, points, section["trials"], evidence) if not refused else []
        curves, whole = _whole_curves(section, results, timings)
        gains += whole
        tables = {
            "timing-iterations": pd.concat(measured, ignore_index=True),
            "timing-model": pd.concat(modelled, ignore_index=True),
            "timing-curves": curves,
        }
        setting = (
            f"hosts emulated on one machine, one a rank and one for a master, TCP, a round trip of "
            f"{1e3 * section['round_trip']:g} ms, MTU {_MTU}; cells of dimension and ranks "
            f"{', '.join(_cell_name(cell) for cell in section['cells'])}; {section['rank_batch']} rows a rank and "
            f"iteration; at most {section['carried'] / 1e9:g} Gbit/s over all links are timed; {section['trials']} "
            f"trials; whole runs at {section['whole']['rate'] / 1e6:g} Mbit/s, d = {section['whole']['dimension']}, "
            f"K = {section['whole']['workers']}, m = {section['whole']['mini_batch']}"
        )
        budget = f"{section['iterations']} iterations; whole runs {section['whole']['iterations']}"
        return Judgement(setting, budget, {"communication": exact, "network": gains}, tables)


def _whole_runs(whole: Mapping[str, Any]) -> list[Run]:
    chosen = {run.name: run for run in _runs(whole["dimension"]) if run.exchange == "all_to_all"}
    return [run._replace(name=f"run-{name}") for name, run in chosen.items() if "-s4-" not in name]


class _Model:
    """The model of one cell, with the costs that its runs have measured.

    `measured` has a row for each run, rate and trial.
    """

    def __init__(
        self,
        cell: Mapping[str, Any],
        section: Mapping[str, Any],
        bytes_table: pd.DataFrame,
        measured: pd.DataFrame,
        told: list[dict[str, Any]],
    ) -> None:
        self._cell, self._measured, self._d, self._ranks = cell, measured, cell["dimension"], cell["workers"]
        self._bytes = bytes_table.groupby("run")["uplink_bytes"].mean()
        trips = [its["cluster"]["measured"]["round_trip"] for its in told if not its["refused"]]
        self._round_trip = float(np.median(trips)) if trips else section["round_trip"]

    def points(self) -> pd.DataFrame:
        """Return what was measured, with the seconds predicted and the part of them that the network takes."""
        found = self._measured[self._measured["rate"] > 0].copy()
        runs = {run.name: run for run in _runs(self._d)}
        predicted = [self.iteration(runs[name], rate) for name, rate in zip(found["run"], found["rate"], strict=True)]
        found["predicted"] = [its.upper for its in predicted]
        found["at_least"] = [its.lower for its in predicted]
        found["network"] = [(its.link + its.latency) / its.upper for its in predicted]
        found["cell"] = _cell_name(self._cell)
        found["exchange"] = [runs[name].exchange for name in found["run"]]
        found["compressor"] = [name.removesuffix(f"-{runs[name].exchange}") for name in found["run"]]
        return found

    def curves(self) -> pd.DataFrame:
        """Return the predicted gain of each QSGD over fp32 against the rate, with bounds."""
        rows = []
        for run in _runs(self._d):
            if not run.name.startswith("qsgd"):
                continue
            plain = Run(f"sgd-fp32-{run.exchange}", {"name": "fp32"}, run.exchange)
            for rate in _CURVE_RATES:
                slow, fast = self.iteration(plain, rate), self.iteration(run, rate)
                rows.append(
                    {
                        "cell": _cell_name(self._cell),
                        "exchange": run.exchange,
                        "compressor": run.name.removesuffix(f"-{run.exchange}"),
                        "rate": rate,
                        "gain": slow.upper / fast.upper,
                        "low": slow.lower / fast.lower,
                    }
                )
        return pd.DataFrame(rows)

    def iteration(self, run: Run, rate: float) -> network.Iteration:
        """Return the predicted seconds of an iteration."""
        its = self._measured[self._measured["run"] == run.name]
        copies = self._ranks * (self._ranks - 1 if run.exchange == "all_to_all" else 1)
        costs = its[["compute", "encode", "decode", "update"]].median()
        work = network.Work(costs["compute"], costs["encode"], costs["decode"] / self._ranks, costs["update"])
        payload = float(self._bytes[run.name]) / copies
        return network.iteration(run.exchange, self._ranks, payload, self._d, _link(rate, self._round_trip), work)


def _exactness(name: str, told: list[dict[str, Any]], points: pd.DataFrame, evidence: str) -> list[Verdict]:
    lost = sorted({rank for its in told for rank in its.get("uncounted", ())})
    missing = f"The counts of {', '.join(lost)} are missing in some runs." if lost else ""
    counted = points[points["frame_bytes"].notna()]
    sent, frames = counted["interface_bytes"], counted["frame_bytes"]
    rest = (sent - frames - _PACKET_BYTES * counted["packets"]) / sent
    runs = sum(its["runs"] for its in told)
    smooth = not any(its["faults"] for its in told)
    return [
        exactly(
            "bytes counted arrive, and weights are those of the serial engine, bit for bit",
            name,
            all(its["exact"] for its in told) and smooth,
            trials=runs,
            evidence=evidence,
            missing=missing,
        ),
        exactly(
            f"interfaces count the bytes of all frames, {_PACKET_BYTES} of headers a packet, and little else",
            name,
            bool((rest.abs() <= _MOST_REST).all()),
            trials=runs,
            missing=missing,
            evidence=evidence,
            note=f"Of what they count, {(1 - frames / sent).max():.1%} at most is not frames, and {rest.max():.2%} at "
            f"most, of the {_MOST_REST:.0%} allowed, greetings and what TCP sent again.",
        ),
        exactly(
            "no packet was dropped at the end of a queue", name, not points["dropped"].any(), trials=runs,
            evidence=evidence,
        ),
    ]  # fmt: skip


def _gains(name: str, points: pd.DataFrame, trials: int, evidence: str, refused: str) -> list[Verdict]:
    """Hold the gain over fp32 against the model's, exchange by exchange, where the network dominates both."""
    if refused:
        nothing = exactly("seconds between hosts", name, False, trials=0, evidence=evidence, note=refused)
        return [Verdict(**{**vars(nothing), "verdict": INCONCLUSIVE})]
    found = []
    for exchange, rows in points.groupby("exchange"):
        plain = rows[rows["compressor"] == "sgd-fp32"].set_index(["rate", "trial"])
        coded = rows[rows["compressor"].str.startswith("qsgd")].set_index(["rate", "trial"])
        joined = coded.join(plain[["seconds", "predicted", "network"]], rsuffix="_plain", how="inner")
        limited = joined[joined[["network", "network_plain"]].min(axis=1) >= _DOMINATES]
        if limited.empty:
            continue
        gain = (limited["seconds_plain"] / limited["seconds"]) / (limited["predicted_plain"] / limited["predicted"])
        rates = ", ".join(f"{rate / 1e6:g}" for rate in sorted(limited.index.unique("rate")))
        found.append(
            judge(
                "gain in seconds of QSGD over SGD with fp32, over the model's",
                f"{name}, {exchange}",
                mean_interval(np.exp(np.log(gain).groupby("trial").mean())),
                least=_LEAST_GAIN,
                trials=trials,
                evidence=evidence,
                note=f"Mean over {rates} Mbit/s and all codings where the network takes at least "
                f"{_DOMINATES:.0%} of the predicted seconds.",
            )
        )
    return found


def _agreement(name: str, points: pd.DataFrame, trials: int, evidence: str) -> list[Verdict]:
    """Hold the seconds of an iteration against the model's bounds, where the network dominates."""
    limited = points[points["network"] >= _DOMINATES]
    if limited.empty:
        return []
    mean = limited.groupby(["run", "rate"])[["seconds", "at_least", "predicted"]].mean()
    outside = (mean["seconds"] / mean["seconds"].clip(mean["at_least"], mean["predicted"]) - 1).abs()
    run, rate = outside.index[int(outside.argmax())]
    return [
        exactly(
            f"seconds of an iteration are within {_MOST_OUTSIDE:.0%} of the model's bounds where the network dominates",
            name,
            bool(outside.max() <= _MOST_OUTSIDE),
            trials=trials,
            evidence=evidence,
            note=f"Of {len(outside)} ways and rates the farthest is {outside.max():.1%} outside: "
            f"{run} at {rate / 1e6:g} Mbit/s.",
        )
    ]


def _whole_curves(
    section: Mapping[str, Any], results: Mapping[str, Record], timings: Mapping[str, Record]
) -> tuple[pd.DataFrame, list[Verdict]]:
    """Return the errors of the whole runs against seconds, and whether QSGD gets to w* earlier."""
    curves, reached, refused = [], {}, ""
    for run in _whole_runs(section["whole"]):
        joined = results[run.name].table.merge(timings[run.name].table, on=["trial", "iteration"])
        refused = refused or timings[run.name].about["trials"][0]["refused"]
        last = joined.groupby("trial").last()
        reached[run.name] = last["elapsed"].where(last["relative_error"] <= section["whole"]["tolerance"]).to_numpy()
        curve = typical_curve(joined)
        elapsed = joined.groupby("iteration")["elapsed"].mean()
        curves.append(curve.assign(setting=run.name, elapsed=elapsed.loc[curve["iteration"]].to_numpy()))
    found = []
    for name, took in reached.items():
        plain = f"run-sgd-fp32-{name.rpartition('-')[2]}"
        if "qsgd" in name and not refused:
            found.append(
                judge(
                    "seconds to the error of SGD with fp32 over those of QSGD",
                    name.removeprefix("run-"),
                    mean_interval(reached[plain] / took),
                    least=1.0,
                    trials=section["trials"],
                    evidence=f"traces/{NAME}/{name}.timing.parquet",
                    note="Both without a master, over the same links.",
                )
            )
    return pd.concat(curves, ignore_index=True), found
