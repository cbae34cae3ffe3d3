"""`cdm evaluate`."""

import argparse

from cdm_jax.cli import spread

EXAMPLE = """example:
  cdm evaluate --workdir=demo_out/run
  cdm evaluate --workdir=demo_out/run --config.sampler.name=ddim --config.sampler.steps=20
  cdm evaluate --workdir=runs/cddpm --config.data.patients=brats21
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of a training run")
    parser.add_argument("--data", metavar="DIR", help="data root, if it is not where training found it")
    spread.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from cdm_jax.evaluate import evaluate
    from cdm_jax.report.table import markdown

    rows = evaluate(
        args.workdir,
        data=args.data,
        overrides=args.overrides,
        parallel=args.parallel,
        devices=args.devices,
    )
    print(markdown(rows))
    print(f"written: {args.workdir}/calibration.json and evaluation*.json, .csv and .md")
