"""Hosts as network namespaces, joined by a switch: built, shaped, cut, and counted.

Each host has two interfaces, and each of these a port at the switch, which is a bridge in the namespace around. Over
``eth0`` ranks exchange what they have to say; it has the rate, the delay and the loss. Over ``ctl0`` goes what Dask
says to its workers, so that nothing else is on the links that are measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from relufit.clusters.emulated.delay_backends import Delays
from relufit.clusters.emulated.interfaces import Interfaces, bucket
from relufit.clusters.emulated.namespaces import configure_network, inside, make
from relufit.clusters.emulated.shaping import Link
from relufit.errors import ClusterError

#: Addresses that no real network carries: by mistake they would reach nobody but their own machine.
_DATA, _CONTROL = "127.77", "127.78"
#: Packets that a connection may have on its way from the beginning, about 290 kB. In a long run TCP finds such windows
#: by itself, but short runs are timed too. With the ten packets that connections begin with elsewhere, ranks that send
#: to several peers at once wait for each other: eight took 1.4 times as long for an all-reduce of 1.6 MB. With
#: hundreds, packets wait at a slow link for longer than TCP waits until it sends them again.
_WINDOW_PACKETS = 32
#: Where the namespace of the switch is reached over ``ctl0``: there Dask's scheduler is.
SWITCH = f"{_CONTROL}.255.1"


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
        configure_network()
        with Interfaces() as switch:
            switch.loopback()
            for bridge in ("data", "control"):
                switch.bridge(bridge)
            switch.address("control", SWITCH)
            switch.route(f"{_DATA}.0.0/16", "control", SWITCH)
            for host in self.hosts:
                self._add(switch, host)
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
        with Interfaces() as switch:
            for port in _ports(host):
                switch.join(port, None)

    def heal(self, host: str) -> None:
        """Put the ports of a host back."""
        self._check(host)
        with Interfaces() as switch:
            for port, (_, bridge) in _ports(host).items():
                switch.join(port, bridge)

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what the kernel has counted at each host.

        ``bytes_sent``, ``bytes_received``, ``packets_sent`` and ``packets_received`` of ``eth0``, Ethernet headers
        included; ``queue_drops``, packets for which there was no room at either end of the link; ``lost``, packets
        that `loss` took; ``delay_drops``, packets that could not be held; ``control_bytes_sent`` and
        ``control_bytes_received`` of ``ctl0``.
        """
        with Interfaces() as switch:
            at_switch = _drops(switch)
        return {host: self._count(host, at_switch.get(f"p{number(host)}", 0)) for host in self.hosts}

    def _count(self, host: str, at_switch: int) -> dict[str, int]:
        with Interfaces(host) as interfaces:
            counted, drops = interfaces.counted(), _drops(interfaces)
        data, control = counted["eth0"], counted["ctl0"]
        return {
            "bytes_sent": data["tx_bytes"],
            "bytes_received": data["rx_bytes"],
            "packets_sent": data["tx_packets"],
            "packets_received": data["rx_packets"],
            "queue_drops": drops.get("eth0", 0) + at_switch,
            **self._delays.counters(host),
            "control_bytes_sent": control["tx_bytes"],
            "control_bytes_received": control["rx_bytes"],
        }

    def _add(self, switch: Interfaces, host: str) -> None:
        """Make a host, and the links to it."""
        try:
            make(host)
            with inside(host):
                configure_network()
        except OSError as error:
            raise ClusterError(f"{host} cannot be made ({error.strerror})", where="cluster.emulated") from error
        for port, (interface, bridge) in _ports(host).items():
            switch.pair(port, interface, host)
            switch.join(port, bridge)
        with Interfaces(host) as interfaces:
            interfaces.loopback()
            # A packet is what it is on a wire: nothing larger is counted, shaped, held or lost as one.
            interfaces.up("eth0", gso_max_segs=1)
            interfaces.address("eth0", data_address(host))
            interfaces.windows(f"{_DATA}.0.0/16", "eth0", data_address(host), _WINDOW_PACKETS)
            interfaces.up("ctl0")
            interfaces.address("ctl0", control_address(host))

    def _shape(self) -> None:
        rate = bucket(self.link)
        with Interfaces() as switch:
            for host in self.hosts:
                switch.queue(f"p{number(host)}", rate)
        for host in self.hosts:
            with Interfaces(host) as interfaces:
                interfaces.queue("eth0", rate)

    def _check(self, host: str) -> None:
        if host not in self.hosts:
            raise ClusterError(f"no host {host!r}", where="cluster.emulated", remedy=f"one of {', '.join(self.hosts)}")


def _ports(host: str) -> dict[str, tuple[str, str]]:
    """Return the ports of a host at the switch: to which interface each leads, and which bridge it is on."""
    return {f"p{number(host)}": ("eth0", "data"), f"c{number(host)}": ("ctl0", "control")}


def _drops(interfaces: Interfaces) -> dict[str, int]:
    """Return the packets that the outermost queue of each interface has dropped."""
    return {name: drops for name, _, outermost, drops in interfaces.dropped() if outermost}
