"""What verdicts are about: an experiment files each under a topic, and a claim or a finding has some topics."""

from __future__ import annotations

from enum import StrEnum


class Topic(StrEnum):
    """What a verdict is about; the value stands in files and reports."""

    GEOMETRIC_RATE = "geometric rate"
    INITIAL_WEIGHTS = "initial weights"
    SAMPLES = "samples"
    FAST_CONVERGENCE = "fast convergence"
    COMMUNICATION = "communication"
    ALL_REDUCE = "against fp32 by all-reduce"
    NETWORK = "network"
    OTHER_STARTS = "other starts"
    INITIALIZATION_SCALE = "initialization scale"
    LEAST_SQUARES = "least squares"
    SHIPPING_ROWS = "shipping rows"
    LARGER_BATCHES = "larger batches"
    LOCAL_STEPS = "local steps"
    REFERENCE_METHODS = "methods of the references"
    BITS_FRONTIER = "bytes of every compressor"
    ERROR_FEEDBACK = "error feedback"
    UNSCALED_FEEDBACK = "unscaled feedback"
    UNADAPTED_STEP = "unadapted step"
    DENSE_CODES = "dense codes"
    LABEL_NOISE = "label noise"
    OTHER_INPUTS = "other inputs"
    MODELLED_SECONDS = "modelled seconds"
