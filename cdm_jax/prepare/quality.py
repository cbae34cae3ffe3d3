"""Did the skull strip of each scan succeed, as seen at a glance?"""

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.image import imsave
from scipy import ndimage

from cdm_jax.data import volume
from cdm_jax.errors import CdmError
from cdm_jax.files import write_text
from cdm_jax.prepare.strip import millilitres

USUAL_ML = (800, 2200)  # of an adult's brain; that of the MNI152 template, ventricles and all, is 1883
UNUSUAL_Z = 3.0
PIXEL_MM = 2.0  # pictures are not finer than this, to keep the page small
LEVELS = 31  # of gray, for the same reason
OUTLINE = (1.0, 0.2, 0.1)
HEADINGS = ("", "subject", "modality", "brain", "axial", "coronal", "sagittal", "notes")
STYLE = """body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}th{text-align:left}
td,th{padding:3px 10px;border-bottom:1px solid #ccc}tr.marked{background:#fde3dc}img{background:#000}"""


@dataclass(frozen=True)
class Row:
    """One prepared scan and its brain mask, on one grid."""

    id: str
    modality: str
    image: Path
    mask: Path
    notes: str


@dataclass(frozen=True)
class _Seen:
    """What a row shows: brain volume in ml (None: unreadable), (PNG, width, height in mm) of each slice."""

    row: Row
    ml: float | None
    pictures: list[tuple[bytes, float, float]] = field(default_factory=list)
    fault: str = ""


def write_page(path: Path, rows: Sequence[Row], progress: Callable[[Iterable], Iterable] = iter) -> None:
    """Write one HTML file with a row a scan: three slices through the brain's centre and the mask's outline.

    Scans whose brain volume is outside 800 to 2200 ml, or more than 3 robust standard deviations from the
    cohort's, are marked; the most unusual come first. A scan that cannot be read is marked too.

    Args:
      progress: wraps the iterator over rows.
    Raises:
      UsageError: the file cannot be written.
    """
    seen = [_see(row) for row in progress(rows)]
    known = np.array([one.ml for one in seen if one.ml is not None])
    scored = [(one, _robust_z(one.ml, known)) for one in seen]
    order = sorted(scored, key=lambda pair: (not _faults(*pair), -abs(pair[1]), pair[0].row.id))
    marked = sum(bool(_faults(*pair)) for pair in scored)
    title = f"{len(seen)} scans, {marked} to look at"
    if len(known):
        title += f"; brain volume {np.median(known):.0f} ml in the median"
    page = _html(title, [_html_row(*pair) for pair in order])
    write_text(path, page.encode("ascii", "xmlcharrefreplace").decode())  # the same bytes under any locale


def _see(row: Row) -> _Seen:
    try:
        image = volume.read(row.image)
        mask = volume.read_mask(row.mask, image)
    except CdmError as error:
        return _Seen(row, None, fault=str(error))
    return _Seen(row, millilitres(mask, image.affine), draw(image.array, mask, image.affine))


def _robust_z(ml: float | None, known: np.ndarray) -> float:
    """Distance from the median in robust standard deviations, which count as at least 2 % of the median."""
    if ml is None:
        return np.inf
    median = np.median(known)
    deviation = 1.4826 * np.median(np.abs(known - median))  # of normal data: the standard deviation
    return float((ml - median) / max(deviation, 0.02 * median))


def _faults(seen: _Seen, z: float) -> list[str]:
    """Why the row is marked, if it is."""
    if seen.ml is None:
        return [seen.fault]
    low, high = USUAL_ML
    found = []
    if not low <= seen.ml <= high:
        found.append(f"brain volume outside {low} to {high} ml")
    if abs(z) > UNUSUAL_Z:
        found.append(f"brain volume {z:+.1f} standard deviations from the cohort's")
    return found


def draw(array: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> list[tuple[bytes, float, float]]:
    """Axial, coronal and sagittal slice through the mask's centre, with its outline: (PNG, width, height in mm).

    Front or top of the head up, patient's left on the left, nose to the right.

    Args:
      array, mask: [H,W,D] float and bool on one grid; affine: [4,4] voxels to mm.
    """
    turn = nib.orientations.io_orientation(affine)
    array, mask = (nib.orientations.apply_orientation(a, turn) for a in (array, mask))
    spacing = np.empty(3)
    spacing[turn[:, 0].astype(int)] = np.linalg.norm(affine[:3, :3], axis=0)
    step = np.maximum(np.floor(PIXEL_MM / spacing + 1e-6), 1).astype(int)
    low, high = np.percentile(array[mask], (0.5, 99.5))
    gray = np.rint(np.clip((array - low) / max(high - low, 1e-9), 0, 1) * LEVELS) / LEVELS
    centre = np.rint(ndimage.center_of_mass(mask)).astype(int)
    pictures = []
    for axis in (2, 1, 0):
        x, y = (other for other in range(3) if other != axis)
        thin = (slice(None, None, step[x]), slice(None, None, step[y]))
        image, inside = (np.take(a, centre[axis], axis)[thin].T[::-1] for a in (gray, mask))
        size = mask.shape[x] * spacing[x], mask.shape[y] * spacing[y]
        pictures.append((_png(image, inside), float(size[0]), float(size[1])))
    return pictures


def _png(gray: np.ndarray, inside: np.ndarray) -> bytes:
    """A slice [H,W] in [0, 1] with the outline of `inside` drawn just outside it."""
    colours = np.repeat(gray[..., None], 3, axis=-1)
    colours[ndimage.binary_dilation(inside) & ~inside] = OUTLINE
    file = io.BytesIO()
    imsave(file, colours, format="png")
    return file.getvalue()


def _html_row(seen: _Seen, z: float) -> str:
    faults = _faults(seen, z)
    brain = "-" if seen.ml is None else f"{seen.ml:.0f} ml ({z:+.1f})"
    notes = "; ".join([*faults, *([seen.row.notes] if seen.row.notes else [])])
    cells = [html.escape(text) for text in ("⚠" if faults else "", seen.row.id, seen.row.modality, brain)]
    images = [_html_image(*picture) for picture in seen.pictures] or [""] * 3
    row = "".join(f"<td>{cell}</td>" for cell in (*cells, *images, html.escape(notes)))
    return f"<tr class='{'marked' if faults else ''}'>{row}</tr>"


def _html_image(png: bytes, width: float, height: float) -> str:
    data = base64.b64encode(png).decode()
    return f'<img width="{width:.0f}" height="{height:.0f}" alt="" src="data:image/png;base64,{data}">'


def _html(title: str, rows: list[str]) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Quality of preparation</title><style>{STYLE}</style></head>
<body><h1>Quality of preparation</h1><p>{title}. In red the brain mask's outline; in brackets how many robust
standard deviations a brain volume is from the median. Front or top up, patient's left on the left.</p>
<table><tr>{head}</tr>
{chr(10).join(rows)}
</table></body></html>
"""
