"""Ranks that each add a part of the coordinates: reduce-scatter, then all-gather.

Rank r owns the r-th of K parts. In the first stage each rank encodes its gradient in K parts and sends each owner its
part; the owner adds the parts in the order of the ranks. In the second stage it encodes the sum and sends it to all
other ranks, which put the sums together. A rank sends ``2 (K - 1) / K`` of a payload in an iteration, for any K
(R. Thakur, R. Rabenseifner, W. Gropp, *Optimization of Collective Communication Operations in MPICH*, 2005).

A compressor with a variance adds it twice: omega of a part of the gradient of each rank, and that of the encoded sum.
"""

from __future__ import annotations

from itertools import pairwise

from relufit.exchange.base import Content, Exchange, Flow, Links, Role, Variance, Variances
from relufit.theory.network import Iteration, Work


class AllReduce(Exchange):
    """Each rank adds its part of the gradients and sends the sum to all others; each updates weights of its own."""

    name = "all_reduce"
    label = "all-reduce"
    has_master = False
    replicas = True
    links = Links.MESH

    def parts(self, d: int, workers: int) -> list[tuple[int, int]]:
        """Return the coordinates of each owner; their numbers differ by at most one, and may be 0 where d < K."""
        bounds = [d * owner // workers for owner in range(workers + 1)]
        return list(pairwise(bounds))

    def part_sizes(self, d: int, workers: int) -> dict[int, int]:
        """Return the numbers of coordinates of the parts that have any, and how many parts have as many."""
        size, longer = divmod(d, workers)
        return {of: count for of, count in ((size, workers - longer), (size + 1, longer)) if of and count}

    def variances(self, variance: Variance, d: int, workers: int) -> Variances:
        """Return omega of the parts, each weighted by its share of the coordinates, for both encodings."""
        total = 0.0
        for size, count in self.part_sizes(d, workers).items():
            omega = variance(size)
            if omega is None:
                return Variances(None, 0.0)
            total += count * size / d * omega
        return Variances(total, total)

    def flows(self, workers: int) -> tuple[Flow, ...]:
        """Return the parts for their owners, and the sums for everybody."""
        part = Flow(Content.GRADIENT, Role.RANK, Role.RANK, workers - 1, 1 / workers)
        return part, part

    def copies(self, workers: int) -> tuple[int, int]:
        """Return K - 1: each sum is sent to every other rank."""
        return workers - 1, 0

    def waiting_payloads(self, workers: int) -> int:
        """Return 2: the parts of its own gradient at each rank, and as much of the others."""
        return 2

    def link_loads(self, ranks: int, remote: int) -> list[tuple[float, Content]]:
        """Return the parts out of a rank and its copies of a sum, which take the same links."""
        return [(2 * (ranks - 1) / ranks, Content.GRADIENT)]

    def seconds(
        self, ranks: int, remote: int, gradient: float, weights: float, latency: float, work: Work
    ) -> Iteration:
        """Return the seconds of an iteration.

        In each of two stages a rank sends K - 1 parts of p / K and receives as many at the same time. It decodes K
        parts, encodes their sum, and decodes K sums: ``c + 2 t + 2 (K - 1) p / K + 2 e / K + f / K`` at least, f the
        seconds to encode a vector, and never less than ``c + 2 e + f / K``; at most
        ``c + 2 t + 2 (K - 1) p / K + 2 e + f / K``, with a message's overhead for each part.
        """
        encode = work.encode * (1 + 1 / ranks)
        own, ways = work.compute + encode + work.update, 2 if ranks > 1 else 0
        flow = 2 * (ranks - 1) / ranks * gradient
        return Iteration(
            own + max(ways * (latency + work.message) + flow + 2 * work.decode / ranks, 2 * work.decode),
            work.compute,
            encode,
            2 * work.decode,
            work.update,
            ways * (ranks - 1) * work.message,
            ways * latency,
            flow,
        )
