"""One thread for every library, and candidates that take turns; to be imported before numpy."""
# ruff: noqa: E402 - numpy reads its number of threads when it is imported

from __future__ import annotations

import os

for _library in ("OPENBLAS", "OMP", "MKL", "NUMBA"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

from collections.abc import Callable, Mapping
from time import perf_counter

import numpy as np

#: What is timed, called with the number of a round.
Candidate = Callable[[int], object]


def medians(candidates: Mapping[str, Candidate], rounds: int) -> dict[str, float]:
    """Return the median seconds of each candidate over rounds in which all of them take turns.

    In a round no two candidates are given the same number, so that none finds in the cache what another has just
    fetched for it. Each is called once before the clock runs, which compiles what has to be compiled.
    """
    apart = rounds // len(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for candidate in candidates.values():
        candidate(0)
    for number in range(rounds):
        for index, (name, candidate) in enumerate(candidates.items()):
            chosen = (number + index * apart) % rounds
            began = perf_counter()
            candidate(chosen)
            seconds[name].append(perf_counter() - began)
    return {name: float(np.median(taken)) for name, taken in seconds.items()}
