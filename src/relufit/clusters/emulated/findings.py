"""What this machine can emulate, found out by trying it in a namespace that is thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any

from relufit.errors import ClusterError

#: Programs, and the Debian packages that have them.
PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "util-linux",
    "ip": "iproute2",
    "tc": "iproute2",
    "iptables": "iptables",
}
#: Where an ordinary user's PATH does not look.
_MORE_PLACES = ("/usr/sbin", "/sbin")
#: The namespaces of a cluster. The first process in them dies with `unshare`, and everything else with it.
UNSHARE = (
    "unshare",
    *("--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
)
_SECONDS = 20
#: Each step is tried, and its line says + or - and why.
_SCRIPT = """
step() { name=$1; shift; if out=$("$@" 2>&1); then echo "$name +"; else echo "$name - $(echo $out)"; fi; }
step namespaces mount -t tmpfs tmpfs /run
step hosts ip netns add h0
step bridge ip link add dev b0 type bridge
step veth ip link add dev v0 type veth peer name v1
step localnet sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet'
step tbf tc qdisc add dev v0 root tbf rate 1gbit burst 18100 limit 100000
step netem tc qdisc add dev v1 root netem delay 1ms
for tables in iptables iptables-legacy; do
  rule="$tables -w -t raw -A PREROUTING"
  step statistic.$tables $rule -m statistic --mode random --probability .5 -j DROP
  step nfqueue.$tables sh -c "$rule -j NFQUEUE --queue-num 0 && test -e /proc/net/netfilter/nfnetlink_queue"
done
"""
_NAMESPACES = (
    "allow user namespaces: `sysctl user.max_user_namespaces=10000`, and, where there are these settings, "
    "`kernel.unprivileged_userns_clone=1` and `kernel.apparmor_restrict_unprivileged_userns=0`; in a container, start "
    "it with the right to make namespaces"
)
_REMEDIES = {
    "namespaces": _NAMESPACES,
    "hosts": _NAMESPACES,
    "bridge": "use a kernel with bridges: `modprobe bridge`",
    "veth": "use a kernel with pairs of interfaces: `modprobe veth`",
    "localnet": _NAMESPACES,
    "tbf": "use a kernel with the token bucket filter: `modprobe sch_tbf`",
    "netem": "`modprobe sch_netem`",
    "nfqueue": "`modprobe nfnetlink_queue xt_NFQUEUE iptable_raw`",
    "statistic": "`modprobe xt_statistic iptable_raw`",
}
_ALWAYS = ("namespaces", "hosts", "bridge", "veth", "localnet", "tbf")
_TABLES = ("iptables", "iptables-legacy")


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

    def require(self, *, delay: bool, loss: bool) -> None:
        """Refuse what cannot be emulated here.

        Raises
        ------
        ClusterError
            If namespaces, links or the rate cannot be had, or a delay or a loss that is asked for.
        """
        for name in _ALWAYS:
            if name not in self.works:
                raise self._error(name, f"this machine cannot emulate hosts: {name}", "cluster.emulated")
        if delay and self.delay is None:
            both = f"{self._remedy('netem')} or {self._remedy('nfqueue')}, or ask for a round trip of 0"
            raise ClusterError(
                f"neither netem nor NFQUEUE works, so that nothing can be delayed ({self.why.get('nfqueue', '')})",
                where="cluster.emulated.round_trip",
                remedy=both,
            )
        if loss and self.loss is None:
            raise self._error("statistic", "no packets can be lost", "cluster.emulated.loss")

    def _error(self, name: str, what: str, where: str) -> ClusterError:
        return ClusterError(f"{what} ({self.why.get(name, 'not tried')})", where=where, remedy=self._remedy(name))

    def _remedy(self, name: str) -> str:
        program = self.why.get(name, "").partition(" is not installed")[0]
        if program in PROGRAMS:
            return f"`apt-get install {PROGRAMS[program]}`"
        return _REMEDIES[name]


def search_path() -> str:
    """Return where programs are looked for: PATH, and the folders of the system's programs."""
    return os.pathsep.join([os.environ.get("PATH", ""), *_MORE_PLACES])


def probe() -> Findings:
    """Find out in about a tenth of a second what can be emulated here."""
    where = search_path()
    absent = [name for name in PROGRAMS if shutil.which(name, path=where) is None]
    needs = {"unshare": _ALWAYS, "nsenter": _ALWAYS, "mount": _ALWAYS, "ip": _ALWAYS[1:], "tc": ("tbf", "netem")}
    why: dict[str, str] = {}
    for name in absent:
        for step in needs.get(name, ("nfqueue", "statistic")):
            why.setdefault(step, f"{name} is not installed")
    if any(name in absent for name in ("unshare", "mount")):
        return Findings(frozenset(), why)
    told = _try(where)
    works = {name for name, sign, _ in told if sign == "+"}
    tables = next((name for name in _TABLES if {f"statistic.{name}", f"nfqueue.{name}"} & works), _TABLES[0])
    for name, sign, reason in told:
        step, _, program = name.partition(".")
        if program in ("", tables) and sign == "-":
            why.setdefault(step, reason.strip() or "it fails")
    found = {name.partition(".")[0] for name in works if name.partition(".")[2] in ("", tables)}
    return Findings(frozenset(found - why.keys()), why, tables)


def _try(where: str) -> list[tuple[str, str, str]]:
    try:
        done = subprocess.run(
            [*UNSHARE, "sh", "-c", _SCRIPT],
            env={**os.environ, "PATH": where},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return [(name, "-", f"no answer within {_SECONDS} s") for name in _ALWAYS]
    if not done.stdout:
        return [(name, "-", " ".join(done.stderr.split())) for name in _ALWAYS]
    lines = [(*line.split(" ", 2), "")[:3] for line in done.stdout.splitlines()]
    return [(name, sign, reason) for name, sign, reason in lines]
