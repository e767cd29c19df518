"""The first process in the namespaces: it builds the network, starts what runs there, and does what it is asked.

Everything inside ends with it, by the kernel's hand: when the program that opened the cluster closes its end of the
socket, when that program dies in whatever way, and when something that is needed inside has ended. Run as
``python -m ... CONTROL WATCHED LISTENING TABLE USER``, all but the last being descriptors.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

from relufit.clusters.emulated import forwarder, hosts
from relufit.clusters.emulated.delay_backends import Delays, Netem, Rules
from relufit.clusters.emulated.namespaces import mount_memory, processes
from relufit.clusters.emulated.network import SWITCH, Network
from relufit.clusters.emulated.shaping import Link
from relufit.errors import ClusterError, RelufitError

MOST_BYTES = 1 << 17
_LOOK_SECONDS = 0.5
_GAUGE_SECONDS = 60
#: The part of a round trip that may be taken off it as what the emulation adds.
_MOST_EXCESS = 0.5
#: By name, how packets are delayed and lost; made with the program that sets rules.
DELAYS: dict[str, Callable[[str], Delays]] = {"netem": lambda tables: Netem(), "rules": Rules}


class Init:
    """What can be asked of the namespaces: each method that does not begin with _ is one command."""

    def __init__(self, listening: int, table: int, user: int) -> None:
        self._listening, self._table, self._user = listening, table, user
        self._network: Any = None
        self._hosts: Any = None
        self._delays: Any = None
        self._needed: dict[str, subprocess.Popen[bytes]] = {}

    def build(self, count: int, link: dict[str, float], delays: str, tables: str) -> dict[str, Any]:
        """Build the network and measure it."""
        names = [f"host-{number}" for number in range(count)]
        self._delays = DELAYS[delays](tables)
        self._network = Network(names, Link(**link), self._delays)
        self._network.build()
        return self._measured()

    def start(self, secrets: dict[str, str], clear: bool) -> None:
        """Start Dask's processes, and the listener to them; ranks' frames are in the clear if `clear`."""
        self._hosts = hosts.Hosts(secrets, clear=clear)
        sockets = [str(number) for number in (self._listening, self._table, self._user)]
        command = [sys.executable, "-m", forwarder.__name__, *sockets, SWITCH, str(hosts.SCHEDULER_PORT)]
        self._needed["scheduler"] = self._hosts.start_scheduler()
        self._needed["forwarder"] = subprocess.Popen(command, pass_fds=(self._listening, self._table))
        for host in self._network.hosts:
            self._hosts.start_worker(host)

    def reshape(self, **changes: float | None) -> None:
        """Give all links another rate, delay or loss."""
        self._network.reshape(self._network.link.changed(changes))

    def cut(self, host: str) -> None:
        """Take a host from the network."""
        self._network.cut(host)

    def heal(self, host: str) -> None:
        """Put a host back, and start its processes if it has none."""
        self._network.heal(host)
        if not processes(host):
            self._hosts.start_worker(host)

    def kill(self, host: str) -> None:
        """Kill all processes of a host."""
        self._hosts.kill(host)

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what the kernel has counted."""
        counted: dict[str, dict[str, int]] = self._network.counters()
        return counted

    def logs(self, name: str) -> str:
        """Return the last lines of a log."""
        return str(self._hosts.logs(name))

    def measure(self, source: str, target: str, seconds: float) -> dict[str, float]:
        """Measure the way from one host to another."""
        skipped = 2 * self._network.link.burst + (1 << 17)
        command = [
            sys.executable,
            "-m",
            "relufit.clusters.emulated.link_probe",
            source,
            target,
            str(seconds),
            str(skipped),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_GAUGE_SECONDS)
        if done.returncode:
            raise ClusterError(
                f"nothing could be measured ({done.stderr.strip()[-500:]})", where=f"{source} to {target}"
            )
        measurement: dict[str, float] = json.loads(done.stdout)
        return measurement

    def _measured(self) -> dict[str, Any]:
        """Measure a link, once more after the delay has been set right by what was found."""
        link, names = self._network.link, self._network.hosts
        measurement = self.measure(names[1], names[0], 0.0)
        if link.round_trip:
            # What came late because the machine is busy is not what holding packets takes.
            excess = min(measurement["round_trip"] - link.round_trip, _MOST_EXCESS * link.round_trip)
            self._delays.excess = max(0.0, excess)
            self._delays.apply(link)
        return self.measure(names[1], names[0], 0.1 if link.rate >= 1e7 and not link.loss else 0.0)

    def _failed(self) -> str:
        """Return what is needed and has ended."""
        dead = [name for name, process in self._needed.items() if process.poll() is not None]
        if dead:
            return f"the {dead[0]} has ended: {self._hosts.logs(dead[0])}"
        return str(self._delays.failed()) if self._delays else ""


def _answer(init: Init, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": getattr(init, asked.pop("command"))(**asked)}
    except RelufitError as error:
        return {"error": [type(error).__name__, error.what, error.where, error.remedy]}
    except Exception:  # whatever it is, who asked is told
        return {"error": ["ClusterError", traceback.format_exc()[-2000:], "cluster.emulated", ""]}


def main(control: socket.socket, watched: int, init: Init) -> None:
    """Do what is asked until nobody asks any more, or something that is needed has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    mount_memory("/run")
    while True:
        ready, _, _ = select.select([control.fileno(), watched], [], [], _LOOK_SECONDS)
        if watched in ready:
            return
        if failed := init._failed():
            control.sendall(json.dumps({"error": ["ClusterError", failed, "cluster.emulated", ""]}).encode())
            return
        if control.fileno() in ready:
            asked = control.recv(MOST_BYTES)
            if not asked:
                return
            control.sendall(json.dumps(_answer(init, json.loads(asked))).encode())
        hosts.reap()


if __name__ == "__main__":
    _control, _watched, _listening, _table, _user = map(int, sys.argv[1:])
    try:
        main(socket.socket(fileno=_control), _watched, Init(_listening, _table, _user))
    except BaseException:
        traceback.print_exc()
    os._exit(0)
