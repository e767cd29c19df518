"""The ends of the exchanges over links: a module for each, of the name that `relufit.exchange` has for it."""

from __future__ import annotations

from importlib import import_module

from relufit.exchange import find_exchange
from relufit.training.exchanges.base import Endpoints

__all__ = ["Endpoints", "endpoints"]


def endpoints(name: str) -> Endpoints:
    """Return the ends of an exchange.

    Raises
    ------
    ConfigError
        If there is no exchange of that name.
    """
    ends: Endpoints = import_module(f"{__name__}.{find_exchange(name).name}").ENDPOINTS
    return ends
