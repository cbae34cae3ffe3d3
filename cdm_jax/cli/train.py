"""`cdm train`."""

import argparse

EXAMPLE = """example:
  cdm train --config=configs/demo.py --config.data.root=demo_out/cohort --workdir=demo_out/run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--config", required=True, metavar="FILE", help="Python config; --config.key=value overrides"
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--seed", type=int, help="shorthand for --config.seed")
    parser.add_argument(
        "--resume",
        choices=("auto", "never", "must"),
        default="auto",
        help="continue a run in DIR (default: auto)",
    )
    parser.set_defaults(objective=None)


def run(args: argparse.Namespace) -> None:
    from cdm_jax import config as configs
    from cdm_jax.errors import UsageError
    from cdm_jax.train import train

    seed = [] if args.seed is None else [f"--config.seed={args.seed}"]
    config = configs.load(args.config, args.overrides + seed)
    if (config.model.objective == "spark") != (args.objective == "spark"):
        verb = "pretrain" if config.model.objective == "spark" else "train"
        raise UsageError(f"{args.config}: its model.objective is {config.model.objective}: use 'cdm {verb}'")
    val_loss = train(config, args.workdir, resume=args.resume)
    print(f"validation loss {val_loss:.4f}; see {args.workdir}/progress.png and metrics.csv")
