"""Starting a cluster that outlives the command, seeing what there is of it, and ending it."""

from __future__ import annotations

import getpass
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relufit.clusters import certificates
from relufit.clusters.ec2.persistent import Instances
from relufit.clusters.persistent.base import Lasting, Member
from relufit.clusters.persistent.local import LocalProcesses
from relufit.clusters.persistent.state import Folder, State, names
from relufit.clusters.settings import import_dask
from relufit.errors import ClusterError, ConfigError, RelufitError

#: The kinds that can stand.
LASTING: dict[str, Lasting] = {"local": LocalProcesses(), "ec2": Instances()}


@dataclass(frozen=True)
class Report:
    """What there is of a cluster: its members that live, and what they cost, in USD, None where it is not known."""

    kind: str
    name: str
    members: tuple[Member, ...]
    hours: float
    price_per_hour: float | None
    cost: float | None


@dataclass(frozen=True)
class Ended:
    """What there was of a cluster that has been ended.

    Parameters
    ----------
    members : int
        How many it had.
    left : tuple of str
        The names of what is in its folder and is not relufit's, so that it stays.
    folder : Path
    """

    members: int
    left: tuple[str, ...]
    folder: Path


def default_name() -> str:
    """Return a name that another user of the same account does not have."""
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        login = f"user{os.getuid()}"
    user = re.sub("[^a-z0-9]+", "-", login.lower()).strip("-")
    return f"relufit-{user or 'user'}"[:40].rstrip("-")


def kind_of(kind: str) -> Lasting:
    """Return a kind that can stand.

    Raises
    ------
    ConfigError
        If it is none.
    """
    if kind not in LASTING:
        raise ConfigError(
            f"{kind!r} does not outlive a command", where="cluster.kind", remedy=f"choose one of {', '.join(LASTING)}"
        )
    return LASTING[kind]


def up(section: Mapping[str, Any], ranks: int, name: str, base: Path) -> State:
    """Start the cluster of a configuration's section ``cluster``, and write down where it is.

    Raises
    ------
    ConfigError
        If it cannot stand, or a cluster of that name does.
    ClusterError
        If it does not start in time; nothing is left then.
    """
    folder, kind = Folder(base, name), str(section.get("kind"))
    lasting, options = kind_of(kind), section.get(kind) or {}
    if ranks < 1:
        raise ConfigError(f"{ranks} is no number of ranks", where="--workers", remedy="give 1 or more")
    place = lasting.place(options)
    written = folder.read()
    for candidate, where in {
        (kind, json.dumps(place)),
        *([(written.kind, json.dumps(written.place))] if written else []),
    }:
        if kind_of(candidate).members(name, json.loads(where)):
            raise ConfigError(
                f"a cluster {name} stands already",
                where="--name",
                remedy="end it with `relufit cluster down`, or choose another name",
            )
    import_dask()
    pair = certificates.make(name)
    state = State(kind, name, place, time.time())
    folder.create(state)  # before anything is started, so that `down` knows of it whatever happens
    try:
        pair.write(folder.tls())
        started = lasting.up(options, ranks, name, pair, folder)
        state = replace(state, address=started.address, workers=started.workers, prices=dict(started.prices))
        folder.write(state)
    except BaseException:
        with suppress(RelufitError):  # what was the matter comes first
            if not lasting.members(name, place):
                folder.remove()
        raise
    return state


def look(name: str | None, base: Path, kind: str | None = None, place: Mapping[str, Any] | None = None) -> list[Report]:
    """Return what there is of one cluster or, without a name, of all that are written down or found at a place."""
    wanted: dict[tuple[str, str], State] = {}
    for one in [name] if name else names(base):
        state = Folder(base, one).read()
        if state and kind in (None, state.kind):
            wanted[state.kind, one] = state
    if kind:
        for member in kind_of(kind).members(name, place or {}):
            wanted.setdefault((kind, member.cluster), State(kind, member.cluster, place or {}, member.since))
    return [_report(state) for state in wanted.values()]


def _report(state: State) -> Report:
    lasting, now = kind_of(state.kind), time.time()
    members = lasting.members(state.name, state.place)
    prices = [state.prices.get(one.type, lasting.price(one.type, state.place)) for one in members]
    hours = [(now - one.since) / 3600 for one in members]
    known = [price for price in prices if price is not None]
    whole = len(known) == len(prices)
    return Report(
        state.kind,
        state.name,
        tuple(members),
        max(hours, default=0.0),
        sum(known) if whole else None,
        sum(price * hour for price, hour in zip(known, hours, strict=True)) if whole else None,
    )


def down(name: str, base: Path, kind: str | None = None, place: Mapping[str, Any] | None = None) -> Ended:
    """End a cluster by its state or, where there is none, by its kind and place.

    Raises
    ------
    ConfigError
        If there is no state and no kind.
    ClusterError
        If a member is left.
    """
    folder = Folder(base, name)
    written = None
    try:
        written = folder.read()
    except ClusterError:
        if not kind:
            raise
    if kind:
        here = written is None or (written.kind, dict(written.place)) == (kind, dict(place or {}))
        wanted = kind, place or {}
    elif written:
        here, wanted = True, (written.kind, written.place)
    else:
        raise ConfigError(
            f"nothing is written down of a cluster {name} in {base}",
            where="--name",
            remedy="give --kind too, and --region for ec2",
        )
    ended = kind_of(wanted[0]).down(name, wanted[1])
    return Ended(ended, tuple(folder.remove()) if here else (), folder.path)
