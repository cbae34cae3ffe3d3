"""What is wrong with a subject's files, each alone, then side by side?"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cdm_jax.data.check.cases import Case
from cdm_jax.data.check.fault import Fault, times
from cdm_jax.data.check.file import Grid, Opened, image_findings, label_findings, mask_findings, open_file
from cdm_jax.data.volume import corner_distance


@dataclass(frozen=True)
class Facts:
    """What is kept of an image: a hash of its voxels; axes, mm a voxel and voxels along R, A and S."""

    path: Path
    dataset: str
    id: str
    person: str
    modality: str
    digest: str
    axes: str
    spacing: tuple[float, ...]
    shape: tuple[int, ...]


def check_case(case: Case, max_gb: float) -> tuple[list[Fault], list[Facts]]:
    """Read each file of a case once, the images one at a time."""
    mask = open_file(case.mask, mask_findings, max_gb) if case.mask else None
    seg = open_file(case.seg, label_findings, max_gb) if case.seg else None
    beside = [opened for opened in (mask, seg) if opened]
    faults = [fault for opened in beside for fault in _faults(case, opened)]
    facts: list[Facts] = []
    grids: dict[Path, Grid] = {}
    for modality, path in case.images.items():
        image = open_file(path, image_findings, max_gb)
        faults += _faults(case, image)
        facts += _facts(case, modality, image)
        grids |= {path: image.grid} if image.grid else {}
    if beside:
        grids |= {opened.path: opened.grid for opened in beside if opened.grid}
        faults += _misfits(case.id, grids)
    faults += _lesion_faults(case, mask, seg)
    return faults, facts


def _faults(case: Case, opened: Opened) -> Iterator[Fault]:
    return (Fault(opened.path, code, case.id, what) for code, what in opened.findings)


def _facts(case: Case, modality: str, image: Opened) -> Iterator[Facts]:
    """Those of an image that can be told from others."""
    if image.array is None or image.grid is None or "constant" in dict(image.findings):
        return
    if image.grid.affine is None:
        return
    to_ras = nib.io_orientation(image.grid.affine)
    turned = np.ascontiguousarray(nib.apply_orientation(image.array, to_ras))
    digest = hashlib.sha256(repr(turned.shape).encode())
    digest.update(turned.data)
    mm = nib.affines.voxel_sizes(image.grid.affine)[np.argsort(to_ras[:, 0])]
    yield Facts(
        path=image.path,
        dataset=case.dataset,
        id=case.id,
        person=case.person,
        modality=modality,
        digest=digest.hexdigest(),
        axes="".join(nib.orientations.ornt2axcodes(to_ras)),
        spacing=tuple(mm.tolist()),
        shape=turned.shape,
    )


def _misfits(id: str, grids: Mapping[Path, Grid]) -> Iterator[Fault]:
    """Files on another grid than the one that most of a subject's files share; of two, the second is at fault."""
    if not grids:
        return
    usual = max(
        grids, key=lambda path: sum(_difference(grids[path], grid) is None for grid in grids.values())
    )
    for path, grid in grids.items():
        difference = _difference(grid, grids[usual])
        if difference:
            yield Fault(path, difference[0], id, f"{difference[1]} {usual.name}")


def _difference(a: Grid, b: Grid) -> tuple[str, str] | None:
    """How `a` differs from `b`, if it does: (code, words that go before the name of the file of `b`)."""
    if a.shape != b.shape:
        return "shape-mismatch", f"{times(a.shape)} voxels, unlike"
    if a.affine is None or b.affine is None:
        return None
    apart = corner_distance(a.affine, b.affine, a.shape)
    far = apart > min(nib.affines.voxel_sizes(b.affine)) / 2
    return ("affine-mismatch", f"lies up to {apart:.1f} mm away from") if far else None


def _lesion_faults(case: Case, mask: Opened | None, seg: Opened | None) -> Iterator[Fault]:
    """Lesions where none belong, and none where some do."""
    if seg is None and case.patient and case.images:
        yield Fault(next(iter(case.images.values())), "no-lesion", case.id, "a patient without a label map")
    if seg is None or seg.array is None:
        return
    lesion = seg.array > 0.5
    count = np.count_nonzero(lesion)
    if count and not case.patient:
        yield Fault(seg.path, "healthy-lesion", case.id, f"{count} lesion voxels, but label 0")
    if case.patient and not count:
        yield Fault(seg.path, "no-lesion", case.id, "a patient, but no voxel is above 0.5")
    outside = _outside(lesion, mask, seg)
    if outside and mask:
        what = f"{outside} of {count} lesion voxels lie outside {mask.path.name}"
        yield Fault(seg.path, "outside-mask", case.id, what)


def _outside(lesion: np.ndarray, mask: Opened | None, seg: Opened) -> int:
    """How many lesion voxels lie outside a mask that is on their grid and not empty."""
    if mask is None or mask.array is None or mask.grid is None or seg.grid is None:
        return 0
    inside = mask.array > 0.5
    if _difference(mask.grid, seg.grid) or not inside.any():
        return 0
    return int(np.count_nonzero(lesion & ~inside))
