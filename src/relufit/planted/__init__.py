"""Planted data: the model, data sets on disk or in a bucket, the rows that a rank has, and where a run starts."""

from relufit.planted.model import (
    INPUTS,
    PlantedData,
    PlantedModel,
    generate,
    gradient,
    initial_weights,
    loss,
    relative_error,
)

__all__ = [
    "INPUTS",
    "PlantedData",
    "PlantedModel",
    "generate",
    "gradient",
    "initial_weights",
    "loss",
    "relative_error",
]
