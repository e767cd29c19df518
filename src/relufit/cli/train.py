"""``relufit train``: one training run by hand."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from relufit.cli.options import step_size, subcommand
from relufit.cli.progress import progress, told


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "train",
        "one training run",
        "Run SGD or QSGD once on a data set made by `relufit dataset`, write its trace, and print how it ended.",
    )
    part.add_argument("dataset", help="folder of the Zarr group, or s3://bucket/prefix")
    part.add_argument("--output", "-o", type=Path, required=True, help="Parquet file of the trace")
    part.add_argument(
        "--compressor", default="fp64", help="what gradients go through: fp64, fp32, fp16, qsgd, ternary or natural"
    )
    part.add_argument("--levels", type=int, help="quantization levels of qsgd, from 1 to 32767")
    part.add_argument("--coding", help="how levels become bytes: packed, elias, rans, or auto")
    part.add_argument("--norm", help="what qsgd divides a bucket by: l2 or max")
    part.add_argument("--bucket-size", type=int, help="coordinates of qsgd that share a norm; all of them if not given")
    part.add_argument("--workers", "-K", type=int, default=1, help="number of ranks")
    part.add_argument("--batch-size", "-m", type=int, default=1, help="samples an iteration, over all ranks")
    part.add_argument("--step-size", type=step_size, default="optimal", help="a number, or optimal for theory's")
    part.add_argument("--iterations", type=int, default=10000, help="budget")
    part.add_argument("--tolerance", type=float, help="relative error at which to stop; none if not given")
    part.add_argument("--topology", default="master", help="master, or all_to_all")
    part.add_argument(
        "--downlink", default="fp64", help="what comes from a master: fp64, the weights, or relay, encoded gradients"
    )
    part.add_argument("--sampling", default="with_replacement", help="with_replacement, reshuffled or fresh")
    part.add_argument("--seed", type=int, default=0, help="seed of sampling and rounding")
    part.add_argument("--record-every", type=int, default=1, help="iterations between two rows of the trace")
    part.add_argument("--checkpoint", type=Path, help="file that the state is kept in, to go on from after an end")
    part.add_argument("--cluster", default="inprocess", help="where ranks run: inprocess, local, address, ...")
    part.add_argument(
        "--cluster-options", default="", metavar="YAML", help="what that kind needs, such as 'rate: 1e9, loss: 0.01'"
    )
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit import config, records
    from relufit.clusters import open_cluster
    from relufit.experiments.trials import machine
    from relufit.training import TrainingSpec, train

    parameters = {name: getattr(chosen, name) for name in ("levels", "coding", "bucket_size", "norm")}
    spec = TrainingSpec(
        dataset=chosen.dataset,
        compressor={"name": chosen.compressor, **{k: v for k, v in parameters.items() if v is not None}},
        workers=chosen.workers,
        batch_size=chosen.batch_size,
        step_size=chosen.step_size,
        iterations=chosen.iterations,
        tolerance=chosen.tolerance,
        topology=chosen.topology,
        downlink=chosen.downlink,
        sampling=chosen.sampling,
        seed=chosen.seed,
        record_every=chosen.record_every,
    )
    where = config.cluster(chosen.cluster, chosen.cluster_options)
    with (
        open_cluster(where, chosen.workers) as cluster,
        progress("training", chosen.iterations) as tell,
    ):
        trace = train(
            spec,
            cluster.client,
            progress=lambda news: tell(news.iteration, told(news)),
            checkpoint=chosen.checkpoint,
            told=lambda fault: print(f"relufit: {fault}", file=sys.stderr),
        )
        described = cluster.describe()
    times = {"counted": trace.counted, "faults": trace.faults, "cluster": described, "machine": machine()}
    records.write(records.timing_path(chosen.output), trace.timing, times)
    records.write(chosen.output, trace.table, trace.summary)
    last = trace.table.iloc[-1]
    print(
        f"{trace.outcome} after {trace.summary['iterations']} iterations: relative error "
        f"{last['relative_error']:.3g}, {int(last['uplink_bytes'])} bytes up, {int(last['downlink_bytes'])} down, "
        f"step size {trace.summary['step_size']:.4g} ({trace.summary['step_rule']}), "
        f"{trace.timing['elapsed'].iloc[-1]:.3g} s"
    )
