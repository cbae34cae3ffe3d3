"""`cdm demo`."""

import argparse

EXAMPLE = """example:
  cdm demo --out demo_out
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--out", default="demo_out", metavar="DIR", help="folder for everything (default: demo_out)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of cohort, training and noise (default: 0)")
    parser.add_argument("--full", action="store_true", help="add the unconditional model and two more seeds")
    parser.set_defaults(config=None)  # takes --config.key=value overrides


def run(args: argparse.Namespace) -> None:
    from cdm_jax.demo import demo

    files = demo(args.out, seed=args.seed, full=args.full, overrides=tuple(args.overrides))
    print(f"\n{files[0].read_text()}\nopen:")
    for path in files:
        print(f"  {path}")
