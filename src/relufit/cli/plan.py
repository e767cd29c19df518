"""``relufit plan``: seconds, bytes and money before a run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relufit.cli.options import subcommand
from relufit.errors import ConfigError
from relufit.files.paths import absolute

if TYPE_CHECKING:
    import pandas as pd

    from relufit.planning import Comparator, Costs, Host, Problem

_ENDINGS = (".csv", ".json")
_GOALS = ("seconds", "dollars", "bytes")
#: A host that is not of the table: packets of Ethernet.
_MTU = 1500
#: `relufit.planning.BASELINE`, whose import takes long; a test holds the two equal.
_AGAINST = "fp32/all_reduce"


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "plan",
        "seconds, bytes and money before a run",
        "Predict what it takes to fit n = ratio * d rows to a relative error on K hosts, for every exchange, "
        "compressor, number of levels and coding at its best mini-batch, from the theory of SGD and costs measured "
        "on this machine.",
    )
    part.add_argument("--dimension", type=_whole, metavar="D", help="d, up to 2^32 - 1; 1e6 can be written")
    part.add_argument("--ratio", type=float, default=10.0, help="n / d, above 2")
    part.add_argument("--workers", type=_whole, nargs="+", metavar="K", default=[8], help="ranks, a host each")
    link = part.add_mutually_exclusive_group()
    link.add_argument("--rate", type=float, metavar="BITS", help="bit/s of a host's link")
    link.add_argument("--instance", metavar="TYPE", help="instance type of EC2; `list` shows those that are known")
    part.add_argument("--round-trip", type=float, default=5e-4, metavar="S", help="seconds there and back")
    part.add_argument("--memory", type=float, metavar="GIB", help="memory of a host, if not that of the instance type")
    part.add_argument("--price", type=float, metavar="USD", help="an hour of a host, if not that of the instance type")
    part.add_argument("--tolerance", type=float, default=1e-6, help="relative error to be reached")
    part.add_argument("--goal", choices=_GOALS, default="seconds", help="what is to be small")
    part.add_argument(
        "--against",
        metavar="COMPRESSOR/EXCHANGE",
        default=_AGAINST,
        help=f"what gains are stated against, {_AGAINST} if not given; each at its own best mini-batch",
    )
    part.add_argument(
        "--rank-batch", type=_whole, metavar="B", help="samples of a rank, for all plans, in place of the best of each"
    )
    part.add_argument(
        "--costs",
        type=absolute,
        metavar="FILE",
        help="costs of a machine, JSON; measured if not given",
    )
    part.add_argument("--measure", action="store_true", help="measure this machine and write the file --costs")
    part.add_argument("--output", "-o", type=absolute, metavar="FILE", help="all plans, the best first: .csv or .json")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    if chosen.instance == "list":
        _list()
        return
    _check(chosen)
    against = _against(chosen)
    costs = _costs(chosen)
    if chosen.dimension is None:
        return
    from relufit.planning import Problem, best
    from relufit.planning.search import best_batch

    problem, host = Problem(chosen.dimension, chosen.ratio, chosen.tolerance), _host(chosen)
    workers = list(dict.fromkeys(chosen.workers))
    table = _plan(problem, host, costs, workers, chosen, against)
    if chosen.output:
        _write(table, chosen.output)
    from relufit.cli.plans import show

    first = best(table)
    count, samples = int(first["workers"]), chosen.rank_batch
    compared = best_batch(problem, host, costs, against.exchange, against.compressor, count, chosen.goal, samples)
    show(problem, host, table, chosen.goal, (against, compared), rank_batch=samples)
    if chosen.instance:
        from relufit.instance_types import NOTED

        print(f"\nPrices: {NOTED}.")


def _plan(
    problem: Problem, host: Host, costs: Costs, workers: list[int], chosen: argparse.Namespace, against: Comparator
) -> pd.DataFrame:
    from relufit.planning import plan

    options = {"goal": chosen.goal, "against": against, "rank_batch": chosen.rank_batch}
    try:
        return plan(problem, host, costs, workers, **options)
    except ConfigError as error:
        if error.where != "rank_batch":
            raise
        raise ConfigError(error.what, where="--rank-batch", remedy=error.remedy) from error


def _whole(text: str) -> int:
    value = float(text)
    if value != int(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(value)


def _check(chosen: argparse.Namespace) -> None:
    if chosen.measure and not chosen.costs:
        raise ConfigError("there is no file for the costs", where="--measure", remedy="give --costs FILE")
    if chosen.dimension is None:
        if not chosen.measure:
            raise ConfigError("there is nothing to plan", where="--dimension", remedy="give it, or --measure")
        return
    if not (chosen.rate or chosen.instance):
        raise ConfigError("the link of a host is not known", where="--rate", remedy="give --rate or --instance")
    for name in ("rate", "memory", "price"):
        value = getattr(chosen, name)
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{value:g}", where=f"--{name}", remedy="give a number above 0")
    if not 0 <= chosen.round_trip < float("inf"):
        raise ConfigError(f"{chosen.round_trip:g} s", where="--round-trip", remedy="give 0 or more")
    if chosen.output and chosen.output.suffix not in _ENDINGS:
        raise ConfigError("unknown kind of file", where=str(chosen.output), remedy="let it end in .csv or .json")


def _against(chosen: argparse.Namespace) -> Comparator:
    from relufit.planning import Comparator

    try:
        return Comparator.of(chosen.against)
    except ConfigError as error:
        raise ConfigError(error.what, where="--against", remedy=error.remedy) from error


def _costs(chosen: argparse.Namespace) -> Costs:
    from relufit.planning import Costs, measure

    if chosen.costs and not chosen.measure:
        return Costs.read(chosen.costs)
    print("measuring this machine", file=sys.stderr, flush=True)
    costs = measure()
    if chosen.costs:
        costs.write(chosen.costs)
    return costs


def _host(chosen: argparse.Namespace) -> Host:
    from relufit.planning import INSTANCES, Host
    from relufit.theory import Network

    if chosen.instance is None:
        host = Host(Network(chosen.rate, chosen.round_trip / 2, _MTU))
    elif chosen.instance in INSTANCES:
        host = Host.of(INSTANCES[chosen.instance], chosen.round_trip)
    else:
        known = ", ".join(INSTANCES)
        raise ConfigError(
            f"unknown instance type {chosen.instance!r}",
            where="--instance",
            remedy=f"give --rate, --memory and --price, or one of {known}",
        )
    memory = chosen.memory * 2**30 if chosen.memory else host.memory
    return Host(host.network, memory, chosen.price or host.price)


def _list() -> None:
    from relufit.instance_types import INSTANCES, NOTED

    print(f"{'type':<12} {'vCPU':>4} {'GiB':>6} {'Gbit/s':>7} {'USD/h':>7}")
    for instance in INSTANCES.values():
        print(
            f"{instance.name:<12} {instance.processors:>4} {instance.memory / 2**30:>6g} {instance.rate / 1e9:>7g} "
            f"{instance.price:>7g}"
        )
    print(f"\n{NOTED[0].upper()}{NOTED[1:]}.")


def _write(table: pd.DataFrame, path: Path) -> None:
    from relufit.files.atomic import write_text

    text = table.to_csv(index=False) if path.suffix == ".csv" else table.to_json(orient="records", indent=1) + "\n"
    write_text(path, text)
