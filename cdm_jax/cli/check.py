"""`cdm check`."""

import argparse

EXAMPLE = """example:
  cdm check demo_out/cohort
  cdm check data --dataset ixi --modality t2 --json faults.json
  cdm check data --write-splits
  cdm train --config=configs/cddpm.py --config.data.root=data --config.data.splits=splits_leak_free \\
    --workdir=run

Every file is read to its end. The exit code is 3 if there is an error; warnings do not count. Each fault has a
code that stays the same, see docs/data.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("data", metavar="DATA", help="folder with Train, Test and splits, or of another form")
    parser.add_argument("--json", metavar="FILE", help="also write the faults to FILE")
    parser.add_argument(
        "--dataset", metavar="NAME", help="check this data set alone (default: all there are)"
    )
    parser.add_argument(
        "--modality", metavar="NAME", help="check t1, t2 or flair alone (default: all there are)"
    )
    parser.add_argument(
        "--splits", default="splits", metavar="NAME", help="folder of the split tables (default: splits)"
    )
    parser.add_argument(
        "--write-splits",
        nargs="?",
        const="splits_leak_free",
        metavar="NAME",
        help="write splits in which nobody stands twice to the new folder\nDATA/NAME (default: splits_leak_free)",
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="threads (default: 2)")
    parser.add_argument(
        "--max-volume-gb", type=float, default=2.0, metavar="GB", help="largest volume to read (default: 2)"
    )
    parser.set_defaults(compiles=False)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from cdm_jax.data.check import as_json, as_text, check, write_leak_free
    from cdm_jax.files import write_json
    from cdm_jax.folders import refuse_used

    if args.write_splits is not None:
        refuse_used(Path(args.data) / args.write_splits)
    report = check(
        args.data,
        dataset=args.dataset,
        modality=args.modality,
        splits=args.splits,
        workers=args.workers,
        max_gb=args.max_volume_gb,
    )
    print(as_text(report))
    if args.json is not None:
        write_json(args.json, as_json(report))
    if args.write_splits is not None:
        tables = write_leak_free(report, args.write_splits)
        print(
            f"written: {len(tables)} tables in {tables[0].parent}; "
            f"train with --config.data.splits={args.write_splits}"
        )
    return 3 if report.errors else 0
