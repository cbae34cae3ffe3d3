"""What does the template brain look like?"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

RESOLUTION_MM = 2
LATERAL_VENTRICLE_MM = (-12.0, -34.0, 18.0)  # MNI152: atrium of the left lateral ventricle
DEEP_MM = 10.0  # cerebrospinal fluid this far from the brain's surface is ventricle or deep cistern


@dataclass(frozen=True)
class Anatomy:
    """Template maps [H,W,D] float32 on one grid; `affine` takes voxels to MNI152 millimetres (RAS)."""

    brain: np.ndarray  # 1 inside the brain
    gm: np.ndarray  # probabilities; gm + wm + csf = brain
    wm: np.ndarray
    csf: np.ndarray
    detail: np.ndarray  # what tissue alone does not explain in the template's T1, CSF-to-WM contrast = 1
    depth: np.ndarray  # voxels to the brain's surface, 0 outside
    deep_csf: np.ndarray  # csf far from the surface
    ventricle_pull: np.ndarray  # [3,H,W,D] unit pull towards the lateral ventricles, fading with distance
    affine: np.ndarray


def load_anatomy() -> Anatomy:
    """The MNI152 2009 template that ships inside nilearn, at 2 mm; nothing is downloaded.

    Source: Fonov et al., "Unbiased average age-appropriate atlases for pediatric studies", NeuroImage 2011.
    """
    from nilearn import datasets  # seconds to import, wanted only here

    mask_img = datasets.load_mni152_brain_mask(resolution=RESOLUTION_MM)
    brain = np.asarray(mask_img.dataobj, np.float32)
    t1, gm, wm = (
        np.asarray(load(resolution=RESOLUTION_MM).dataobj, np.float32)
        for load in (
            datasets.load_mni152_template,
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
        )
    )
    gm, wm = gm.clip(0, 1) * brain, wm.clip(0, 1) * brain
    csf = (brain - gm - wm).clip(0, 1)
    depth = ndimage.distance_transform_edt(brain).astype(np.float32)
    affine = np.asarray(mask_img.affine, np.float64)
    deep_csf = csf * (depth > DEEP_MM / RESOLUTION_MM)
    return Anatomy(
        brain=brain,
        gm=gm,
        wm=wm,
        csf=csf,
        detail=_detail(t1, gm, wm, csf, brain),
        depth=depth,
        deep_csf=deep_csf,
        ventricle_pull=_pull(_lateral_ventricles(deep_csf, affine), 10.0 / RESOLUTION_MM),
        affine=affine,
    )


def _detail(t1, gm, wm, csf, brain) -> np.ndarray:
    """Residual of the least-squares fit t1 ~ gm + wm + csf: deep nuclei, folia, fibre tracts."""
    inside = brain > 0
    tissues = np.stack([csf, gm, wm], axis=-1)[inside]
    levels, *_ = np.linalg.lstsq(tissues, t1[inside], rcond=None)
    detail = np.zeros_like(t1)
    detail[inside] = (t1[inside] - tissues @ levels) / (levels[2] - levels[0])
    return detail.clip(-0.3, 0.3)


def _lateral_ventricles(deep_csf, affine) -> np.ndarray:
    labels, _ = ndimage.label(deep_csf > 0.5)
    seed = np.linalg.solve(affine, [*LATERAL_VENTRICLE_MM, 1])[:3]
    near = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return labels == labels[tuple(near[(slice(None), *np.rint(seed).astype(int))])]


def _pull(region, reach) -> np.ndarray:
    """Unit vectors down the smoothed distance to `region`, weighted by a Gaussian of that distance."""
    distance = ndimage.distance_transform_edt(~region) - ndimage.distance_transform_edt(region)
    smooth = ndimage.gaussian_filter(distance, 1.0)
    weight = np.exp(-0.5 * (distance / reach) ** 2)
    return (-np.stack(np.gradient(smooth)) * weight).astype(np.float32)
