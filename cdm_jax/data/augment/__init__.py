"""How are the intensities of training slices varied?

As published, in this order: gamma, bias field, blur, ghosting, each with a probability of its own and with
TorchIO 0.20's meaning. The result is not clipped to [0, 1], again as published.

The published code augments a whole volume and then takes one slice of it, once an epoch. A slice meets one draw
either way, so a draw for every slice follows the same law, but for what reaches across slices:

gamma.py       the same
bias_field.py  the same field, but at a drawn height z, where the published one takes the slice's own
blur.py        not blurred across slices
ghosting.py    no ghosts along the slice axis: each of the two axes in the plane has 1/2 instead of 1/3
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cdm_jax.data.augment.bias_field import bias_field as apply_bias_field
from cdm_jax.data.augment.bias_field import draw_bias_field
from cdm_jax.data.augment.blur import blur as apply_blur
from cdm_jax.data.augment.blur import draw_blur
from cdm_jax.data.augment.gamma import draw_gamma
from cdm_jax.data.augment.gamma import gamma as apply_gamma
from cdm_jax.data.augment.ghosting import draw_ghosting
from cdm_jax.data.augment.ghosting import ghosting as apply_ghosting
from cdm_jax.errors import UsageError
from cdm_jax.noise.keys import require_key_per_image

__all__ = ["make_augment"]

Augment = Callable[[jax.Array, jax.Array], jax.Array]
"""augment(key[B], image[B,H,W,1]) -> image[B,H,W,1], every image from its own key."""


def make_augment(
    *,
    gamma: float,
    log_gamma: float,
    bias_field: float,
    bias_coefficients: float,
    blur: float,
    blur_std: float,
    ghosting: float,
    ghosts: tuple[int, int],
    ghost_intensity: tuple[float, float],
) -> Augment:
    """augment(key[B], image[B,H,W,1]) -> image[B,H,W,1], to be traced into a training step.

    `gamma`, `bias_field`, `blur` and `ghosting` are probabilities: an effect of probability 0 costs nothing, and
    whether it is there does not change what the others draw. The rest bounds what is drawn: the exponent's
    logarithm and the polynomial's coefficients within +-, `blur_std` pixels at most, the fewest and the most
    ghosts, the least and the greatest intensity. No gradient passes: images are data.

    Raises: UsageError: a probability outside [0, 1], a negative bound, a range that is none. `augment` raises
      ValueError if there is not one typed key an image.
    Source: Behrendt et al. 2025, published code; TorchIO 0.20's defaults but for the probabilities.
    """
    _check_probabilities(gamma=gamma, bias_field=bias_field, blur=blur, ghosting=ghosting)
    _check_bounds(log_gamma=log_gamma, bias_coefficients=bias_coefficients, blur_std=blur_std)
    _check_ranges(ghosts=(1, *ghosts), ghost_intensity=(0, *ghost_intensity))
    effects = (
        (gamma, lambda key, image: apply_gamma(image, draw_gamma(key, log_gamma))),
        (bias_field, lambda key, image: apply_bias_field(image, *draw_bias_field(key, bias_coefficients))),
        (blur, lambda key, image: apply_blur(image, draw_blur(key, blur_std))),
        (ghosting, lambda key, image: apply_ghosting(image, *draw_ghosting(key, ghosts, ghost_intensity))),
    )

    def augment_one(key: jax.Array, image: jax.Array) -> jax.Array:
        of_choice, *of_effects = jax.random.split(key, 1 + len(effects))
        choice = jax.random.uniform(of_choice, (len(effects),))
        for u, of_effect, (probability, effect) in zip(choice, of_effects, effects, strict=True):
            if probability:
                image = jnp.where(u < probability, effect(of_effect, image), image)
        return jax.lax.stop_gradient(image)

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        batch, height, width, channels = image.shape
        require_key_per_image(key, (batch, height, width, channels))
        return jax.vmap(augment_one)(key, image)

    return augment


def _check_probabilities(**probabilities: float) -> None:
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise UsageError(f"augment.{name} is a probability: give a number from 0 to 1, not {value}")


def _check_bounds(**bounds: float) -> None:
    for name, value in bounds.items():
        if not value >= 0:
            raise UsageError(f"augment.{name} is the largest magnitude: give 0 or more, not {value}")


def _check_ranges(**ranges: tuple) -> None:
    """Each is (the least it may be, its lower end, its upper end)."""
    for name, (least, low, high) in ranges.items():
        if not least <= low <= high:
            raise UsageError(f"augment.{name} is (lower, upper), from {least} on, not ({low}, {high})")
