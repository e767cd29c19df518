"""A master that gathers the gradients, updates the weights and sends them to the ranks."""

from __future__ import annotations

from relufit.exchange.base import Content, Exchange, Flow, Links, Role
from relufit.theory.network import Iteration, Work


class Master(Exchange):
    """Weights go down in fp64, encoded gradients come up; what comes down is not compressed."""

    name = "master"
    label = "master, weights in fp64"
    has_master = True
    replicas = False
    links = Links.STAR

    def flows(self, workers: int) -> tuple[Flow, ...]:
        """Return a gradient of each rank, and the weights for each rank."""
        return (
            Flow(Content.GRADIENT, Role.RANK, Role.MASTER, 1),
            Flow(Content.WEIGHTS, Role.MASTER, Role.RANK, workers),
        )

    def waiting_payloads(self, workers: int) -> int:
        """Return K, at the master."""
        return workers

    def link_loads(self, ranks: int, remote: int) -> list[tuple[float, Content]]:
        """Return the weights out of the master, and the gradients into it."""
        return [(remote, Content.WEIGHTS), (remote, Content.GRADIENT)]

    def seconds(
        self, ranks: int, remote: int, gradient: float, weights: float, latency: float, work: Work
    ) -> Iteration:
        """Return the seconds of an iteration.

        The weights go to K ranks, gradients come back, and are decoded at the master.
        ``c + 2 t + q + p + e + (K - 1) max(q, p, e)`` at least, because the link out of the master is over with the
        weights only after K q, the link into it takes K p from the first gradient on, and decoding K e; at most
        ``c + 2 t + K (q + p + e)``. Where q = p and nothing else counts that is (K + 1) p to 2 K p.
        """
        own = work.compute + work.encode + work.update + 2 * work.weights
        ways = 2 if remote else 0
        stages = (weights, gradient, work.decode)
        flow = sum(stages) + (remote - 1) * max(stages) if remote else 0.0
        return Iteration(
            own + max(ways * (latency + work.message) + flow, ranks * work.decode),
            work.compute,
            work.encode,
            ranks * work.decode,
            work.update + 2 * work.weights,
            2 * remote * work.message,
            ways * latency,
            remote * (weights + gradient),
        )
