"""How packets are delayed and lost: by netem where the kernel has it, otherwise by rules for those that arrive."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from select import select
from typing import Protocol

from relufit.clusters.emulated.commands import run
from relufit.clusters.emulated.interfaces import Interfaces, emulator
from relufit.clusters.emulated.namespaces import inside
from relufit.clusters.emulated.shaping import Link
from relufit.errors import ClusterError

_SECONDS = 10.0


class Delays(Protocol):
    """Delays and losses of all hosts."""

    #: Seconds by which a round trip has turned out too long, which the next delay is made shorter by.
    excess: float

    def begin(self, hosts: Sequence[str]) -> None:
        """Note the hosts, whose links have a rate already."""

    def apply(self, link: Link) -> None:
        """Delay and lose packets as `link` says."""

    def counters(self, host: str) -> dict[str, int]:
        """Return the packets that a host has ``lost``, and its ``delay_drops`` that could not be held."""

    def failed(self) -> str:
        """Return what has failed, nothing if all is well."""


class Netem:
    """Delays and losses by the kernel's own network emulator, at the sending end of a link."""

    def __init__(self) -> None:
        self.excess = 0.0
        self._hosts: list[str] = []

    def begin(self, hosts: Sequence[str]) -> None:
        """Note the hosts."""
        self._hosts = list(hosts)

    def apply(self, link: Link) -> None:
        """Set the emulators."""
        shorter = link.changed({"round_trip": max(0.0, link.round_trip - self.excess)})
        for host in self._hosts:
            with Interfaces(host) as interfaces:
                interfaces.queue("eth0", emulator(shorter))

    def counters(self, host: str) -> dict[str, int]:
        """Return what the emulator of a host has dropped."""
        with Interfaces(host) as interfaces:
            lost = sum(drops for name, kind, _, drops in interfaces.dropped() if (name, kind) == ("eth0", "netem"))
        return {"lost": lost, "delay_drops": 0}

    def failed(self) -> str:
        """Nothing can."""
        return ""


class Rules:
    """Losses by the match ``statistic`` and delays by NFQUEUE, at the receiving end of a link.

    Parameters
    ----------
    tables : str
        The program that sets rules: ``iptables`` or ``iptables-legacy``.
    """

    def __init__(self, tables: str) -> None:
        self.excess = 0.0
        self._tables, self._hosts = tables, list[str]()
        self._holder: subprocess.Popen[bytes] | None = None
        self._lost: Counter[str] = Counter()
        self._some, self._held = False, 0.0

    def begin(self, hosts: Sequence[str]) -> None:
        """Note the hosts."""
        self._hosts = list(hosts)

    def apply(self, link: Link) -> None:
        """Set the time to hold packets, and the rules."""
        if link.round_trip or self._holder:
            self._hold(max(0.0, link.round_trip - self.excess) / 2)
        queue, some = link.round_trip > 0, link.round_trip > 0 or link.loss > 0
        if some or self._some:
            for host in self._hosts:
                self._lost[host] += self._losing(host)
                # All at once: there is no moment with half of the rules, or none.
                with inside(host):
                    run(f"{self._tables}-restore", "-w", stdin=link.rules(queue=queue))
        self._some = some

    def counters(self, host: str) -> dict[str, int]:
        """Return what the rules of a host have dropped."""
        drops = self._hold(self._held)[self._hosts.index(host)] if self._holder else 0
        return {"lost": self._lost[host] + self._losing(host), "delay_drops": drops}

    def failed(self) -> str:
        """Tell whether packets are held no more, and so are lost."""
        return "the process that delays packets has died" if self._holder and self._holder.poll() is not None else ""

    def _losing(self, host: str) -> int:
        if not self._some:
            return 0
        with inside(host):
            lines = run(self._tables, "-w", "-t", "raw", "-nvxL", "PREROUTING").splitlines()
        return sum(int(line.split()[0]) for line in lines if " DROP " in line)

    def _hold(self, seconds: float) -> list[int]:
        """Set the time to hold packets, and return how many of each host could not be held so far."""
        self._held = seconds
        if self._holder is None:
            command = [sys.executable, "-m", "relufit.clusters.emulated.nfqueue_holder", *self._hosts]
            self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stdin, stdout = self._holder.stdin, self._holder.stdout
        if stdin is None or stdout is None:
            raise AssertionError
        with suppress(BrokenPipeError):
            stdin.write(f"{seconds:.9f}\n".encode())
            stdin.flush()
        answer = stdout.readline().split() if select([stdout.fileno()], [], [], _SECONDS)[0] else []
        if len(answer) != len(self._hosts):
            raise ClusterError("the process that delays packets does not answer", where="cluster.emulated.round_trip")
        return [int(count) for count in answer]
