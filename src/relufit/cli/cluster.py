"""``relufit cluster``: a cluster that outlives a command, and a whole workflow between its start and its end."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import Any

from relufit.cli.options import subcommand
from relufit.files.paths import absolute


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "cluster",
        "start a cluster, see what it costs, end it",
        "Start a cluster that several commands use, see what there is of it and what it costs, and end it; or run a "
        "command while a cluster stands, and end the cluster whatever happens.",
    )
    actions = part.add_subparsers(dest="action", metavar="ACTION", required=True)
    what = "a configuration whose section `cluster` has its kind; may be repeated"
    up = subcommand(actions, "up", "start a cluster", "Start a cluster and leave it there.")
    run = subcommand(
        actions,
        "run",
        "run a command while a cluster stands",
        "Start a cluster, run a command, end the cluster, and exit as the command did. Snakemake gets the cluster as "
        "its configuration; any other command finds the path of a configuration file in RELUFIT_CLUSTER_FILE.",
    )
    status = subcommand(actions, "status", "see what there is", "List members, hours and cost of clusters.")
    down = subcommand(actions, "down", "end a cluster", "End all members of a cluster and make sure that none is left.")
    for one in (up, run):
        one.add_argument("--config", action="append", metavar="FILE", help=what)
        one.add_argument("--kind", help="kind of the cluster, if no configuration says it: local")
        one.add_argument("--workers", "-k", type=int, required=True, help="number of ranks that it is for")
    for one in (status, down):
        one.add_argument("--config", action="append", metavar="FILE", help=what)
        one.add_argument("--kind", help="look without anything written down: local or ec2")
        one.add_argument("--region", help="where to look, for ec2")
    for one in (up, run, status, down):
        one.add_argument("--name", help="name of the cluster; from the user's name if not given")
        one.add_argument(
            "--state", type=absolute, metavar="FOLDER", help="where it is written down; ~/.local/state/relufit"
        )
    run.add_argument("command", nargs=argparse.REMAINDER, help="what to run, after --")
    for one, action in ((up, _up), (run, _run), (status, _status), (down, _down)):
        one.set_defaults(run=action)


def _section(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the section ``cluster`` that was chosen."""
    from relufit.clusters.section import load_cluster
    from relufit.errors import ConfigError

    if chosen.config:
        section = load_cluster(chosen.config)
        return {**section, "kind": chosen.kind} if chosen.kind else section
    if not chosen.kind:
        raise ConfigError("which cluster?", where="--config", remedy="give a configuration, or --kind")
    return {"kind": chosen.kind}


def _place(chosen: argparse.Namespace) -> tuple[str | None, dict[str, Any] | None]:
    """Return the kind and the place to look at, if any was chosen."""
    from relufit.clusters.persistent.commands import kind_of

    if not (chosen.config or chosen.kind):
        return None, None
    section = _section(chosen)
    options = section.get(section["kind"]) or {}
    return section["kind"], kind_of(section["kind"]).place(
        options | ({"region": chosen.region} if chosen.region else {})
    )


def _base(chosen: argparse.Namespace) -> Path:
    from relufit.clusters.persistent.state import default_folder

    return Path(chosen.state or default_folder())


def _name(chosen: argparse.Namespace) -> str:
    from relufit.clusters.persistent.commands import default_name

    return str(chosen.name or default_name())


def _up(chosen: argparse.Namespace) -> None:
    from relufit.clusters.persistent import commands

    base, name = _base(chosen), _name(chosen)
    state = commands.up(_section(chosen), chosen.workers, name, base)
    print(f"{name}: {state.workers} workers, scheduler at {state.address}")
    print(f"use it with --configfile {base.absolute() / name / 'address.yaml'}")
    print(f"end it with: relufit cluster down --name {name}" + (f" --state {base}" if chosen.state else ""))


def _run(chosen: argparse.Namespace) -> None:
    from relufit.clusters.persistent import run_command

    command = chosen.command[1:] if chosen.command[:1] == ["--"] else chosen.command
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    raise SystemExit(run_command.run(_section(chosen), chosen.workers, _name(chosen), _base(chosen), command))


def _status(chosen: argparse.Namespace) -> None:
    from relufit.clusters.persistent import commands

    kind, place = _place(chosen)
    reports = commands.look(chosen.name, _base(chosen), kind, place)
    if not reports:
        print("no cluster is known here; with --kind, and --region for ec2, it is looked for by its tag")
    for report in reports:
        cost = "cost not known" if report.cost is None else f"{report.price_per_hour:.3f} USD an hour"
        total = "" if report.cost is None else f", {report.cost:.3f} USD so far"
        print(f"{report.name} ({report.kind}): {len(report.members)} members, {report.hours:.2f} h, {cost}{total}")
        for member in report.members:
            print(f"  {member.id}  {member.role}  {member.type}  {member.state}")


def _down(chosen: argparse.Namespace) -> None:
    from relufit.clusters.persistent import commands

    kind, place = _place(chosen)
    name = _name(chosen)
    ended = commands.down(name, _base(chosen), kind, place)
    print(f"{name}: {ended.members} members ended, none is left")
    if ended.left:
        print(f"{ended.folder} holds what relufit has not made, and stays: {', '.join(ended.left)}")
