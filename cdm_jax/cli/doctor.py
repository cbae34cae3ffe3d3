"""`cdm doctor`."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  cdm doctor\n"
    parser.set_defaults(compiles=False)


def run(args: argparse.Namespace) -> None:
    from cdm_jax.doctor import report

    print("\n".join(report()))
