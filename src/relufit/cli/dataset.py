"""``relufit dataset``: make a planted data set on disk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relufit.cli.options import subcommand
from relufit.cli.progress import progress
from relufit.files.paths import absolute, location

if TYPE_CHECKING:
    from relufit.planted import PlantedModel


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
    part.add_argument("--reuse", action="store_true", help="take the same from another run beside this one")
    part.add_argument("--marker", type=absolute, help="file that says where the data set is, written when it is there")
    part.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Run the subcommand."""
    from relufit.files.atomic import write_text
    from relufit.files.outputs import check_outputs
    from relufit.planted import PlantedModel
    from relufit.planted.dataset import write

    model = PlantedModel(chosen.rows, chosen.dimension, chosen.seed, chosen.noise_std, chosen.inputs)
    output = Path(location(chosen.output))
    check_outputs({"--marker": chosen.marker}, {"the data set": chosen.output})
    if not (chosen.reuse and "://" not in chosen.output and _take_over(model, chosen.shards, output)):
        with progress(f"data set {output.name}", chosen.rows) as tell:
            write(model, chosen.output, shards=chosen.shards, progress=lambda rows: tell(rows, "rows"))
    if chosen.marker:
        write_text(chosen.marker, f"{chosen.output}\n")


def _take_over(model: PlantedModel, shards: int, output: Path) -> bool:
    """Link the data set of another run if the same code has made it of the same recipe, and every byte is sound."""
    from relufit.pipeline.reuse import elsewhere, take_over
    from relufit.planted.dataset import Dataset, origin

    wanted = origin()

    def is_same(linked: Path) -> bool:
        dataset = Dataset(linked, expected=model)
        if dataset.shards != shards or dataset.origin != wanted:
            return False
        dataset.check()
        return True

    return any(take_over(other, output, is_same) for other in elsewhere(output, depth=1))
