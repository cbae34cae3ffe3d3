"""`cdm export`."""

import argparse

EXAMPLE = """example:
  cdm export --workdir demo_out/run -o sampler.npz
  cdm export --workdir demo_out/run -o ddim.npz --config.sampler.name=ddim --config.sampler.steps=20

The file holds the compiled-ahead sampler (StableHLO) and its weights, and runs with jax and numpy alone.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of a trained model")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the .npz file to write")
    parser.set_defaults(config=None)


def run(args: argparse.Namespace) -> None:
    from cdm_jax.export import export

    difference = export(args.workdir, args.output, args.overrides)
    print(f"written: {args.output}; on two slices it differs from the model by at most {difference:.1e}")
