"""Seconds, bytes and money before a run: costs measured on one machine, the network and the algorithm from theory."""

from __future__ import annotations

from relufit.instance_types import INSTANCES, Instance
from relufit.planning.comparators import BASELINE, Comparator
from relufit.planning.contention import Machine
from relufit.planning.costs import Codec, Costs
from relufit.planning.measuring import measure
from relufit.planning.payoff import payoff
from relufit.planning.predictions import predict
from relufit.planning.problem import Host, Problem
from relufit.planning.search import best, plan
from relufit.planning.sweep import sweep
from relufit.planning.validation import validate

__all__ = [
    "BASELINE",
    "INSTANCES",
    "Codec",
    "Comparator",
    "Costs",
    "Host",
    "Instance",
    "Machine",
    "Problem",
    "best",
    "measure",
    "payoff",
    "plan",
    "predict",
    "sweep",
    "validate",
]
