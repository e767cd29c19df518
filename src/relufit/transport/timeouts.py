"""How long the members of a run wait for each other."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from relufit.schema import Positive, Section, Whole


class Timeouts(Section):
    """How long who waits for whom, in seconds.

    Parameters
    ----------
    start : float
        For all ranks to come, at the beginning and after a fault; then the run ends with an error.
    message : float
        For a peer that is silent, or takes nothing; then it counts as lost. Longer than an iteration takes.
    rejoin : float
        After a fault, for a rank to come back; then its worker is restarted.
    attempts : int
        Faults in a row without an iteration between them, after which the run ends with an error.
    queue : float
        For other runs on the same cluster to free the slots that are needed; then the run ends with an error.
    """

    WHERE: ClassVar[str] = "timeouts"

    start: Positive = Field(default=120.0, description="for all ranks to come, then the run ends")
    message: Positive = Field(
        default=60.0, description="for a silent peer, then it counts as lost; longer than an iteration takes"
    )
    rejoin: Positive = Field(
        default=30.0, description="after a fault, for a rank to come back, then its process is started again"
    )
    attempts: Whole = Field(default=5, description="faults in a row without an iteration, then the run ends")
    queue: Positive = Field(default=3600.0, description="for other runs to free slots, then the run ends")
