"""`cdm pretrain`."""

import argparse

from cdm_jax.cli import train as train_verb

EXAMPLE = """example:
  cdm pretrain --config=configs/demo_spark.py --config.data.root=demo_out/cohort --workdir=demo_out/spark
  cdm train --config=configs/demo.py --config.data.root=demo_out/cohort --config.encoder.init=demo_out/spark \\
    --workdir=demo_out/run_pretrained
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train_verb.add_arguments(parser)
    parser.epilog = EXAMPLE
    parser.set_defaults(objective="spark")


run = train_verb.run
