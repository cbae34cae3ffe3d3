"""`cdm doctor`."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  cdm doctor\n"


def run(args: argparse.Namespace) -> None:
    from cdm_jax.doctor import report

    print("\n".join(report()))
