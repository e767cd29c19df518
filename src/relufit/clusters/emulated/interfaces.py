"""The interfaces of a network namespace: made, addressed, shaped and counted over netlink, without `ip` and `tc`.

A message is built and read by pyroute2. What it does not know, the burst and the wide rate of a token bucket filter,
is described here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from copy import deepcopy
from typing import Any

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, nla
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_NEWQDISC, TC_H_ROOT
from pyroute2.netlink.rtnl.tcmsg import sched_netem, sched_tbf, tcmsg

from relufit.clusters.emulated.namespaces import NAMESPACES, inside
from relufit.clusters.emulated.shaping import MTU, Link
from relufit.errors import ClusterError

#: The queue of a device that has the rate, what it is the parent of, and the queue that delays.
_RATE, _BELOW, _DELAY = 0x10000, 0x10001, 0x100000
_ETHERNET = 1
_MOST_NARROW = (1 << 32) - 1
#: Kernels count the time of a queue in units of 64 nanoseconds.
_TICK_SECONDS = 64e-9


class _Bucket(nla):  # type: ignore[misc]  # pyroute2 is untyped
    """The options of a token bucket filter, as linux/pkt_sched.h has them."""

    nla_map = (
        ("TCA_TBF_UNSPEC", "none"),
        ("TCA_TBF_PARMS", "parameters"),
        ("TCA_TBF_RTAB", "hex"),
        ("TCA_TBF_PTAB", "hex"),
        ("TCA_TBF_RATE64", "uint64"),
        ("TCA_TBF_PRATE64", "uint64"),
        ("TCA_TBF_BURST", "uint32"),
    )

    class parameters(nla):  # type: ignore[misc]  # noqa: N801 - by the name in nla_map
        """The structure ``tc_tbf_qopt``."""

        fields = sched_tbf.options.tbf_parms.fields


class QueueMessage(tcmsg):  # type: ignore[misc]  # pyroute2 is untyped
    """A message about a queue whose options are those of this module."""

    @staticmethod
    def get_options(self: tcmsg, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401, PLW0211 - as pyroute2 calls it
        """Return the class of the options."""
        kinds = {"tbf": _Bucket, "netem": sched_netem.options}
        return kinds.get(self.get_attr("TCA_KIND"), nla.hex)


def bucket(link: Link) -> dict[str, Any]:
    """Return the message that sets the rate of a link, or replaces it; the caller adds the index of the device."""
    rate = round(link.rate / 8)
    parameters = {"rate___reserved": _ETHERNET, "rate": min(rate, _MOST_NARROW), "limit": link.queue_bytes}
    options = [["TCA_TBF_PARMS", parameters], ["TCA_TBF_BURST", link.burst]]
    if rate > _MOST_NARROW:
        options.append(["TCA_TBF_RATE64", rate])
    return _queue("tbf", TC_H_ROOT, _RATE, {"attrs": options})


def emulator(link: Link) -> dict[str, Any]:
    """Return the message that gives a device that has a rate half of the round trip, and the loss, of a link."""
    options = {
        "delay": round(link.round_trip / 2 / _TICK_SECONDS),
        "limit": link.queue_packets,
        "loss": round(link.loss * _MOST_NARROW),
    }
    return _queue("netem", _BELOW, _DELAY, options)


def _queue(kind: str, parent: int, handle: int, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "family": 0,
        "parent": parent,
        "handle": handle,
        "attrs": [["TCA_KIND", kind], ["TCA_OPTIONS", options]],
    }


def encoded(message: Mapping[str, Any], index: int) -> QueueMessage:
    """Return the message that sets a queue of an interface, or puts it in place of the one that there is."""
    asked = QueueMessage()
    asked["header"]["type"] = RTM_NEWQDISC
    asked["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    asked.update(deepcopy(dict(message)))  # which encoding changes
    asked["index"] = index
    return asked


class Interfaces(AbstractContextManager["Interfaces"]):
    """The interfaces of one namespace.

    Parameters
    ----------
    host : str, optional
        Whose; those of the namespace that this thread is in if not given.

    Raises
    ------
    ClusterError
        If the system refuses what a method asks for; it names that.
    """

    def __init__(self, host: str | None = None) -> None:
        self._host = host
        with self._there():
            self._netlink = IPRoute()
        self._indices: dict[str, int] = {}

    def __exit__(self, *problem: object) -> None:
        """Close the socket."""
        self._netlink.close()

    def loopback(self) -> None:
        """Keep the address 127.0.0.1 of loopback, and no other."""
        self._ask("addr", "add", "lo", address="127.0.0.1", prefixlen=32)
        self.up("lo")
        self._ask("addr", "del", "lo", address="127.0.0.1", prefixlen=8)

    def bridge(self, name: str) -> None:
        """Make a switch that is up, and that neither listens to groups nor waits before it forwards."""
        options = {"kind": "bridge", "mtu": MTU, "br_mcast_snooping": 0, "br_forward_delay": 0}
        self._made(name, **options)

    def pair(self, port: str, interface: str, host: str | None = None) -> None:
        """Make a link: a port here, and an interface at a host, or here as well."""
        with ExitStack() as opened:
            peer: dict[str, Any] = {"ifname": interface, "mtu": MTU}
            if host:
                there = os.open(NAMESPACES / host, os.O_RDONLY)
                opened.callback(os.close, there)
                peer["net_ns_fd"] = there
            self._made(port, kind="veth", mtu=MTU, peer=peer)

    def up(self, name: str, **options: int) -> None:
        """Bring an interface up, with options of netlink such as ``gso_max_segs``."""
        self._ask("link", "set", name, state="up", **options)

    def address(self, name: str, address: str) -> None:
        """Give an interface an address, whose network has 16 bits."""
        self._ask("addr", "add", name, address=address, prefixlen=16)

    def route(self, network: str, name: str, source: str) -> None:
        """Send what is for a network by an interface, with an address as the sender's."""
        where = {"dst": network, "oif": self._index(name), "prefsrc": source, "scope": "link"}
        self._request(f"a route to {network} by {name}", lambda: self._netlink.route("add", **where))

    def windows(self, network: str, name: str, source: str, packets: int) -> None:
        """Set the initial TCP windows, in packets, of connections to a network through an interface."""
        where = {"dst": network, "oif": self._index(name), "prefsrc": source, "scope": "link", "proto": "kernel"}
        metrics = {"initcwnd": packets, "initrwnd": packets}
        self._request(
            f"windows of {packets} packets by {name}",
            lambda: self._netlink.route("replace", **where, metrics=metrics),
        )

    def join(self, name: str, bridge: str | None) -> None:
        """Put a port on a switch, or take it from any."""
        self._ask("link", "set", name, master=self._index(bridge) if bridge else 0)

    def queue(self, name: str, message: Mapping[str, Any]) -> None:
        """Set a queue of an interface: a `bucket` or an `emulator`."""
        asked = encoded(message, self._index(name))
        kind = message["attrs"][0][1]
        self._request(f"the queue {kind} of {name}", lambda: self._netlink.nlm_request_batch([asked]))

    def counted(self) -> dict[str, dict[str, int]]:
        """Return by interface what the kernel has counted: bytes and packets that came (``rx_``) and went (``tx_``)."""
        links = self._request("counters", lambda: tuple(self._netlink.get_links()))
        return {link.get_attr("IFLA_IFNAME"): dict(link.get_attr("IFLA_STATS64")) for link in links}

    def dropped(self) -> Iterator[tuple[str, str, bool, int]]:
        """Yield the interface and the kind of each queue, whether it is the outermost, and the packets it dropped."""
        with self._there():
            names = dict(socket.if_nameindex())
        for queue in self._request("queues", lambda: tuple(self._netlink.get_qdiscs())):
            statistics = queue.get_attr("TCA_STATS2")
            counts = statistics.get_attr("TCA_STATS_QUEUE") if statistics else None
            drops = int(counts["drops"]) if counts else 0
            yield names.get(queue["index"], ""), queue.get_attr("TCA_KIND"), queue["parent"] == TC_H_ROOT, drops

    def _made(self, name: str, **options: Any) -> None:  # noqa: ANN401
        kind = options["kind"]
        self._request(
            f"{name} of the kind {kind}", lambda: self._netlink.link("add", ifname=name, state="up", **options)
        )

    def _ask(self, what: str, how: str, name: str, **options: Any) -> None:  # noqa: ANN401
        index = self._index(name)
        said = ", ".join(f"{key} {value}" for key, value in options.items())
        self._request(
            f"{what} {how} {name} ({said})", lambda: getattr(self._netlink, what)(how, index=index, **options)
        )

    def _index(self, name: str) -> int:
        if name not in self._indices:
            try:
                with self._there():
                    self._indices[name] = socket.if_nametoindex(name)
            except OSError as error:
                raise ClusterError(f"there is no interface {name}", where=self._where()) from error
        return self._indices[name]

    def _there(self) -> AbstractContextManager[None]:
        return inside(self._host) if self._host else nullcontext()

    def _request(self, what: str, ask: Any) -> Any:  # noqa: ANN401 - what pyroute2 returns
        try:
            return ask()
        except (NetlinkError, OSError) as error:
            code = getattr(error, "code", None) or getattr(error, "errno", 0)
            raise ClusterError(
                f"the kernel refuses {what} ({os.strerror(code) if code else error})", where=self._where()
            ) from error

    def _where(self) -> str:
        return f"cluster.emulated: {self._host}" if self._host else "cluster.emulated"
