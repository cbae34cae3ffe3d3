"""How bright does each brain voxel come out of the scanner?"""

from dataclasses import dataclass

import numpy as np

from cdm_jax.data.phantom.anatomy import Anatomy
from cdm_jax.data.phantom.fields import smooth_field
from cdm_jax.data.phantom.geometry import Grid, sample

SPREAD = 0.04  # tissue means differ between scanners by up to this much, brightest tissue = 1
VISIBLE = 0.2  # least contrast to its surroundings that a reader would outline, CSF-to-WM contrast = 1


@dataclass(frozen=True)
class Modality:
    """Tissue means, and lesion kinds as (chance, low, high) on the scale white matter = 0, CSF = 1."""

    csf: float
    gm: float
    wm: float
    lesions: tuple[tuple[float, float, float], ...]


MODALITIES = {
    "t2": Modality(1.0, 0.58, 0.42, ((0.8, 0.45, 1.05), (0.12, 0.25, 0.45), (0.08, -0.35, -0.2))),
    "t1": Modality(0.2, 0.58, 0.85, ((0.8, 0.3, 0.95), (0.1, 0.2, 0.4), (0.1, -0.4, -0.2))),
    "flair": Modality(0.12, 0.62, 0.5, ((0.8, -1.2, -0.4), (0.2, 0.3, 0.9))),
}


def tissue_shares(rng: np.random.Generator, anatomy: Anatomy, grid: Grid, age: float) -> np.ndarray:
    """Shares [3,N] of CSF, GM and WM in each brain voxel, summing to 1; sulci widen with age.

    The template averages many brains, so its maps are blurred: powers above 1 make one brain's edges of them.
    """
    gm, wm = sample(anatomy.gm, grid.template), sample(anatomy.wm, grid.template)
    shares = np.stack([(1 - gm - wm).clip(0), gm, wm])
    shares = (shares + 1e-4) ** rng.uniform(1.1, 1.6)
    shares[0] *= np.exp((age - 50) / 30 * 0.4 + 0.25 * rng.standard_normal())
    return shares / shares.sum(axis=0)


def draw_levels(rng: np.random.Generator, modality: Modality) -> np.ndarray:
    """This scan's mean brightness of CSF, GM and WM [3]."""
    means = np.array([modality.csf, modality.gm, modality.wm])
    return (means + rng.uniform(-SPREAD, SPREAD, 3)).astype(np.float32)


def healthy_brightness(
    rng: np.random.Generator, anatomy: Anatomy, grid: Grid, shares: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """Noise-free brightness [N]: tissue means, the template's own fine detail, smooth random texture."""
    contrast = levels[2] - levels[0]  # CSF to WM, negative in T2
    shape = grid.mask.shape
    detail = rng.uniform(0.5, 1.2) * sample(anatomy.detail, grid.template)
    texture = 0.02 * smooth_field(rng, shape, 2.5)[grid.mask] + 0.025 * smooth_field(rng, shape, 8)[grid.mask]
    return levels @ shares + contrast * (detail + texture * (1 - 0.6 * shares[0]))


def add_lesions(
    rng: np.random.Generator,
    modality: Modality,
    grid: Grid,
    levels: np.ndarray,
    brightness: np.ndarray,
    lesion_shares: list[np.ndarray],
) -> np.ndarray:
    """`brightness` [N] after lesions took their share [N] of each brain voxel; inside they are uneven."""
    if not lesion_shares:
        return brightness
    shape = grid.mask.shape
    uneven = 0.8 * smooth_field(rng, shape, 5)[grid.mask] + 0.6 * smooth_field(rng, shape, 2)[grid.mask]
    contrast = levels[0] - levels[2]  # WM to CSF
    for share in lesion_shares:
        around = (np.average(brightness, weights=share) - levels[2]) / contrast
        place = _draw_place(rng, modality, around) + rng.uniform(0.03, 0.12) * uneven
        brightness = (1 - share) * brightness + share * (levels[2] + contrast * place)
    return brightness


def _draw_place(rng: np.random.Generator, modality: Modality, around: float) -> float:
    """A lesion's place on the scale WM = 0, CSF = 1.

    It may well be that of healthy grey matter or CSF; only from the tissue it replaces must it differ.
    """
    chances = [kind[0] for kind in modality.lesions]
    _, low, high = modality.lesions[rng.choice(len(chances), p=chances)]
    place = rng.uniform(low, high)
    return place if abs(place - around) >= VISIBLE else around + np.copysign(VISIBLE, place - around)


def scan(rng: np.random.Generator, grid: Grid, brightness: np.ndarray, reference: float) -> np.ndarray:
    """The magnitude image [H,W,D] float32, zero outside the brain: gain, bias field, Rician noise.

    `reference` is the brightest tissue's level: its signal-to-noise ratio lies between 25 and 80.
    Rician: the length of a complex signal whose two parts carry Gaussian noise (Gudbjartsson & Patz, 1995).
    """
    gain, bias_std, noise_std = rng.uniform(500, 1400), rng.uniform(0.02, 0.1), rng.uniform(0.012, 0.04)
    bias = np.exp(bias_std * smooth_field(rng, grid.mask.shape, 40)[grid.mask])
    noise = noise_std * reference * rng.standard_normal((2, len(brightness)), dtype=np.float32)
    image = np.zeros(grid.mask.shape, np.float32)
    image[grid.mask] = gain * np.hypot(brightness.clip(0) * bias + noise[0], noise[1])
    return image
