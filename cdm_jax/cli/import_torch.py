"""`cdm import-torch`."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdm_jax.import_torch import Imported

EXAMPLE = """example:
  cdm import-torch last.ckpt -o model --config.data.root=data
  cdm evaluate --workdir model

  cdm import-torch spark.ckpt -o encoder
  cdm train --config=configs/cddpm.py --config.encoder.init=encoder --workdir=run

The source is a Lightning checkpoint or a state dict of the published PyTorch code, or a safetensors file. Its
architecture follows from names and shapes, and every name must have its place. Nothing in it is executed. If
torch is installed, both implementations run on the same input and must agree.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("source", metavar="FILE", help=".ckpt, .pt, .pth or .safetensors")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="a new folder for the model")
    parser.set_defaults(config=None)


def run(args: argparse.Namespace) -> None:
    from cdm_jax.import_torch import import_torch

    imported = import_torch(args.source, args.output, args.overrides)
    print("\n".join(report(imported)))
    if imported.config is None:
        print(f"written: {args.output}; train with --config.encoder.init={args.output}")
    else:
        print(f"written: {args.output}; now 'cdm evaluate --workdir {args.output}'")


def report(imported: "Imported") -> list[str]:
    """What the architecture is, which module became which, and how close the two implementations are."""
    lines = ["architecture: " + ", ".join(f"{key}={value}" for key, value in imported.keys.items())]
    for (theirs, ours), count in imported.summary().items():
        lines.append(f"{count:5} entries  {theirs} -> {ours}")
    lines.append(
        f"{len(imported.names):5} entries taken, 0 missing, 0 unexpected, {len(imported.left_out)} left out "
        "(all in key_map.txt)"
    )
    found = ", ".join(f"{name} {difference}" for name, difference in imported.differences.items())
    return [*lines, f"largest difference from torch: {found or 'not compared, as torch is not installed'}"]
