"""How many slices a second do the store and the pipeline read, against a torch DataLoader doing the same job?

    python benchmarks/data_speed.py --json data_speed.json

Both sides read the same memory-mapped files and make batches of 32 slices (float32) with their masks, one random
slice of each volume an epoch, no augmentation. Torch has a Dataset of one slice an item and the default collation, as
most write it, and one that gives a batch a call (`__getitems__`), as ours does; its epochs follow each other without
a pause and in warm rows its workers run before the clock starts, which favours it.
The sides take turns. Rows:
  store           `gather` alone, random slices of all volumes, beside the same from one ArrayRecord file
  pipeline        with 0, 1, 2 and 4 threads; torch with as many worker processes
  .nii.gz         torch reading each slice from compressed files by nibabel, as the published system keeps its data
  warm            from the page cache, over a second, after a second uncounted
  cold            the first epoch after the system was told to forget the files (posix_fadvise), opening included;
                  the host of a virtual disk may still hold them
Ours opens without comparing checksums here, as torch has none. What they cost jobs, which do compare them, is in the
seconds that opening takes, measured last, beside the memory after each of ten epochs of all slices. Makes 2 GB of
files in a temporary folder, takes four minutes on two cores. Without torch (extra [bench]) its rows are left out.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from command_line import Parser, at_least, run
from loading import measure
from loading.sides import Side, our_sides, record_batches
from loading.volumes import write_entries, write_records, write_scans
from speed.machine import environment, has_torch

from cdm_jax.cli.huge_pages import restart_with_huge_pages
from cdm_jax.errors import UsageError
from cdm_jax.files import write_json

SCANS = 32  # .nii.gz volumes: enough to read at random, few enough to write
Shape = tuple[int, int, int]
"""D, H, W"""


def our_rows(
    folder: Path, entries: list[Path], shape: Shape, batch: int, workers: tuple[int, ...]
) -> list[Side]:
    records = write_records(folder / "slices.array_record", entries)
    record = Side("ArrayRecord", 0, partial(record_batches, records, shape, batch))
    return [*our_sides(entries, batch, workers), record]


def torch_rows(
    folder: Path, entries: list[Path], shape: Shape, batch: int, workers: tuple[int, ...]
) -> list[Side]:
    if not has_torch():
        print("torch is missing, its rows are left out: pip install 'cdm_jax[bench]'", file=sys.stderr)
        return []
    from loading.torch_side import scan_side, torch_sides

    pairs = write_scans(folder / "scans", min(SCANS, len(entries)), shape)
    return [*torch_sides(entries, batch, workers), scan_side(pairs, batch, workers[0])]


def measured(folder: Path, args: argparse.Namespace, workers: tuple[int, ...]) -> dict[str, Any]:
    """Everything measured, with its files in `folder`."""
    height, width, depth = args.size
    shape = (depth, height, width)
    entries = write_entries(folder / "store", args.volumes, shape)
    sides = [make(folder, entries, shape, args.batch, workers) for make in (our_rows, torch_rows)]
    warm = [side for each in sides for side in each]
    cold = [side for side in warm if side.name in ("pipeline", measure.BASE)]
    rows = measure.warm(warm, args.batch, args.repeats, args.seconds)
    cold_rows, cached = measure.cold(cold, args.batch, args.repeats, entries)
    return {
        "rows": rows + cold_rows,
        "cached_after_dropping": cached,
        "opening": measure.opening(entries, args.repeats),
        "memory": measure.memory(entries, args.batch, args.epochs),
    }


def report(facts: dict[str, Any]) -> str:
    """The rows as a markdown table, median and quartiles, and a line on each of the other measurements."""
    lines = ["| cache | side | workers | slices / s (IQR) | times torch, same workers | times torch's best |",
             "| --- | --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for row in facts["rows"]:
        cells = (cell(row, name) for name in ("slices_per_s", "times_torch", "times_best_torch"))
        lines.append(f"| {row['cache']} | {row['side']} | {row['workers']} | {' | '.join(cells)} |")
    opening, memory, cached = facts["opening"], facts["memory"], facts["cached_after_dropping"]
    told = "unknown" if cached is None else f"{cached:.0%} at most"
    own, mapped = ([epoch[name] for epoch in memory] for name in ("own_mb", "mapped_mb"))
    return "\n".join([
        *lines, "",
        f"files still in the page cache after dropping them: {told}",
        f"opening all volumes: {opening['unverified_s']:.3f} s, with checksums {opening['verified_s']:.3f} s, "
        f"cold with checksums {opening['cold_verified_s']:.3f} s",
        f"memory after {len(memory)} epochs of all slices: {own[-1]:.0f} MB of its own, {own[-1] - own[0]:+.1f} since "
        f"the first; {mapped[-1]:.0f} MB of mapped files, {mapped[-1] - mapped[0]:+.1f}",
    ])  # fmt: skip


def cell(row: dict, name: str) -> str:
    if name not in row:
        return "-"
    low, high = row[f"{name}_quartiles"]
    return (
        f"{row[name]:,.3g} ({low:,.3g} - {high:,.3g})"
        if row[name] < 1000
        else f"{row[name]:,.0f} ({low:,.0f} - {high:,.0f})"
    )


def worker_counts(text: str) -> tuple[int, ...]:
    """The numbers of a comma list, 0 for none; UsageError names the option."""
    words = [word.strip() for word in text.split(",")]
    if not all(map(str.isdecimal, words)):
        raise UsageError(f"--workers takes whole numbers from 0 on, with commas between, not '{text}'")
    return tuple(dict.fromkeys(map(int, words)))


def parser() -> Parser:
    options = Parser(
        prog="data_speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("--volumes", type=int, default=400, metavar="N", help="in the store (400)")
    add("--size", type=int, nargs=3, default=(96, 96, 50), metavar="VOXELS", help="H W D of each (96 96 50)")
    add("--batch", type=int, default=32, metavar="N", help="slices a batch (32)")
    add("--workers", default="0,1,2,4", metavar="LIST", help="threads of ours, processes of torch (0,1,2,4)")
    add("--repeats", type=int, default=5, metavar="N", help="turns of each side (5)")
    add("--seconds", type=float, default=1.0, metavar="S", help="of one warm measurement (1)")
    add("--epochs", type=int, default=10, metavar="N", help="of the memory measurement (10)")
    add("--folder", metavar="DIR", help="where the temporary files go")
    add("--json", metavar="FILE", help="write everything there, too")
    return options


def job(args: argparse.Namespace) -> None:
    for name in ("volumes", "batch", "repeats", "epochs"):
        at_least(1, getattr(args, name), f"--{name}")
    at_least(2, min(args.size), "--size")
    workers = worker_counts(args.workers)
    settings = {name: value for name, value in vars(args).items() if name not in ("folder", "json")}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = measured(Path(folder), args, workers)
    facts = {"environment": environment(), "settings": settings} | found  # last, as it starts jax's threads
    if args.json:
        write_json(Path(args.json), facts)
    print(report(facts))


def main(arguments: list[str] | None = None) -> int:
    return run(job, parser(), arguments)


if __name__ == "__main__":
    restart_with_huge_pages(*sys.argv)
    raise SystemExit(main())
