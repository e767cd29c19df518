"""Compile loops that many tests need, once: processes that begin side by side would each compile them."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import numpy as np
from numpy.typing import DTypeLike

from relufit.compression import COMPRESSORS, make_compressor
from relufit.compression.coding import CODINGS
from relufit.exchange import EXCHANGES
from relufit.planted import PlantedModel
from relufit.training import TrainingSpec, train
from relufit.training.gradients import GRADIENTS

#: What loops are compiled for: parameters of compressors, by name.
_FORMS = {
    "qsgd": [{"levels": 4, "coding": coding, "norm": norm} for coding, norm in product(CODINGS, ("l2", "max"))],
    "ternary": [{"coding": coding} for coding in CODINGS],
    "natural": [{"coding": coding} for coding in CODINGS],
    "scaled_qsgd": [{"levels": 4, "coding": "rans"}],
    "eden": [{"bits": 1}],
    "top_k": [{"fraction": 0.3, "values": values} for values in ("fp32", "fp16")],
    "rand_k": [{"fraction": 0.3, "values": "fp16"}],
    "top_k_sign": [{"fraction": 0.3}],
    "gradiveq": [{"values": "fp16"}],
}


def _compressors() -> None:
    """Send a vector through each compressor, in both precisions."""
    kinds: tuple[DTypeLike, ...] = (np.float64, np.float32)
    for name, kind in product(COMPRESSORS, kinds):
        for parameters in _FORMS.get(name, [{}]):
            compressor = make_compressor(name, **parameters)
            vector = np.random.default_rng(0).standard_normal(700).astype(kind)
            compressor.decode(compressor.encode(vector, 1), len(vector))


def _training() -> None:
    """Train in each exchange, with the compressors that most tests have, and along each gradient."""
    model = PlantedModel(210, 12, 3)
    quantizers = [{"name": "qsgd", "levels": 4, "coding": coding} for coding in ("packed", "rans")]
    for exchange, compressor in product(EXCHANGES, ("fp64", "fp32", "sign", *quantizers)):
        fed = compressor == "sign"
        train(TrainingSpec(model, compressor, 2, 20, iterations=3, exchange=exchange, error_feedback=fed))
    for gradient in GRADIENTS:
        train(TrainingSpec(model, "fp64", 2, 20, iterations=3, gradient=gradient))


PARTS = {"compressors": _compressors, "training": _training}


def compile_side_by_side() -> None:
    """Run each part in a process of its own, and wait for all; what has been compiled before is only loaded.

    Raises
    ------
    RuntimeError
        If a part fails, which prints why.
    """
    processes = {part: subprocess.Popen([sys.executable, __file__, part]) for part in PARTS}
    codes = {part: process.wait() for part, process in processes.items()}
    if any(codes.values()):
        raise RuntimeError(f"loops were not compiled, codes {codes}")


if __name__ == "__main__":
    PARTS[sys.argv[1]]()
