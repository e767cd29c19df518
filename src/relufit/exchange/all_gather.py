"""Ranks that send their gradients to each other, without a master.

It is the exchange of the paper, where encoded gradients are "broadcast to ... all other processors", each of which adds
them and updates weights of its own: an all-gather. (In MPI's all-to-all each rank sends *different* data to each other
rank; here it sends the same to all.)
"""

from __future__ import annotations

from relufit.exchange.base import Content, Exchange, Flow, Links, Role
from relufit.theory.network import Iteration, Work


class AllGather(Exchange):
    """Each rank sends its encoded gradient to every other rank, and updates weights of its own."""

    name = "all_gather"
    label = "all-gather"
    has_master = False
    replicas = True
    links = Links.MESH

    def flows(self, workers: int) -> tuple[Flow, ...]:
        """Return the gradient of each rank, for each other rank."""
        return (Flow(Content.GRADIENT, Role.RANK, Role.RANK, workers - 1),)

    def waiting_payloads(self, workers: int) -> int:
        """Return K, at each rank."""
        return workers

    def link_loads(self, ranks: int, remote: int) -> list[tuple[float, Content]]:
        """Return the gradients out of a rank, while as many come in."""
        return [(ranks - 1, Content.GRADIENT)]

    def seconds(
        self, ranks: int, remote: int, gradient: float, weights: float, latency: float, work: Work
    ) -> Iteration:
        """Return the seconds of an iteration.

        Each rank sends to K - 1 others and receives as many at the same time: ``c + t + (K - 1) p + e`` and
        ``c + K e`` at least, ``c + t + (K - 1) p + K e`` at most.
        """
        own, others = work.compute + work.encode + work.update, ranks - 1
        way = latency + work.message if others else 0.0
        return Iteration(
            own + max(way + others * gradient + work.decode, ranks * work.decode),
            work.compute,
            work.encode,
            ranks * work.decode,
            work.update,
            others * work.message,
            latency if others else 0.0,
            others * gradient,
        )
