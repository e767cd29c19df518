"""Hosts as network namespaces, joined by a switch: built, shaped, cut, and counted.

Each host has two interfaces, and each of these a port at the switch, which is a bridge in the namespace around. Over
``eth0`` ranks exchange what they have to say; it has the rate, the delay and the loss. Over ``ctl0`` goes what Dask
says to its workers, so that nothing else is on the links that are measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from relufit.clusters.emulated.commands import at, batch, run, told
from relufit.clusters.emulated.delays import Delays
from relufit.clusters.emulated.shaping import MTU, Link
from relufit.errors import ClusterError

#: Addresses that no real network carries: by mistake they would reach nobody but their own machine.
_DATA, _CONTROL = "127.77", "127.78"
#: Where the namespace of the switch is reached over ``ctl0``: there Dask's scheduler is.
SWITCH = f"{_CONTROL}.255.1"
MOST_HOSTS = 250
#: Loopback keeps 127.0.0.1 alone; no packets but those of the run.
_SETTINGS = """
echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
for part in all default; do
  f=/proc/sys/net/ipv6/conf/$part/disable_ipv6; [ ! -e $f ] || echo 1 > $f
done
"""
_LOOPBACK = ("addr add 127.0.0.1/32 dev lo", "link set lo up", "addr del 127.0.0.1/8 dev lo")


def number(host: str) -> int:
    """Return which host it is, from 0."""
    return int(host.rpartition("-")[2])


def data_address(host: str) -> str:
    """Return the address that ranks on a host have."""
    return f"{_DATA}.0.{number(host) + 1}"


def control_address(host: str) -> str:
    """Return the address from which Dask's processes on a host speak to the scheduler."""
    return f"{_CONTROL}.0.{number(host) + 1}"


class Network:
    """The network inside the namespaces.

    Parameters
    ----------
    hosts : sequence of str
        ``host-0``, ``host-1``, ...
    link : Link
    delays : Delays
        How packets are delayed and lost here.
    """

    def __init__(self, hosts: Sequence[str], link: Link, delays: Delays) -> None:
        self.hosts, self.link, self._delays = list(hosts), link, delays

    def build(self) -> None:
        """Make the switch and the hosts, and shape their links.

        Raises
        ------
        ClusterError
            If the system refuses something.
        """
        run("sh", "-c", _SETTINGS)
        bridges = [
            f"link add {bridge} mtu {MTU} type bridge mcast_snooping 0 forward_delay 0"
            for bridge in ("data", "control")
        ]
        ups = ["link set data up", f"addr add {SWITCH}/16 dev control", "link set control up"]
        route = f"route add {_DATA}.0.0/16 dev control src {SWITCH}"
        batch("ip", [*bridges, *_LOOPBACK, *ups, route, *(f"netns add {host}" for host in self.hosts)])
        for host in self.hosts:
            run(*at(host), "sh", "-c", _SETTINGS)
        batch("ip", [line for host in self.hosts for line in _ports(host)])
        for host in self.hosts:
            batch("ip", _interfaces(host), host)
        self._shape()
        self._delays.begin(self.hosts)
        self._delays.apply(self.link)

    def reshape(self, link: Link) -> None:
        """Give all links another rate, delay and loss; packets that are on their way arrive."""
        if link.rate != self.link.rate:
            self.link = link
            self._shape()
        self._delays.apply(link)
        self.link = link

    def cut(self, host: str) -> None:
        """Take the ports of a host from the switch: what it sends and what it is sent is lost without a word."""
        self._check(host)
        batch("ip", [f"link set p{number(host)} nomaster", f"link set c{number(host)} nomaster"])

    def heal(self, host: str) -> None:
        """Put the ports of a host back."""
        self._check(host)
        batch("ip", [f"link set p{number(host)} master data", f"link set c{number(host)} master control"])

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what the kernel has counted at each host.

        ``bytes_sent``, ``bytes_received``, ``packets_sent`` and ``packets_received`` of ``eth0``, Ethernet headers
        included; ``queue_drops``, packets for which there was no room at either end of the link; ``lost``, packets
        that `loss` took; ``delay_drops``, packets that could not be held; ``control_bytes_sent`` and
        ``control_bytes_received`` of ``ctl0``.
        """
        at_switch = _drops(told("tc", "-s", "-j", "qdisc", "show"))
        return {host: self._count(host, at_switch.get(f"p{number(host)}", 0)) for host in self.hosts}

    def _count(self, host: str, at_switch: int) -> dict[str, int]:
        found = {link["ifname"]: link["stats64"] for link in told("ip", "-n", host, "-s", "-j", "link", "show")}
        data, control = found["eth0"], found["ctl0"]
        drops = _drops(told("tc", "-n", host, "-s", "-j", "qdisc", "show"))
        return {
            "bytes_sent": data["tx"]["bytes"],
            "bytes_received": data["rx"]["bytes"],
            "packets_sent": data["tx"]["packets"],
            "packets_received": data["rx"]["packets"],
            "queue_drops": drops.get("eth0", 0) + at_switch,
            **self._delays.counters(host),
            "control_bytes_sent": control["tx"]["bytes"],
            "control_bytes_received": control["rx"]["bytes"],
        }

    def _shape(self) -> None:
        batch("tc", [self.link.shape(f"p{number(host)}") for host in self.hosts])
        for host in self.hosts:
            batch("tc", [self.link.shape("eth0")], host)

    def _check(self, host: str) -> None:
        if host not in self.hosts:
            raise ClusterError(f"no host {host!r}", where="cluster.emulated", remedy=f"one of {', '.join(self.hosts)}")


def _ports(host: str) -> list[str]:
    return [
        f"link add {port}{number(host)} mtu {MTU} type veth peer name {interface} mtu {MTU} netns {host}"
        for port, interface in (("p", "eth0"), ("c", "ctl0"))
    ] + [f"link set {port}{number(host)} master {bridge} up" for port, bridge in (("p", "data"), ("c", "control"))]


def _interfaces(host: str) -> list[str]:
    return [
        *_LOOPBACK,
        # A packet is what it is on a wire: nothing larger is counted, shaped, held or lost as one.
        "link set eth0 gso_max_segs 1 up",
        f"addr add {data_address(host)}/16 dev eth0",
        "link set ctl0 up",
        f"addr add {control_address(host)}/16 dev ctl0",
    ]


def _drops(qdiscs: list[dict[str, int | str]]) -> dict[str, int]:
    """Return the packets that the outermost queue of each device has dropped."""
    return {str(qdisc["dev"]): int(qdisc.get("drops", 0)) for qdisc in qdiscs if qdisc.get("root")}
