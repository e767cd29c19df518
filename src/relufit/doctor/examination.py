"""All that is looked at, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relufit.doctor.line import Line
from relufit.doctor.machine import machine_lines
from relufit.doctor.network import lines, network_lines
from relufit.doctor.surroundings import surrounding_lines


def examine(config: Mapping[str, Any] | None) -> list[Line]:
    """Look at everything.

    Parameters
    ----------
    config : dict, optional
        A checked configuration: what it asks for and this machine lacks is `Sign.MISSING`. Without one only the machine
        itself is judged.
    """
    return [*machine_lines(config), *network_lines(), *(lines(config) if config else []), *surrounding_lines()]
