"""Ending instances by their tag, and making sure that none is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Thread
from typing import Any

from relufit.clusters.ec2 import aws
from relufit.errors import ClusterError

#: The tag of every instance; its value is the name of the cluster.
TAG = "relufit-cluster"
#: States of an instance that is paid for, or may come back to that.
_ALIVE = ("pending", "running", "stopping", "stopped")
#: Seconds until all must be gone; between two questions; and in which a new instance may not be known to all of EC2.
_DEADLINE_SECONDS, _PAUSE_SECONDS, _SETTLE_SECONDS = 180.0, 2.0, 1.0


@dataclass(frozen=True)
class Instance:
    """An instance as AWS tells of it."""

    id: str
    cluster: str
    role: str
    type: str
    state: str
    spot: bool
    launched: datetime


def find(region: str, name: str | None = None) -> list[Instance]:
    """Return the living instances of a cluster, or of all clusters of relufit, the oldest first.

    Raises
    ------
    ConfigError, ClusterError
        If AWS refuses, or does not answer.
    """
    ec2 = aws.client("ec2", region)
    tag = {"Name": f"tag:{TAG}", "Values": [name]} if name else {"Name": "tag-key", "Values": [TAG]}
    filters = [tag, {"Name": "instance-state-name", "Values": list(_ALIVE)}]
    with aws.told("cluster.ec2.region", "ask again, or look at the console of EC2"):
        pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
        instances = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
    return sorted(map(_instance, instances), key=lambda one: (one.launched, one.id))


def _instance(one: dict[str, Any]) -> Instance:
    tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}
    role = next((role for role in ("scheduler", "worker") if f"-{role}" in tags.get("Name", "")), "unknown")
    spot = one.get("InstanceLifecycle") == "spot"
    return Instance(
        one["InstanceId"], tags.get(TAG, ""), role, one["InstanceType"], one["State"]["Name"], spot, one["LaunchTime"]
    )


def end(region: str, name: str, known: Iterable[str] = ()) -> int:
    """End all instances of a cluster, and return how many there were once none is left.

    An interrupt does not stop it: what it leaves costs money.

    Parameters
    ----------
    region, name : str
        Where, and the value of the tag.
    known : iterable of str
        Identifiers of instances that may be too new to be found by their tag.

    Raises
    ------
    ClusterError
        If some are left at the deadline, or AWS does not answer; it names them and how to end them by hand.
    """
    identifiers = set(known)
    ended = _undisturbed(lambda: _end(region, name, identifiers))
    if ended is None:
        raise _left(region, name, identifiers or {f"AWS has not answered within {2 * _DEADLINE_SECONDS:g} s"})
    return ended


def _left(region: str, name: str, left: Iterable[str]) -> ClusterError:
    return ClusterError(
        f"instances may be left and cost money: {', '.join(sorted(left))}",
        where=f"tag {TAG}={name} in {region}",
        remedy=f"end them with `relufit cluster down --kind ec2 --name {name} --region {region}`",
    )


def _end(region: str, name: str, known: set[str]) -> int:
    ec2 = aws.client("ec2", region)
    ended: set[str] = set()
    deadline, left = time.monotonic() + _DEADLINE_SECONDS, set(known)
    confirmed = False
    while time.monotonic() < deadline:
        try:
            left = {one.id for one in find(region, name)} | (known - ended)
            if left:
                ec2.terminate_instances(InstanceIds=sorted(left))
                ended |= left
        except Exception as error:  # whatever it was, instances may be running, and the next answer may be better
            if aws.code_of(error) == "InvalidInstanceID.NotFound":
                known = set()
            left = left or {f"unknown ({error})"}
            time.sleep(_PAUSE_SECONDS)
            continue
        if left:
            confirmed = False
        elif confirmed:
            return len(ended)
        else:
            confirmed = True
        time.sleep(_SETTLE_SECONDS)
    raise _left(region, name, left)


def _undisturbed(work: Callable[[], int]) -> int | None:
    """Return what `work` returns, and go on through interrupts; None if it takes twice the deadline."""
    results: list[int] = []
    errors: list[BaseException] = []
    over = Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised again below
            errors.append(error)
        finally:
            over.set()

    Thread(target=run, name="relufit-teardown").start()
    wait_undisturbed(over, 2 * _DEADLINE_SECONDS)
    if errors:
        raise errors[0]
    return results[0] if results else None


def wait_undisturbed(event: Event, seconds: float) -> None:
    """Wait for an event, so many seconds at most, and go on through interrupts.

    Waiting for a thread itself would not do: to Python 3.11 and 3.12 it has ended when that is interrupted.
    """
    end = time.monotonic() + seconds
    while not event.is_set() and time.monotonic() < end:
        try:
            event.wait(0.2)
        except KeyboardInterrupt:
            print("relufit: instances are being ended; this takes a moment", file=sys.stderr, flush=True)
