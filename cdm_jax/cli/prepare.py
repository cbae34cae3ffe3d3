"""`cdm prepare`."""

import argparse
import sys

from cdm_jax.prepare.settings import INTERPOLATIONS, STEPS, make_settings

EXAMPLE = """example:
  cdm prepare raw/IXI -o data --layout ixi --brain-mask-cmd 'hd-bet -i {input} -o {output}'
  cdm prepare raw/BraTS2021 -o data --layout brats21
  cdm prepare scans/ -o data --steps strip,resample,crop

Every step is done once for each subject; the same command goes on after an interruption, and does again those
whose files or options have changed. Nothing in RAW is changed. Beside each image a .json keeps the way back to
the raw scan. Then open DATA/quality_LAYOUT.html, where a failed skull strip
is seen at a glance, and let 'cdm check DATA --write-splits' divide the subjects.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("raw", metavar="RAW", help="folder of a download")
    parser.add_argument("-o", "--output", required=True, metavar="DATA", help="folder for the prepared files")
    parser.add_argument(
        "--layout",
        metavar="NAME",
        help="of RAW: ixi, brats21, mslub, atlas, wmh, bids or folder\n(default: bids or folder, as it looks)",
    )
    names = ",".join(STEPS)
    parser.add_argument("--steps", default=names, metavar="A,B", help=f"some of {names} (default: all)")
    parser.add_argument(
        "--brain-mask-cmd",
        default="",
        metavar="CMD",
        help="finds the brain where RAW has no mask of it; {input} stands for the scan,\n"
        "{output} for the mask or the stripped scan that it writes",
    )
    parser.add_argument(
        "--template", metavar="FILE", help="skull-stripped brain to register to (default: MNI152)"
    )
    parser.add_argument(
        "--interpolation",
        choices=INTERPOLATIONS,
        default="bspline",
        help="of images (default: bspline); masks and labels take the nearest voxel",
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--max-volume-gb", type=float, default=2.0, metavar="GB", help="largest volume read (default: 2)"
    )
    parser.set_defaults(compiles=False)


def run(args: argparse.Namespace) -> int:
    from cdm_jax.errors import UsageError
    from cdm_jax.prepare.run import guess_layout, prepare_all

    if args.workers < 0 or not args.max_volume_gb > 0:
        raise UsageError("--workers must not be negative, --max-volume-gb must be above 0")
    settings = make_settings(
        args.layout or guess_layout(args.raw),
        steps=[step.strip() for step in args.steps.split(",") if step.strip()],
        mask_command=args.brain_mask_cmd,
        template=args.template,
        interpolation=args.interpolation,
    )
    report = prepare_all(args.raw, args.output, settings, workers=args.workers, max_gb=args.max_volume_gb)
    for outcome in report.failed:
        print(f"failed: {outcome.id}: {outcome.reason}", file=sys.stderr)
    if report.gone:
        count = (
            "1 subject in DATA is" if len(report.gone) == 1 else f"{len(report.gone)} subjects in DATA are"
        )
        print(f"{count} no longer in RAW: {', '.join(report.gone)}", file=sys.stderr)
    kept = sum(outcome.kept for outcome in report.outcomes)
    made = len(report.outcomes) - kept - len(report.failed)
    print(f"prepared: {made}, done before: {kept}, failed: {len(report.failed)}")
    print(f"open: {report.page}")
    return 4 if report.failed else 0
