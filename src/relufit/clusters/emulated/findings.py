"""What this machine can emulate, found out by trying it in a namespace that is thrown away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relufit.errors import ClusterError

#: Programs, and the Debian packages that have them: the first is part of every Debian.
PROGRAMS = {"unshare": "util-linux", "iptables": "iptables", "iptables-legacy": "iptables"}
#: Where an ordinary user's PATH does not look.
_MORE_PLACES = ("/usr/sbin", "/sbin")
#: The namespaces of a cluster. The first process in them dies with `unshare`, and everything else with it.
UNSHARE = (
    "unshare",
    *("--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
)
_SECONDS, _MOST_LETTERS = 60, 500
_CONTAINER = "in a container, start it with the right to make namespaces: `docker run --privileged`"
#: Settings that forbid an ordinary user to make namespaces, the value that does, and the command that allows it.
_SETTINGS = (
    ("/proc/sys/user/max_user_namespaces", "0", "`sysctl -w user.max_user_namespaces=10000`"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "`sysctl -w kernel.unprivileged_userns_clone=1`"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
)
_OF_NAMESPACES = ("namespaces", "hosts", "localnet")
_REMEDIES = {
    "bridge": "use a kernel with bridges: `modprobe bridge`",
    "veth": "use a kernel with pairs of interfaces: `modprobe veth`",
    "tbf": "use a kernel with the token bucket filter: `modprobe sch_tbf`",
    "netem": "`modprobe sch_netem`",
    "nfqueue": "`modprobe nfnetlink_queue xt_NFQUEUE iptable_raw`",
    "statistic": "`modprobe xt_statistic iptable_raw`",
}
_ALWAYS = ("namespaces", "hosts", "bridge", "veth", "localnet", "tbf")
STEPS = (*_ALWAYS, "netem", "nfqueue", "statistic")
_TABLES = ("iptables", "iptables-legacy")


@dataclass(frozen=True)
class Obstacle:
    """Something that this machine cannot emulate.

    Parameters
    ----------
    key : str
        The part of the configuration that asks for it, such as ``cluster.emulated.round_trip``.
    what : str
        What it cannot do, and why, as the end of a sentence that begins with the machine.
    command : str
        What helps.
    without : str
        What can be asked for instead, if anything can.
    """

    key: str
    what: str
    command: str
    without: str = ""

    def sentences(self) -> tuple[str, str]:
        """Return what this machine cannot do, and what to do about it where the rest was run without."""
        return f"this machine {self.what}", f"{self.command} and run again"

    def error(self) -> ClusterError:
        """Return it as an error."""
        remedy = f"{self.command}, or {self.without}" if self.without else self.command
        return ClusterError(f"this machine {self.what}", where=self.key, remedy=remedy)


@dataclass(frozen=True)
class Findings:
    """What was found.

    Parameters
    ----------
    works : frozenset of str
        What works: ``namespaces``, ``hosts``, ``bridge``, ``veth``, ``localnet``, ``tbf``, ``netem``, ``nfqueue``,
        ``statistic``.
    why : dict
        What does not, and what was said about it.
    tables : str
        The program that sets rules for packets.
    """

    works: frozenset[str]
    why: dict[str, str] = field(default_factory=dict)
    tables: str = "iptables"

    @property
    def delay(self) -> str | None:
        """How packets are delayed here: ``netem``, ``nfqueue``, or None if they cannot be."""
        return next((name for name in ("netem", "nfqueue") if name in self.works), None)

    @property
    def loss(self) -> str | None:
        """How packets are lost here: ``netem``, ``statistic``, or None if they cannot be."""
        return next((name for name in ("netem", "statistic") if name in self.works), None)

    def missing(self) -> dict[str, str]:
        """Return what does not work, and the remedy."""
        return {name: f"{why}; {self._remedy(name)}" for name, why in self.why.items()}

    def describe(self) -> dict[str, Any]:
        """Return all of it, JSON-ready."""
        return {"works": sorted(self.works), "delay": self.delay, "loss": self.loss, "missing": self.missing()}

    def obstacle(self, *, delay: bool, loss: bool) -> Obstacle | None:
        """Return the first thing that is in the way of hosts with a delay or a loss, None if nothing is."""
        for name in _ALWAYS:
            if name not in self.works:
                reason = self.why.get(name, "not tried")
                return Obstacle("cluster.emulated", f"cannot emulate hosts: {name} ({reason})", self._remedy(name))
        for asked, key, what, fallback, without in (
            (delay and self.delay is None, "round_trip", "delay packets", "nfqueue", "ask for a round trip of 0"),
            (loss and self.loss is None, "loss", "lose packets", "statistic", "ask for a loss of 0"),
        ):
            if asked:
                reason = f"its kernel has no netem, and {self.why.get(fallback, 'nothing in its place was tried')}"
                command = self._remedy(fallback if self._absent(fallback) else "netem")
                return Obstacle(f"cluster.emulated.{key}", f"cannot {what} ({reason})", command, without)
        return None

    def require(self, *, delay: bool, loss: bool) -> None:
        """Refuse what cannot be emulated here.

        Raises
        ------
        ClusterError
            If namespaces, links or the rate cannot be had, or a delay or a loss that is asked for.
        """
        if obstacle := self.obstacle(delay=delay, loss=loss):
            raise obstacle.error()

    def _remedy(self, name: str) -> str:
        if program := self._absent(name):
            return f"`apt-get install {PROGRAMS[program]}`"
        return _namespaces_allowed() if name in _OF_NAMESPACES else _REMEDIES[name]

    def _absent(self, name: str) -> str:
        """Return the program that a step lacks, nothing if it lacks none."""
        program = self.why.get(name, "").partition(" is not installed")[0]
        return program if program in PROGRAMS else ""


def _namespaces_allowed() -> str:
    """Return the command that allows namespaces, by what the system says of itself."""
    for path, forbids, command in _SETTINGS:
        with suppress(OSError):
            if Path(path).read_text(encoding="ascii").strip() == forbids:
                return command
    return _CONTAINER


def search_path() -> str:
    """Return where programs are looked for: PATH, and the folders of the system's programs."""
    return os.pathsep.join([os.environ.get("PATH", ""), *_MORE_PLACES])


def probe() -> Findings:
    """Find out what can be emulated here, in about the time in which Python starts."""
    where = search_path()
    if shutil.which("unshare", path=where) is None:
        return Findings(frozenset(), dict.fromkeys(STEPS, "unshare is not installed"))
    present = [name for name in _TABLES if shutil.which(name, path=where)]
    outcomes = _try(where, present)
    works = {name for name, problem in outcomes if not problem}
    tables = next((name for name in present if {f"statistic.{name}", f"nfqueue.{name}"} & works), _TABLES[0])
    why: dict[str, str] = {} if present else dict.fromkeys(("nfqueue", "statistic"), "iptables is not installed")
    for name, problem in outcomes:
        step, _, program = name.partition(".")
        if program in ("", tables) and problem:
            why.setdefault(step, problem)
    steps = {name.partition(".")[0] for name in works if name.partition(".")[2] in ("", tables)}
    return Findings(frozenset(steps - why.keys()), why, tables)


def _try(where: str, tables: list[str]) -> list[tuple[str, str]]:
    """Return each step and what went wrong, nothing if it works."""
    try:
        done = subprocess.run(
            [*UNSHARE, sys.executable, "-m", "relufit.clusters.emulated.trial", *tables],
            env={**os.environ, "PATH": where},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return [(name, f"no answer within {_SECONDS} s") for name in STEPS]
    try:
        outcomes = json.loads(done.stdout)
    except ValueError:
        problem = " ".join(done.stderr.split())[-_MOST_LETTERS:] or f"status {done.returncode}"
        return [(name, problem) for name in STEPS]
    return [(name, problem) for name, problem in outcomes]
