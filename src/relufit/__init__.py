"""Fitting ReLUs by SGD and quantized SGD, distributed, with every byte and second measured."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_MODULES = ("clusters", "compression", "errors", "planted", "streams", "testing", "theory", "training")
_NAMES = {"TrainingSpec": "training", "Trace": "training", "train": "training"}

__all__ = ["__version__", *_MODULES, *_NAMES]  # noqa: PLE0604 - strings all


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module, a class or a function
    """Import on first use, so that ``import relufit`` is quick."""
    if name in _NAMES:
        return getattr(importlib.import_module(f"relufit.{_NAMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"relufit.{name}")
    raise AttributeError(f"module 'relufit' has no attribute {name!r}")
