"""What was found in one scan: `<stem>.png`, evenly spaced axial slices."""

from pathlib import Path

import nibabel as nib
import numpy as np

from cdm_jax.report.figure import new_figure, save, upright

COUNT = 8


def draw_slices(path: Path, detection) -> None:
    """Rows input, reconstruction, anomaly map (with colour bar) and input with the mask's contour.

    Slices are axial in the patient's closest RAS orientation, front of the head up, patient's left on the left.
    """
    spacing, arrays = _canonical(detection)
    scan, recon, score, lesions = arrays
    low, high = np.percentile(scan[scan != scan.min()], (0.5, 99.5)) if np.ptp(scan) else (0, 1)
    top = max(float(np.percentile(score, 99.9)), 2 * detection.facts["threshold"]["value"])
    gray, heat = {"cmap": "gray", "vmin": low, "vmax": high}, {"cmap": "inferno", "vmin": 0, "vmax": top}
    rows = {
        "input": (scan, gray),
        "reconstruction": (recon, gray),
        "anomaly": (score, heat),
        "mask": (scan, gray),
    }

    figure = new_figure(1.55 * COUNT, 1.75 * len(rows) + 0.4)
    axes = figure.subplots(len(rows), COUNT)
    chosen = _evenly(scan)
    for row, (name, (array, colours)) in zip(axes, rows.items(), strict=True):
        for axis, k in zip(row, chosen, strict=True):
            shown = axis.imshow(upright(array[..., k]), aspect=spacing[1] / spacing[0], **colours)
            axis.set(xticks=[], yticks=[])
            if name == "mask" and lesions[..., k].any():
                axis.contour(
                    upright(lesions[..., k].astype(float)), levels=[0.5], colors="red", linewidths=0.9
                )
        row[0].set_ylabel(name)
        if name == "anomaly":
            figure.colorbar(shown, ax=row.tolist(), label="|x - x̂|", shrink=0.9)
    for axis, k in zip(axes[0], chosen, strict=True):
        axis.set_title(f"slice {k}", fontsize=8)
    threshold = detection.facts["threshold"]
    figure.suptitle(
        f"{Path(path).stem}   threshold {threshold['value']:.3f} ({threshold['source']})   "
        f"lesion volume {detection.facts['lesion_volume_ml']:.1f} ml",
        fontsize=9,
    )
    save(figure, path)


def _canonical(detection) -> tuple[np.ndarray, list[np.ndarray]]:
    arrays = (detection.scan.array, detection.recon, detection.anomaly, detection.lesion_mask)
    orientation = nib.orientations.io_orientation(detection.affine)
    turned = [nib.orientations.apply_orientation(array, orientation) for array in arrays]
    spacing = np.empty(3)
    spacing[orientation[:, 0].astype(int)] = nib.affines.voxel_sizes(detection.affine)
    return spacing, turned


def _evenly(scan: np.ndarray) -> np.ndarray:
    """Axial slices evenly spaced over those with much foreground."""
    area = (scan != scan.min()).sum(axis=(0, 1))
    busy = np.flatnonzero(area > 0.2 * area.max())
    return busy[np.linspace(0, len(busy) - 1, COUNT).astype(int)] if len(busy) else np.zeros(COUNT, int)
