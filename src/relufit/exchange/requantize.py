"""A master that adds the gradients, encodes the sum once, and sends that payload to all ranks.

A payload goes up from each rank and one comes down. A compressor with a variance adds it twice: omega of the gradient
of each rank, and that of the encoded sum.
"""

from __future__ import annotations

from relufit.exchange.base import Content, Exchange, Flow, Links, Role, Variance, Variances
from relufit.theory.network import Iteration, Work


class Requantize(Exchange):
    """Encoded gradients come up, their encoded sum goes down; everybody updates weights of its own."""

    name = "requantize"
    label = "master, sum encoded again"
    has_master = True
    replicas = True
    links = Links.STAR

    def parts(self, d: int, workers: int) -> list[tuple[int, int]]:
        """Return all coordinates: the master adds them."""
        return [(0, d)]

    def variances(self, variance: Variance, d: int, workers: int) -> Variances:
        """Return omega of the gradients and of their sum."""
        omega = variance(d)
        return Variances(omega, omega or 0.0)

    def flows(self, workers: int) -> tuple[Flow, ...]:
        """Return a gradient of each rank, and their sum for each rank."""
        return (
            Flow(Content.GRADIENT, Role.RANK, Role.MASTER, 1),
            Flow(Content.GRADIENT, Role.MASTER, Role.RANK, workers),
        )

    def copies(self, workers: int) -> tuple[int, int]:
        """Return K from the master: the sum is sent to every rank."""
        return 0, workers

    def moment_copies(self, workers: int) -> tuple[int, int]:
        """Return one to the master, and one from there to each of the other ranks: moments are passed on."""
        return 1, workers - 1

    def waiting_payloads(self, workers: int) -> int:
        """Return K + 1, at the master."""
        return workers + 1

    def link_loads(self, ranks: int, remote: int) -> list[tuple[float, Content]]:
        """Return the gradients into the master, and the sums out of it."""
        return 2 * [(float(remote), Content.GRADIENT)]

    def seconds(
        self, ranks: int, remote: int, gradient: float, weights: float, latency: float, work: Work
    ) -> Iteration:
        """Return the seconds of an iteration.

        As with a master that sends the weights, with the sum's payload in their place: with f the seconds to encode,
        ``c + f + 2 t + 2 p + 2 e + (K - 1) max(p, e)`` at least, at most ``c + f + 2 t + K (2 p + e) + e``.
        """
        own, ways = work.compute + 2 * work.encode + work.update, 2 if remote else 0
        flow = 2 * gradient + work.decode + (remote - 1) * max(gradient, work.decode) if remote else 0.0
        return Iteration(
            own + work.decode + max(ways * (latency + work.message) + flow, ranks * work.decode),
            work.compute,
            2 * work.encode,
            (ranks + 1) * work.decode,
            work.update,
            2 * remote * work.message,
            ways * latency,
            2 * remote * gradient,
        )
