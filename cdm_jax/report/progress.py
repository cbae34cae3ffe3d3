"""What a training run looks like while it runs: `progress.png`, and rows of pictures of a method's own."""

from pathlib import Path
from typing import Any

import numpy as np

from cdm_jax.report.figure import new_figure, save, upright

Rows = dict[str, np.ndarray]
"""{label: images [B,H,W,1]}, drawn one below the other; a row whose label begins with "residual" as heat."""


def draw_progress(path: Path, records: list[dict], rows: Rows) -> None:
    """Loss curves over the step, above rows of validation slices.

    Args:
      records: rows with "step" and "loss" or "val_loss".
    """
    figure = new_figure(11, 7.5)
    halves: Any = figure.subfigures(2, 1, height_ratios=(2, 3))
    top, bottom = halves
    _curves(top.subplots(), records)
    _pictures(bottom, rows)
    save(figure, path)


def draw_rows(path: Path, rows: Rows) -> None:
    """Rows of slices alone."""
    figure = new_figure(11, 1.5 * len(rows))
    _pictures(figure, rows)
    save(figure, path)


def _pictures(figure, rows: Rows) -> None:
    columns = max(map(len, rows.values()))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        heat = name.startswith("residual")
        for axis, image in zip(row, images[..., 0], strict=True):
            axis.imshow(upright(image), cmap="inferno" if heat else "gray", vmin=0, vmax=0.4 if heat else 1)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)


def _curves(axis, records: list[dict]) -> None:
    for name, label in (("loss", "training"), ("val_loss", "validation")):
        points = [(record["step"], record[name]) for record in records if name in record]
        if points:
            axis.plot(*zip(*points, strict=True), label=label, marker="o" if name == "val_loss" else None)
    axis.set(xlabel="step", ylabel="loss", yscale="log")
    axis.legend()
