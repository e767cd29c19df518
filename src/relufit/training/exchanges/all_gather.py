"""The end of the exchange among the ranks: each has a link to every other."""

from __future__ import annotations

from relufit.training.exchanges.base import Endpoints, OnRank

ENDPOINTS = Endpoints(on_rank=OnRank)
