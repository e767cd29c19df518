"""The section ``cluster.emulated``, read without what builds the network, which takes a while to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from relufit.clusters.emulated.shaping import Link
from relufit.errors import ConfigError
from relufit.schema import LEFT_OUT, Flag, Integer, Number, Section

if TYPE_CHECKING:
    from relufit.clusters.emulated.findings import Findings, Obstacle

MOST_HOSTS = 250
Rate = Annotated[Number, Field(ge=1e4, le=1e11, description="bits a second of each link")]
RoundTrip = Annotated[Number, Field(ge=0, le=10, description="seconds that are added between a packet and its answer")]
Loss = Annotated[Number, Field(ge=0, lt=1, description="part of the packets that is lost, in each direction")]


class NetworkSection(Section):
    """A network of hosts on this machine."""

    WHERE: ClassVar[str] = "cluster.emulated"

    rate: Rate = Link.rate
    round_trip: RoundTrip = Link.round_trip
    loss: Loss = Link.loss
    hosts: Annotated[Integer, Field(ge=2, le=MOST_HOSTS)] = Field(
        default=LEFT_OUT, description="how many hosts; one for each rank and one for the master if not given"
    )
    tls: Flag = Field(
        default=False, description="whether what ranks send each other is encrypted; what Dask says always is"
    )


class Options(NetworkSection):
    """What such a network is opened with.

    Parameters
    ----------
    required : bool
        Whether it is an error if this machine refuses; otherwise there is `Refused` in place of hosts.
    """

    required: Flag = True

    @property
    def link(self) -> Link:
        """The link of each host."""
        return Link(self.rate, self.round_trip, self.loss)

    def obstacle(self, findings: Findings) -> Obstacle | None:
        """Return what of this a machine cannot emulate, None if it can do everything."""
        return findings.obstacle(delay=self.link.round_trip > 0, loss=self.link.loss > 0)

    def count(self, workers: int) -> int:
        """Return the number of hosts for so many ranks.

        Raises
        ------
        ConfigError
            If there are too few for the ranks, or more than can be had.
        """
        count = self.hosts or workers + 1
        if not max(2, workers) <= count <= MOST_HOSTS:
            raise ConfigError(
                f"{count} hosts for {workers} ranks",
                where="cluster.emulated.hosts",
                remedy=f"give one for each rank, at least 2 and at most {MOST_HOSTS}",
            )
        return count
