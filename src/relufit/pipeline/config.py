"""The files of a configuration, merged."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from relufit.files.paths import absolute
from relufit.pipeline.config_values import plain, read_mapping

Config = dict[str, Any]


def read(paths: Iterable[str | os.PathLike[str]]) -> Config:
    """Return the content of some YAML files, later ones merged over earlier ones; their keys are not checked.

    Raises
    ------
    ConfigError
        If a file cannot be read, or holds what no configuration can.
    """
    config: Config = {}
    for path in paths:
        # Copied before it is merged: a mapping that refers to itself would be merged for ever.
        _merge(config, plain(read_mapping(absolute(path))))
    return config


def _merge(base: Config, over: Config) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value
