"""`cdm train`."""

import argparse

EXAMPLE = """example:
  cdm train --config=configs/demo.py --config.data.root=demo_out/cohort --workdir=demo_out/run
  cdm train --config=configs/cddpm.py --config.model.dtype=bfloat16 --dry-run --peak 800
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument(
        "--config", required=True, metavar="FILE", help="Python config; --config.key=value overrides"
    )
    parser.add_argument("--workdir", metavar="DIR", help="folder of the run; --dry-run needs none")
    parser.add_argument("--seed", type=int, help="shorthand for --config.seed")
    parser.add_argument(
        "--resume",
        metavar="HOW",
        default="auto",
        help="auto: go on with the run in DIR, from its newest good checkpoint, else begin (default);\n"
        "never: refuse a used DIR; must: refuse an unused one, or a damaged newest checkpoint;\n"
        "a run's folder, or RUN/checkpoints/STEP: go on from there in a new DIR",
    )
    parser.add_argument("--devices", type=int, metavar="N", help="shorthand for --config.train.devices")
    parser.add_argument("--log", default="", metavar="A,B", help="also log to tensorboard, wandb")
    parser.add_argument(
        "--profile", default="", metavar="STEPS", help="trace 10 steps, or 100:110, into DIR/profile"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what a step would cost, train nothing")
    parser.add_argument(
        "--peak", type=float, metavar="TFLOPS", help="of one device, for --dry-run: expected steps a second"
    )
    hosts = parser.add_argument_group("several processes", "the same command on every host, but for the id;\n"
                                      "under SLURM, Open MPI or on a TPU slice none of these is needed")  # fmt: skip
    hosts.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    hosts.add_argument("--num-processes", type=int, metavar="N")
    hosts.add_argument("--process-id", type=int, metavar="I", help="of this one, from 0")
    parser.set_defaults(objective=None)


def run(args: argparse.Namespace) -> None:
    from cdm_jax import config as configs
    from cdm_jax.errors import UsageError
    from cdm_jax.session import hosts

    given = {"seed": args.seed, "train.devices": args.devices}
    options = [f"--config.{key}={value}" for key, value in given.items() if value is not None]
    config = configs.load(args.config, args.overrides + options)
    if (config.model.objective == "spark") != (args.objective == "spark"):
        verb = "pretrain" if config.model.objective == "spark" else "train"
        raise UsageError(f"{args.config}: its model.objective is {config.model.objective}: use 'cdm {verb}'")
    if args.workdir is None and not args.dry_run:
        raise UsageError("--workdir=DIR is needed")
    if args.peak is not None and not args.dry_run:
        raise UsageError("--peak is for --dry-run")
    if args.peak is not None and not 0 < args.peak < float("inf"):
        raise UsageError(f"--peak: {args.peak:g}; it must be more than 0, in TFLOP/s")
    hosts.start(args.coordinator, args.num_processes, args.process_id)
    show_cost(config, args.peak) if args.dry_run else train_for_real(config, args)


def show_cost(config, peak: float | None) -> None:
    from cdm_jax.dry_run import dry_run
    from cdm_jax.training.trainer import make_trainer

    print("\n".join(dry_run(make_trainer(config), peak_tflops=peak)))


def train_for_real(config, args: argparse.Namespace) -> None:
    import jax

    from cdm_jax.train import train

    names = [name for name in args.log.split(",") if name]
    val_loss = train(config, args.workdir, resume=args.resume, log=names, profile=args.profile)
    if jax.process_index() == 0:
        print(f"validation loss {val_loss:.4f}; open {args.workdir}/report.html")
