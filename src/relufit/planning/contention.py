"""Hosts that share a machine: its memory, and its processors, of which there are fewer than hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from relufit.compression import Compressor
from relufit.exchange import find_exchange
from relufit.planning.costs import Costs, vector_bytes
from relufit.planning.predictions import work_of
from relufit.theory.network import Iteration, Network, Work

#: Parts that ranks have at the same time; and those that they have where everybody updates weights of its own.
_RANKS, _EVERYBODY = ("compute", "encode", "weights"), ("decode", "update")
#: Parts of sending and receiving that a processor does.
_MESSAGES = ("message", "byte")


@dataclass(frozen=True)
class Machine:
    """What parts of an iteration cost on one machine.

    Parameters
    ----------
    alone : Costs
        Measured by one process that has the machine to itself.
    crowded : Costs
        Measured by as many at the same time as there are processors.
    processors : int
    """

    alone: Costs
    crowded: Costs
    processors: int

    def as_json(self) -> dict[str, Any]:
        """Return JSON-ready values that `of` reads."""
        return {"alone": self.alone.as_json(), "crowded": self.crowded.as_json(), "processors": self.processors}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Machine:
        """Return what `as_json` has given."""
        return cls(Costs.of(content["alone"]), Costs.of(content["crowded"]), int(content["processors"]))

    def iteration(
        self,
        exchange: str,
        compressor: Compressor,
        workers: int,
        dimension: int,
        rows: int,
        network: Network,
        *,
        error_feedback: bool = False,
    ) -> tuple[Iteration, Iteration]:
        """Return an iteration of K hosts of this kind, and one of K hosts that are all on this machine.

        The first is what `relufit.planning.predict` goes by. In the second all members that can do the same part do it
        at the same time: they share the memory, so that costs are the crowded ones, and a part takes longer by as many
        times as there are more of them than processors. What members do at the same time only now and then lies
        between the two.

        Parameters
        ----------
        exchange : str
        compressor : Compressor
        workers, dimension : int
            K and d.
        rows : int
            Of a rank in an iteration.
        network : Network
        error_feedback : bool
        """
        scheme = find_exchange(exchange)
        payload = vector_bytes(compressor, scheme, dimension, workers)
        alone, crowded = (
            work_of(costs, compressor, scheme, dimension, workers, rows, error_feedback=error_feedback)
            for costs in (self.alone, self.crowded)
        )
        # What is shared takes no less; a measurement may say so by chance.
        most = Work(**{part: max(seconds, vars(alone)[part]) for part, seconds in vars(crowded).items()})
        shared = self._shared(exchange, workers, most)
        first, second = (scheme.iteration(workers, payload, dimension, network, work) for work in (alone, shared))
        return first, second

    def _shared(self, exchange: str, workers: int, work: Work) -> Work:
        """Return the work of a member while all others have the same."""
        longer, scheme = dict.fromkeys(_RANKS, max(1.0, workers / self.processors)), find_exchange(exchange)
        if not scheme.has_master:
            # All ranks send and receive at the same time; a master's messages come while ranks wait.
            longer |= dict.fromkeys(_MESSAGES, max(1.0, workers / self.processors))
        if scheme.replicas:
            # A master that takes part does the same at the same time.
            longer |= dict.fromkeys(_EVERYBODY, max(1.0, (workers + scheme.has_master) / self.processors))
        return replace(work, **{part: factor * getattr(work, part) for part, factor in longer.items()})
