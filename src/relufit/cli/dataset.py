"""``relufit dataset``: make a planted data set on disk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from relufit.cli.options import subcommand
from relufit.cli.progress import progress


def add(parts: Any) -> None:  # noqa: ANN401
    """Add the subcommand."""
    part = subcommand(
        parts,
        "dataset",
        "make a planted data set on disk",
        "Draw inputs x and planted weights w*, label them max(0, <w*, x>) + noise, and write a Zarr v3 group with "
        "one shard a rank. The values depend on rows, dimension, seed, inputs and noise alone.",
    )
    part.add_argument("output", help="folder of the Zarr group, or s3://bucket/prefix")
    part.add_argument("--rows", "-n", type=int, required=True, help="number of samples n")
    part.add_argument("--dimension", "-d", type=int, required=True, help="dimension d")
    part.add_argument("--seed", type=int, default=0, help="seed of inputs, planted weights and noise")
    part.add_argument("--shards", type=int, default=1, help="number of ranks that will read it")
    part.add_argument(
        "--inputs", default="gaussian", help="gaussian, rademacher, uniform, student_t5 or autoregressive"
    )
    part.add_argument("--noise-std", type=float, default=0.0, help="standard deviation of label noise")
    part.add_argument("--reuse", action="store_true", help="link the same from another run beside this one")
    part.add_argument("--marker", type=Path, help="file that says where the data set is, written when it is there")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.dataset import Dataset, write
    from relufit.errors import DataError
    from relufit.files import write_text
    from relufit.planted import PlantedModel
    from relufit.reuse import elsewhere, take_over

    model = PlantedModel(chosen.rows, chosen.dimension, chosen.seed, chosen.noise_std, chosen.inputs)
    output = Path(chosen.output)
    for other in elsewhere(output, depth=1) if chosen.reuse and "://" not in chosen.output else ():
        try:
            if Dataset(other, expected=model).shards == chosen.shards:
                take_over(other, output)
                return
        except DataError:
            continue
    with progress(f"data set {output.name}", chosen.rows) as tell:
        write(model, chosen.output, shards=chosen.shards, progress=lambda rows: tell(rows, "rows"))
    if chosen.marker:
        write_text(chosen.marker, f"{chosen.output}\n")
