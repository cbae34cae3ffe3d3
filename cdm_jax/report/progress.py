"""What a training run looks like while it runs: `progress.png`."""

from pathlib import Path
from typing import Any

import numpy as np

from cdm_jax.report.figure import new_figure, save, upright


def draw_progress(path: Path, records: list[dict], images: tuple[np.ndarray, np.ndarray]) -> None:
    """Loss curves over the step, above validation slices, their reconstructions and residuals.

    Args:
      records: rows with "step" and "loss" or "val_loss"; images: (image, image_hat), each [B,H,W,1].
    """
    figure = new_figure(11, 7.5)
    halves: Any = figure.subfigures(2, 1, height_ratios=(2, 3))
    top, bottom = halves
    _curves(top.subplots(), records)
    axes = bottom.subplots(3, len(images[0]), squeeze=False)
    image, image_hat = (batch[..., 0] for batch in images)
    rows = {"input": image, "reconstruction": image_hat, "residual": np.abs(image - image_hat)}
    for row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(upright(picture), cmap="inferno" if name == "residual" else "gray", vmin=0,
                        vmax=0.4 if name == "residual" else 1)  # fmt: skip
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    save(figure, path)


def _curves(axis, records: list[dict]) -> None:
    for name, label in (("loss", "training"), ("val_loss", "validation")):
        points = [(record["step"], record[name]) for record in records if name in record]
        if points:
            axis.plot(*zip(*points, strict=True), label=label, marker="o" if name == "val_loss" else None)
    axis.set(xlabel="step", ylabel="loss", yscale="log")
    axis.legend()
