"""`cdm bench`."""

import argparse

EXAMPLE = """example:
  cdm bench methods --config=configs/demo.py --out bench_out
  cdm bench methods --config=configs/demo.py --out bench_out --methods cddpm,ddpm --seeds 0,1,2

Rows appear in DIR/methods.md as they finish; the same command goes on after an interruption.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("what", choices=("methods",), help="what to compare")
    parser.add_argument("--config", required=True, metavar="FILE", help="what the methods have in common;\n"
                        "--config.key=value overrides")  # fmt: skip
    parser.add_argument(
        "--out", default="bench_out", metavar="DIR", help="folder for everything (default: bench_out)"
    )
    parser.add_argument("--methods", metavar="A,B", help="some of the methods (default: all)")
    parser.add_argument(
        "--seeds", default="0", metavar="0,1", help="of cohort, training and noise (default: 0)"
    )


def run(args: argparse.Namespace) -> None:
    from cdm_jax.bench import ROWS, bench_methods
    from cdm_jax.errors import UsageError

    names = args.methods.split(",") if args.methods else tuple(ROWS)
    try:
        seeds = [int(word) for word in args.seeds.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {args.seeds}: give whole numbers, such as 0,1,2") from error
    table = bench_methods(args.config, args.out, names=names, seeds=seeds, overrides=args.overrides)
    print(f"{table.read_text()}\nopen: {table}")
