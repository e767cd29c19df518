"""A digest of the code and the settings that the verdicts of an experiment depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from relufit.experiments import CATALOGUE
from relufit.experiments.framework.procedures import MODULES
from relufit.sources import code_digest


def fingerprint(name: str, config: Mapping[str, Any]) -> str:
    """Return a digest of the code that runs and judges an experiment, and of its section of the configuration.

    The seed is not part of it.

    Parameters
    ----------
    name : str
        An experiment.
    config : mapping
        The whole configuration, checked.
    """
    procedures = {setting.procedure for setting in CATALOGUE[name].settings(config)}
    own = sorted({MODULES[procedure] for procedure in procedures if procedure in MODULES})
    code = [code_digest("trials", *own), code_digest("judge", f"experiments.{name}")]
    return hashlib.sha256(json.dumps([*code, config[name]], sort_keys=True).encode()).hexdigest()[:16]
