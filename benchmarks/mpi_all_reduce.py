"""SGD over `Allreduce` as one writes it with mpi4py: what `bench_engine.py` compares the exchange `all_reduce` with.

Run it under ``mpirun -n K``. Every process is a rank and has a replica of the weights. In every iteration it draws its
rows, MPI adds up the gradients in an order of its own, in double or in single precision, and each rank takes the same
step, with the kernels of `relufit.train`. All buffers are there before the first iteration. Unlike the engine it checks
nothing that arrives, has no deadlines and keeps no trace.

Process 0 prints one line of JSON:

``way``
    ``allreduce``.
``seconds``
    The median of an iteration, warm-up left out.
``distance``
    Between the final weights and those of the serial engine with the same payloads, relative to the latter: the orders
    of summation differ.
``library``
    The MPI library.
"""

from __future__ import annotations

import rounds  # noqa: F401 - one thread for every library

# isort: split
# numpy reads its number of threads when it is imported, and `rounds` has set it.

import argparse
import json
from time import perf_counter

import numpy as np
from mpi4py import MPI
from mpi_engine import WARM_UP

import relufit
from relufit.numerics import kernels
from relufit.planted import PlantedModel
from relufit.planted.dataset import open_rows
from relufit.training.sampling import SAMPLINGS
from relufit.training.spec import TrainingSpec, make_plan

PAYLOADS = {"fp64": np.float64, "fp32": np.float32}


def run(comm: MPI.Intracomm, spec: TrainingSpec, payload: str) -> tuple[float, np.ndarray]:
    """Return the median seconds of an iteration, and the final weights."""
    rows = open_rows(spec.dataset)
    plan, shard, rank = make_plan(spec, rows), rows.shard(comm.rank, comm.size), comm.rank
    sampler = SAMPLINGS[spec.sampling](spec.seed, rank, plan.batch(rank), shard, rows.model, rows.w_star)
    gradient, share = np.zeros(plan.d), 1.0 / spec.batch_size
    # In double precision the sum takes the place of the gradient.
    summed = gradient if payload == "fp64" else np.zeros(plan.d, PAYLOADS[payload])
    kernels.moment_sum(*shard, gradient)
    comm.Allreduce(MPI.IN_PLACE, gradient)
    weights = gradient * (2.0 / plan.n)
    clock = np.zeros(spec.iterations + 1)
    comm.Barrier()
    clock[0] = perf_counter()
    for iteration in range(spec.iterations):
        x, y, batch = sampler.draw(iteration)
        kernels.gradient_sum(x, y, batch, weights, share, gradient)
        if summed is not gradient:
            np.copyto(summed, gradient, casting="same_kind")
        comm.Allreduce(MPI.IN_PLACE, summed)
        if summed is not gradient:
            np.copyto(gradient, summed)
        kernels.descend_towards(weights, gradient, plan.step, rows.w_star, weights)
        clock[iteration + 1] = perf_counter()
    return float(np.median(np.diff(clock)[spec.iterations // WARM_UP :])), weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=json.loads, help="parameters of relufit.planted.PlantedModel as JSON")
    parser.add_argument("spec", type=json.loads, help="parameters of relufit.TrainingSpec as JSON")
    parser.add_argument("--payload", default="fp64", choices=PAYLOADS, help="what the elements are sent as")
    arguments = parser.parse_args()
    comm = MPI.COMM_WORLD
    how = {**arguments.spec, "workers": comm.size, "compressor": arguments.payload, "exchange": "all_reduce"}
    spec = TrainingSpec(PlantedModel(**arguments.model), **how)
    seconds, weights = run(comm, spec, arguments.payload)
    if comm.rank == 0:
        oracle = relufit.train(spec).weights
        distance = float(np.linalg.norm(weights - oracle) / np.linalg.norm(oracle))
        library = MPI.Get_library_version().partition(",")[0]
        print(json.dumps({"way": "allreduce", "seconds": seconds, "distance": distance, "library": library}))


if __name__ == "__main__":
    main()
