"""Distributed SGD with a master as one writes it with mpi4py: what `bench_engine.py` compares the engine with.

Run it under ``mpirun -n K+1``. Process 0 is the master, process r + 1 is rank r. In every iteration the master sends
the weights to each rank, a rank draws its rows and sends back its part of the gradient, and the master sums these in
the order of the ranks and takes a step: the algorithm of `relufit.train` with an exact compressor, with the same
kernels, bit for bit. Nothing is pickled; all buffers are there before the first iteration. Unlike the engine it checks
nothing that arrives, has no deadlines and keeps no trace.

Process 0 prints a line of JSON on each way of passing the vectors on:

``way``
    How the weights go down, ``bcast`` (a broadcast) or ``send`` (a persistent request for each rank), and how the
    gradients come up, ``gather`` (and are added in the same pass as the step is taken) or ``receive`` (persistent
    requests, each part added as soon as its turn has come).
``seconds``
    The median of an iteration, warm-up left out.
``weights_sha256``, ``library``
    The final weights, as in the summary of a trace; the MPI library.
"""

from __future__ import annotations

import rounds  # noqa: F401 - one thread for every library

# isort: split
# numpy reads its number of threads when it is imported, and `rounds` has set it.

import argparse
import hashlib
import json
import math
from collections.abc import Iterator
from time import perf_counter

import numpy as np
from mpi4py import MPI

from relufit.compression.sums import MAX_FUSED, Terms, VectorTerm
from relufit.errors import PayloadError
from relufit.numerics import kernels
from relufit.planted import PlantedModel, relative_error
from relufit.planted.dataset import RowSource, Shard, open_rows
from relufit.training.fused_sums import Descent, sum_terms_and_step
from relufit.training.sampling import SAMPLINGS
from relufit.training.spec import Plan, TrainingSpec, make_plan

WAYS = ("send+receive", "bcast+receive", "send+gather", "bcast+gather")
#: The first part of the iterations that does not count, as a divisor.
WARM_UP = 4


class Master:
    """Process 0: the weights, and a row for the part of each rank."""

    def __init__(self, comm: MPI.Intracomm, plan: Plan, w_star: np.ndarray, way: str) -> None:
        self._comm, self._plan, self._w_star = comm, plan, w_star
        self._down, self._up = way.split("+")
        workers = plan.spec.workers
        self.weights, self._total, self._parts = np.zeros(plan.d), np.zeros(plan.d), np.zeros((workers, plan.d))
        self._counts = [0] + [plan.d] * workers
        self._sends = [comm.Send_init(self.weights, dest=rank + 1) for rank in range(workers)]
        self._receives = [comm.Recv_init(self._parts[rank], source=rank + 1) for rank in range(workers)]
        self.error, self._squares = np.nan, kernels.squared_norm(w_star)

    def begin(self) -> None:
        """Sum the parts of the initial weights."""
        self._expect()
        for part in self._collect():
            self.weights += part
        self.error = relative_error(self.weights, self._w_star)

    def step(self) -> None:
        """Run one iteration."""
        self._expect()
        if self._down == "send":
            MPI.Prequest.Startall(self._sends)
        else:
            self._comm.Bcast(self.weights, root=0)
        if self._up == "gather" and len(self._parts) <= MAX_FUSED:
            vectors = [VectorTerm(part) for part in self._collect()]
            self._sent()
            descent = Descent(self.weights, self._plan.step, self._w_star)
            terms = Terms.of(vectors, PayloadError("NaN or infinity in a gradient"))
            squares = sum_terms_and_step(terms, self.weights, descent, fresh=True)
        else:
            parts = self._collect()
            np.copyto(self._total, next(parts))
            for part in parts:
                self._total += part
            self._sent()
            squares = kernels.descend_towards(self.weights, self._total, self._plan.step, self._w_star, self.weights)
        self.error = math.sqrt(squares / self._squares)

    def end(self) -> None:
        """Free what MPI holds."""
        for request in self._sends + self._receives:
            request.Free()

    def _sent(self) -> None:
        if self._down == "send":
            MPI.Request.Waitall(self._sends)

    def _expect(self) -> None:
        if self._up == "receive":
            MPI.Prequest.Startall(self._receives)

    def _collect(self) -> Iterator[np.ndarray]:
        if self._up == "gather":
            self._comm.Gatherv(MPI.IN_PLACE, [self._parts, self._counts], root=0)
            yield from self._parts
        else:
            for request, part in zip(self._receives, self._parts, strict=True):
                request.Wait()
                yield part


class Rank:
    """Process r + 1: the rows of rank r, the weights that it was sent and its part of the gradient."""

    def __init__(self, comm: MPI.Intracomm, plan: Plan, rows: RowSource, shard: Shard, way: str) -> None:
        self._comm, self._plan, self._shard = comm, plan, shard
        self._down, self._up = way.split("+")
        rank, spec = comm.rank - 1, plan.spec
        self._sampler = SAMPLINGS[spec.sampling](spec.seed, rank, plan.batch(rank), shard, rows.model, rows.w_star)
        self._weights, self._gradient, self._share = np.zeros(plan.d), np.zeros(plan.d), 1.0 / spec.batch_size
        self._send, self._receive = comm.Send_init(self._gradient, dest=0), comm.Recv_init(self._weights, source=0)

    def begin(self) -> None:
        """Send this rank's part of the initial weights."""
        kernels.moment_sum(*self._shard, self._gradient)
        self._gradient *= 2.0 / self._plan.n
        self._answer()

    def step(self, iteration: int) -> None:
        """Run one iteration."""
        if self._down == "send":
            self._receive.Start()
            self._receive.Wait()
        else:
            self._comm.Bcast(self._weights, root=0)
        x, y, batch = self._sampler.draw(iteration)
        kernels.gradient_sum(x, y, batch, self._weights, self._share, self._gradient)
        self._answer()

    def end(self) -> None:
        """Free what MPI holds."""
        self._send.Free()
        self._receive.Free()

    def _answer(self) -> None:
        if self._up == "gather":
            self._comm.Gatherv(self._gradient, None, root=0)
        else:
            self._send.Start()
            self._send.Wait()


def lead(comm: MPI.Intracomm, plan: Plan, w_star: np.ndarray, way: str) -> tuple[float, np.ndarray]:
    """Return the median seconds of an iteration, and the final weights."""
    master, clock = Master(comm, plan, w_star, way), np.zeros(plan.spec.iterations + 1)
    master.begin()
    clock[0] = perf_counter()
    for iteration in range(plan.spec.iterations):
        master.step()
        clock[iteration + 1] = perf_counter()
    master.end()
    return float(np.median(np.diff(clock)[plan.spec.iterations // WARM_UP :])), master.weights


def follow(comm: MPI.Intracomm, plan: Plan, rows: RowSource, shard: Shard, way: str) -> None:
    rank = Rank(comm, plan, rows, shard, way)
    rank.begin()
    for iteration in range(plan.spec.iterations):
        rank.step(iteration)
    rank.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=json.loads, help="parameters of relufit.planted.PlantedModel as JSON")
    parser.add_argument("spec", type=json.loads, help="parameters of relufit.TrainingSpec as JSON; fp64, with a master")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS, help="run these, one after the other")
    arguments = parser.parse_args()
    comm = MPI.COMM_WORLD
    spec = TrainingSpec(PlantedModel(**arguments.model), **{**arguments.spec, "workers": comm.size - 1})
    rows = open_rows(spec.dataset)
    plan = make_plan(spec, rows)
    shard = rows.shard(comm.rank - 1, spec.workers) if comm.rank else None
    for way in arguments.ways:
        comm.Barrier()
        if shard is not None:
            follow(comm, plan, rows, shard, way)
            continue
        seconds, weights = lead(comm, plan, rows.w_star, way)
        digest = hashlib.sha256(weights.astype("<f8").tobytes()).hexdigest()
        library = MPI.Get_library_version().partition(",")[0]
        line = {"way": way, "seconds": seconds, "weights_sha256": digest, "library": library}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
