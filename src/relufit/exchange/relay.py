"""A master that passes the encoded gradients on, so that nothing uncompressed travels."""

from __future__ import annotations

from relufit.exchange.base import Content, Exchange, Flow, Links, Role
from relufit.theory.network import Iteration, Work


class Relay(Exchange):
    """Encoded gradients go to the master and from there to all other ranks; everybody updates weights of its own."""

    name = "relay"
    label = "relay"
    has_master = True
    replicas = True
    links = Links.STAR

    def flows(self, workers: int) -> tuple[Flow, ...]:
        """Return a gradient of each rank, and for each rank those of the others."""
        return (
            Flow(Content.GRADIENT, Role.RANK, Role.MASTER, 1),
            Flow(Content.GRADIENT, Role.MASTER, Role.RANK, workers * (workers - 1)),
        )

    def waiting_payloads(self, workers: int) -> int:
        """Return 2 K, at the master: a gradient is kept until the rank's next but one comes."""
        return 2 * workers

    def link_loads(self, ranks: int, remote: int) -> list[tuple[float, Content]]:
        """Return the gradients into the master, and their copies out of it."""
        return [(remote, Content.GRADIENT), (remote * (ranks - 1), Content.GRADIENT)]

    def seconds(
        self, ranks: int, remote: int, gradient: float, weights: float, latency: float, work: Work
    ) -> Iteration:
        """Return the seconds of an iteration.

        Gradients go to the master, and to K - 1 ranks each from there; everybody decodes all. Each rank waits for
        K - 1 gradients of others: ``c + 2 t + K p + e`` at least, and never less than the master's link out is
        busy, ``K (K - 1) p``, since the copies of one iteration can overlap with the work of the next. At most
        ``c + 2 t + K p + K (K - 1) p + 2 e + (K - 2) max(0, e - p)``: whatever the master decodes, its copies follow
        each other on the link; a rank has them over one connection, the last one p after that before it, so that
        with p above e all but the last are decoded when it comes, and perhaps the rank's own.
        """
        own = work.compute + work.encode + work.update
        copies = remote * (ranks - 1)
        # The rank that has all first is the one beside the master, where there is one.
        nearest = (2 if remote == ranks else 1) * (latency + work.message) if copies else 0.0
        first = (ranks if remote == ranks else ranks - 1) * gradient if copies else 0.0
        decode = ranks * work.decode
        if copies and remote == ranks:
            decode = min(decode, 2 * work.decode + (ranks - 2) * max(0.0, work.decode - gradient))
        return Iteration(
            max(own + max(nearest + first + work.decode, ranks * work.decode), copies * gradient),
            work.compute,
            work.encode,
            decode,
            work.update,
            (remote + copies) * work.message if copies else 0.0,
            2 * latency if copies else 0.0,
            (remote + copies) * gradient if copies else 0.0,
        )
