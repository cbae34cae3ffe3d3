"""Which slices does a benchmark reconstruct?"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cdm_jax.errors import UsageError


class Brain(NamedTuple):
    """The slices of one volume: images[S,H,W] float32 in [0, 1], their places[S] in it, and its origin."""

    images: np.ndarray
    places: np.ndarray
    source: str


def brain_slices(config: ConfigDict, count: int = 0) -> Brain:
    """`count` slices spread evenly over those that show brain, 0 for all, on the config's grid.

    They are of the embedded phantom; where a package that it needs is missing, of a smooth random head.

    Raises: UsageError: there are fewer.
    """
    try:
        image, source = phantom(config), "embedded phantom"
    except ImportError as error:
        image, source = random_head(config.preprocess.shape), f"random head, as {error.name} is missing"
    places = np.flatnonzero(image.any(axis=(0, 1)))
    if not 0 <= count <= len(places):
        raise UsageError(f"--slices {count}: the volume shows brain on {len(places)}; 0 takes all of them")
    if count:
        places = places[np.linspace(0, len(places) - 1, count + 2).round().astype(int)[1:-1]]
    return Brain(np.moveaxis(image[..., places], 2, 0).copy(), places, source)


def phantom(config: ConfigDict) -> np.ndarray:
    """One patient of the embedded cohort as the model sees it, [H,W,D] in [0, 1]."""
    import nibabel as nib

    from cdm_jax import build
    from cdm_jax.data.phantom import load_anatomy, make_subject
    from cdm_jax.data.preprocess import preprocess
    from cdm_jax.data.volume import Volume

    image, mask, _, affine = make_subject(load_anatomy(), config.seed, 0, lesions=True)
    scan = Volume(image, affine, nib.affines.voxel_sizes(affine), nib.Nifti1Header(), Path("phantom.nii"))
    return preprocess(scan, mask, **build.preprocessing(config)).image


def random_head(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """An ellipsoid that fills nine tenths of the grid, textured by 24 random plane waves: [H,W,D] in [0, 1]."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    place = np.stack(axes, axis=-1).astype(np.float32)
    waves, phases = rng.normal(0, 6, (3, 24)), rng.uniform(0, 2 * np.pi, 24)
    texture = np.cos(place @ waves.astype(np.float32) + phases).mean(axis=-1)
    inside = (place**2).sum(axis=-1) < 0.81
    return np.where(inside, np.clip(0.5 + texture, 0.05, 1), 0).astype(np.float32)
