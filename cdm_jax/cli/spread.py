"""Options of the verbs that run a trained model: how it is spread over devices, under which settings."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--parallel, --devices, and leave to take --config.key=value."""
    parser.add_argument(
        "--parallel", default="jit", metavar="HOW", help="how to use several devices: jit (default) or pmap"
    )
    parser.add_argument("--devices", type=int, metavar="N", help="use the first N (default: all)")
    parser.set_defaults(config=None)
