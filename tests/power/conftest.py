"""What the tests of power share: each experiment runs once without any defect."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runs import CONFIG, Undamaged, confirmed, judge, simulate


@pytest.fixture(scope="session")
def undamaged() -> Callable[[str], Undamaged]:
    """What the right code leaves of an experiment; run when first asked for."""
    known: dict[str, Undamaged] = {}

    def of(name: str) -> Undamaged:
        if name not in known:
            traces = simulate(name, CONFIG)
            known[name] = Undamaged(traces, confirmed(judge(name, CONFIG, traces)))
        return known[name]

    return of
