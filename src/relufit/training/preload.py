"""What every rank of a run needs, loaded once in the process that workers are forked from.

Numba imports its descriptions of numpy when a first function is compiled or loaded, and a trace needs pandas: together
they take as long as the start of a worker, and a cluster on one machine has many.
"""

from __future__ import annotations

import gc

import pandas as pd

from relufit.numerics import compiled_cache
from relufit.training import tasks

__all__ = ["pd", "tasks"]

compiled_cache.load_descriptions()
# The garbage collector of a worker would look through all objects of these modules, which never go, and copy their
# pages.
gc.freeze()
