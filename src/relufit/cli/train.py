"""``relufit train``: one training run by hand."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from relufit.cli.compressors import add_compressor, description_of
from relufit.cli.options import step_size, subcommand
from relufit.cli.progress import progress, told
from relufit.files.paths import absolute


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "train",
        "one training run",
        "Run SGD or QSGD once on a data set made by `relufit dataset`, write its trace, and print how it ended.",
    )
    part.add_argument("dataset", help="folder of the Zarr group, or s3://bucket/prefix")
    part.add_argument(
        "--output", "-o", type=absolute, required=True, help="Parquet file of the trace; timings beside it"
    )
    add_compressor(part, default="fp64")
    part.add_argument("--workers", "-K", type=int, default=1, help="number of ranks")
    part.add_argument("--batch-size", "-m", type=int, default=1, help="samples an iteration, over all ranks")
    part.add_argument("--step-size", type=step_size, default="optimal", help="a number, or optimal for theory's")
    part.add_argument("--iterations", type=int, default=10000, help="budget")
    part.add_argument("--tolerance", type=float, help="relative error at which to stop; none if not given")
    part.add_argument(
        "--exchange",
        default="master",
        help="how gradients and weights travel, such as master, all_gather or all_reduce; an unknown name is answered "
        "with those that there are",
    )
    part.add_argument("--sampling", default="with_replacement", help="with_replacement, reshuffled or fresh")
    part.add_argument("--seed", type=int, default=0, help="seed of sampling and rounding")
    part.add_argument(
        "--initial-weights",
        default="moments",
        help="where the run starts: moments for (2/n) sum y x, or another start, such as 'random x 10'",
    )
    part.add_argument(
        "--local-steps",
        type=int,
        default=1,
        help="steps that each rank takes in an iteration, before it sends anything",
    )
    part.add_argument(
        "--halve-every",
        type=int,
        default=0,
        help="iterations after which the step is halved, again and again; 0 for a step that stays",
    )
    part.add_argument(
        "--error-feedback",
        action="store_true",
        help="each rank adds what its encoding has left out to the next gradient; biased compressors need it",
    )
    part.add_argument(
        "--copy-share",
        type=float,
        default=0.01,
        help="with error feedback, the part of the payload bytes that copies may add, which guard a run against the "
        "loss of a rank; 0 for none",
    )
    part.add_argument(
        "--gradient",
        default="sgd",
        help="what steps are along: sgd, glm_tron (no indicator of w, so that it leaves zero) or kaczmarz (each row's "
        "gradient over its squared norm)",
    )
    part.add_argument(
        "--average-from",
        type=int,
        help="iteration from which on the weights are averaged, against label noise; no average if not given",
    )
    part.add_argument(
        "--delay",
        type=int,
        default=0,
        help="iterations before, at whose weights each gradient is taken, as where ranks do not wait for each other",
    )
    part.add_argument("--record-every", type=int, default=1, help="iterations between two rows of the trace")
    part.add_argument("--checkpoint", type=absolute, help="file that the state is kept in, to go on from after an end")
    part.add_argument("--cluster", default="inprocess", help="where ranks run: inprocess, local, address, ...")
    part.add_argument(
        "--cluster-options", default="", metavar="YAML", help="what that kind needs, such as 'rate: 1e9, loss: 0.01'"
    )
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.claims import trace_files
    from relufit.clusters import ELSEWHERE, open_cluster
    from relufit.clusters.section import cluster as cluster_section
    from relufit.experiments.framework.trials import machine
    from relufit.files.outputs import check_output, check_outputs, is_stream
    from relufit.training import Trace, TrainingSpec, train

    where = cluster_section(chosen.cluster, chosen.cluster_options)
    timings = None if is_stream(chosen.output) else trace_files.timing_path(chosen.output)
    # Where workers are on other machines, the checkpoint is in a folder that this one may not have.
    checkpoint = None if where["kind"] in ELSEWHERE else chosen.checkpoint
    outputs = {"--output": chosen.output, "the timings": timings, "--checkpoint": checkpoint}
    check_outputs(outputs, {"the data set": chosen.dataset})
    if checkpoint:
        check_output(checkpoint, stream=False)
    spec = TrainingSpec(
        dataset=chosen.dataset,
        compressor=description_of(chosen),
        workers=chosen.workers,
        batch_size=chosen.batch_size,
        step_size=chosen.step_size,
        iterations=chosen.iterations,
        tolerance=chosen.tolerance,
        exchange=chosen.exchange,
        sampling=chosen.sampling,
        seed=chosen.seed,
        record_every=chosen.record_every,
        initial_weights=chosen.initial_weights,
        local_steps=chosen.local_steps,
        halve_every=chosen.halve_every,
        error_feedback=chosen.error_feedback,
        copy_share=chosen.copy_share,
        gradient=chosen.gradient,
        average_from=chosen.average_from,
        delay=chosen.delay,
    )
    if spec.error_feedback and spec.compressor.exact:  # type: ignore[union-attr]  # made by the specification
        print(f"relufit: {chosen.compressor} is exact: error feedback changes nothing", file=sys.stderr)
    with (
        open_cluster(where, chosen.workers) as cluster,
        progress("training", chosen.iterations) as tell,
    ):

        def save(trace: Trace) -> None:
            about = {"counted": trace.counted, "faults": trace.faults, "cluster": cluster.describe()}
            results = trace_files.Record(trace.table, trace.summary)
            if timings:
                trace_files.write_pair(
                    chosen.output, results, trace_files.Record(trace.timing, {**about, "machine": machine()})
                )
            else:
                trace_files.write(chosen.output, *results)

        trace = train(
            spec,
            cluster.client,
            progress=lambda news: tell(news.iteration, told(news)),
            checkpoint=chosen.checkpoint,
            told=lambda fault: print(f"relufit: {fault}", file=sys.stderr),
            save=save,
        )
    last, received = trace.table.iloc[-1], trace.received
    copies = f", {received['copy_bytes']} of copies" if received and received["copy_bytes"] else ""
    average = "" if trace.average is None else f"{last['average_error']:.3g} of the mean of the weights, "
    print(
        f"{trace.outcome} after {trace.summary['iterations']} iterations: relative error "
        f"{last['relative_error']:.3g}, {average}"
        f"{int(last['uplink_bytes'])} bytes up, {int(last['downlink_bytes'])} down"
        f"{copies}, step size {trace.summary['step_size']:.4g} ({trace.summary['step_rule']}), "
        f"{trace.timing['elapsed'].iloc[-1]:.3g} s"
    )
