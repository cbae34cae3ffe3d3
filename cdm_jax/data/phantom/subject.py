"""What does subject `index` of cohort `seed` look like?"""

from dataclasses import replace

import numpy as np

from cdm_jax.data.phantom import fields, tissue
from cdm_jax.data.phantom import lesions as pathology
from cdm_jax.data.phantom.anatomy import Anatomy
from cdm_jax.data.phantom.fields import generator
from cdm_jax.data.phantom.geometry import ORIENTATIONS, Grid, draw_grid, sample, store
from cdm_jax.errors import choose


def subject_age(seed: int, index: int) -> float:
    """Years, 20 to 80; older brains have larger ventricles and wider sulci."""
    return round(generator(seed, index, fields.AGE).uniform(20, 80), 1)


def make_subject(
    anatomy: Anatomy, seed: int, index: int, *, modality: str = "t2", lesions: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One skull-stripped scan, the same whatever cohort it stands in.

    With and without `lesions` the person, the scanner and the noise are the same; across modalities the
    anatomy and the segmentation are.

    Returns:
      image [H,W,D] float32, zero outside the brain; brain mask and lesion segmentation [H,W,D] uint8;
      affine [4,4] voxel to millimetre, in one of several orientations, some oblique.
    Raises:
      UsageError: unknown modality.
    """
    contrast = choose(tissue.MODALITIES, modality, "modality")
    streams = {name: generator(seed, index, name) for name in fields.STREAMS}
    age = subject_age(seed, index)
    grid = draw_grid(streams[fields.SHAPE], anatomy, age)
    grid, lesion_shares = _lesions(streams, anatomy, grid) if lesions else (grid, [])
    shares = tissue.tissue_shares(streams[fields.TISSUE], anatomy, grid, age)
    levels = tissue.draw_levels(streams[fields.CONTRAST], contrast)
    brightness = tissue.healthy_brightness(streams[fields.CONTRAST], anatomy, grid, shares, levels)
    brightness = tissue.add_lesions(
        streams[fields.LESION_CONTRAST], contrast, grid, levels, brightness, lesion_shares
    )
    image = tissue.scan(streams[fields.SCAN], grid, brightness, levels.max())
    seg = np.zeros(grid.mask.shape, np.uint8)
    seg[grid.mask] = sum(lesion_shares, np.zeros(len(grid.voxels))) > 0.5
    codes = ORIENTATIONS[index % len(ORIENTATIONS)]
    mask = grid.mask.astype(np.uint8)
    (image, affine), (mask, _), (seg, _) = (store(v, grid.affine, codes) for v in (image, mask, seg))
    return image, mask, seg, affine


def _lesions(streams, anatomy: Anatomy, grid: Grid) -> tuple[Grid, list[np.ndarray]]:
    """The grid after mass effect, and each lesion's share [N] of every brain voxel."""
    drawn = pathology.draw_lesions(streams[fields.LESIONS], anatomy)
    centres = [pathology.locate(lesion, grid) for lesion in drawn]
    depth = sample(anatomy.depth, grid.template)
    template = grid.template.copy()
    for lesion, centre in zip(drawn, centres, strict=True):
        template += pathology.displace(lesion, centre, grid, depth)
    grid = replace(grid, template=template)
    outside_ventricles = 1 - np.clip(2 * sample(anatomy.deep_csf, template) - 0.5, 0, 1)
    return grid, [
        pathology.lesion_share(streams[fields.LESIONS], lesion, centre, grid) * outside_ventricles
        for lesion, centre in zip(drawn, centres, strict=True)
    ]
