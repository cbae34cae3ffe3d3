"""How many simplex noise fields a second does a device draw, against the `opensimplex` package?

    python benchmarks/noise_speed.py --json noise_speed.json

Both sides draw what the published system draws for one image: a fresh permutation table, then six octaves on
96 x 96 pixels. The package fills each octave by its array function. Ours draws a batch with one call, every image
from its own key; the fields stay on the device. Before any timing both must give the same field for one table.
Takes about a minute on two cores; the package is compiled by numba where that is installed, which the table says.
"""

import argparse
import importlib.metadata
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command_line import Parser, at_least, counts, run

from cdm_jax import provenance
from cdm_jax.errors import UsageError
from cdm_jax.files import write_json
from cdm_jax.noise import simplex
from cdm_jax.noise.opensimplex import permutation_from_seed
from cdm_jax.noise.simplex import octave_field

OCTAVES, PERSISTENCE, FREQUENCY = 6, 0.8, 64.0
SETTINGS: dict[str, Any] = {"octaves": OCTAVES, "persistence": PERSISTENCE, "frequency": FREQUENCY}
TOLERANCE = 1e-5
LEAST_SECONDS = 0.05  # of one measurement, well above what a clock and a call cost


def package_field(seed: int, size: int) -> np.ndarray:
    """One field [H,W] float64 by the package: octaves of halved period and shrinking amplitude, summed."""
    generator, pixels = _package().OpenSimplex(seed), np.arange(size)
    field = np.zeros((size, size))
    for octave in range(OCTAVES):
        points = pixels * 2.0**octave / FREQUENCY
        field += PERSISTENCE**octave * generator.noise2array(points, points)
    return field


def difference(size: int, seeds: tuple[int, ...] = (3, 7, -987654321)) -> float:
    """Largest difference between the two sides' fields for the permutation tables of `seeds`.

    Raises: UsageError: more than TOLERANCE, so that a time would compare different things.
    """
    ours = [octave_field(jnp.asarray(permutation_from_seed(seed)), size, size, **SETTINGS) for seed in seeds]
    largest = float(np.abs(np.stack(ours) - np.stack([package_field(seed, size) for seed in seeds])).max())
    if not largest <= TOLERANCE:
        raise UsageError(
            f"the two sides' fields differ by {largest:.1e}, more than {TOLERANCE:.0e}: not timed"
        )
    return largest


def measure(batches: tuple[int, ...], size: int, repeats: int) -> list[dict]:
    """One row a side and batch size, package first; the sides take turns, `repeats` times.

    Returns: rows {"side", "batch", "fields_per_s", "quartiles", "ratio", "ratio_quartiles", "calls"}; the ratio
      is to the package's rate in the same turn. Numbers are medians.
    """
    sides: dict[tuple[str, int], Callable] = {("opensimplex", 1): lambda n: package_field(n, size)}
    sides |= {("cdm_jax", batch): partial(_our_fields, batch, size) for batch in batches}
    calls = {name: _calls(draw) for name, draw in sides.items()}
    turns = [
        [name[1] * calls[name] / _seconds(draw, calls[name], first=1 + turn * calls[name])
         for name, draw in sides.items()]
        for turn in range(repeats)
    ]  # fmt: skip
    rates = np.array(turns).T  # [side, turn]
    return [
        {"side": side, "batch": batch, "calls": calls[side, batch]}
        | _spread("fields_per_s", rate)
        | _spread("ratio", rate / rates[0])
        for (side, batch), rate in zip(sides, rates, strict=True)
    ]


def table(rows: list[dict]) -> str:
    """The rows as a markdown table, median and quartiles."""
    lines = ["| side | batch | fields / s (IQR) | ratio (IQR) |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        cells = (_cell(row, name) for name in ("fields_per_s", "ratio"))
        lines.append(f"| {row['side']} | {row['batch']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def numba_version() -> str | None:
    """Version of numba, with which the package compiles its loops; None where it runs them in Python."""
    try:
        return importlib.metadata.version("numba")
    except importlib.metadata.PackageNotFoundError:
        return None


def _package():
    try:
        import opensimplex
    except ImportError as error:
        raise UsageError("the package opensimplex is missing: pip install 'cdm_jax[bench]'") from error
    return opensimplex


def _our_fields(batch: int, size: int, n: int) -> jax.Array:
    """Call n of ours, [B,H,W,1] on the device: keys that no other call has."""
    keys = jax.random.split(jax.random.key(n), batch)
    return simplex(keys, (batch, size, size, 1), **SETTINGS)


def _calls(draw: Callable) -> int:
    """Calls that fill one measurement, from a second call: the first one compiles."""
    draw(0)
    return max(1, int(np.ceil(LEAST_SECONDS / _seconds(draw, 1, first=0))))


def _seconds(draw: Callable, calls: int, first: int) -> float:
    began = time.perf_counter()
    jax.block_until_ready([draw(first + n) for n in range(calls)])
    return time.perf_counter() - began


def _spread(name: str, values: np.ndarray) -> dict:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {name: float(middle), f"{name}_quartiles": [float(low), float(high)]}


def _cell(row: dict, name: str) -> str:
    low, high = row[f"{name}_quartiles"]
    return f"{row[name]:,.4g} ({low:,.4g} - {high:,.4g})"


def parser() -> Parser:
    options = Parser(
        prog="noise_speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--batch", default="1,8,64,512", metavar="LIST", help="our batch sizes")
    options.add_argument("--size", type=int, default=96, metavar="PIXELS", help="side of a field (96)")
    options.add_argument("--repeats", type=int, default=9, metavar="N", help="turns of each side (9)")
    options.add_argument("--json", metavar="FILE", help="write everything there, too")
    return options


def job(args: argparse.Namespace) -> None:
    batches, size = counts(args.batch, "--batch"), at_least(1, args.size, "--size")
    repeats = at_least(1, args.repeats, "--repeats")
    facts: dict[str, Any] = {
        "environment": provenance.environment(),
        "package": {"opensimplex": _package().__version__, "numba": numba_version()},
        "settings": {"size": size, "repeats": repeats} | SETTINGS,
        "largest_difference": difference(size),
        "rows": measure(batches, size, repeats),
    }  # fmt: skip
    if args.json:
        write_json(Path(args.json), facts)
    compiled = f"compiled by numba {numba_version()}" if numba_version() else "without numba"
    print(table(facts["rows"]))
    print(
        f"{size} x {size} pixels, {OCTAVES} octaves, median of {repeats} turns; opensimplex runs {compiled};"
    )
    print(f"largest difference of the two sides' fields {facts['largest_difference']:.1e}")


def main(arguments: list[str] | None = None) -> int:
    return run(job, parser(), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
