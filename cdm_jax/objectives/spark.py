"""How is an encoder pretrained on hidden patches?"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cdm_jax.errors import UsageError
from cdm_jax.models.batch_norm import mask_at
from cdm_jax.models.spark import PATCH, SparK, crop, to_multiple
from cdm_jax.noise import keys_by_id
from cdm_jax.objectives.apply import apply_model
from cdm_jax.objectives.loss import Objective


def spark(model: SparK, *, mask_ratio: float) -> Objective:
    """Objective of masked pretraining: the hidden patches predicted from the visible ones.

    Images are in [0, 1], as the encoder sees them later, and of any size (see `to_multiple`). Which patches of an
    image are visible depends on `key` and the image's `id` alone.
    Raises (when called): UsageError, see `draw_active`. Source: Tian et al. 2023, section 3.
    """

    def whole(params, batch_stats, batch, key, train):
        image = to_multiple(batch["image"])
        active = draw_active(keys_by_id(key, batch["id"]), image, mask_ratio)
        reconstruction, batch_stats = apply_model(model, params, batch_stats, key, image, active, train)
        inside = to_multiple(jnp.ones_like(batch["image"], bool))
        return hidden_loss(image, reconstruction, active, inside), {}, batch_stats

    # Every layer of the encoder normalises over the batch, so that nothing is left to do image by image.
    return Objective(whole, lambda params, losses, rows, key, train: losses, divisible=False)


def hidden_loss(image, reconstruction, active, inside=True) -> jax.Array:
    """Mean squared error over the hidden pixels of [B,H,W,1] images that lie `inside`: float32 [B].

    All patches are of one size, so without padding it is the published mean over patches of means over pixels.
    """
    counted = inside & ~mask_at(active, image)
    squares = jnp.square(reconstruction - image)
    return jnp.sum(squares, (1, 2, 3), where=counted) / counted.sum((1, 2, 3))


def draw_active(keys: jax.Array, image: jax.Array, mask_ratio: float) -> jax.Array:
    """Visible patches of images [B,H,W,1], each from its own key[B]: bool [B,H/32,W/32], equally many in each.

    Raises:
      UsageError: `mask_ratio` hides no patch or all.
    """
    rows, columns = image.shape[1] // PATCH, image.shape[2] // PATCH
    patches = rows * columns
    visible = round(patches * (1 - mask_ratio))
    if not 0 < visible < patches:
        raise UsageError(
            f"mask_ratio {mask_ratio}: {visible} of {rows}x{columns} patches would stay visible; "
            "give a ratio that hides some, not all"
        )
    ranks = jax.vmap(jax.random.permutation, (0, None))(keys, patches)
    return (ranks < visible).reshape(-1, rows, columns)


def make_inpaint(model: SparK, mask_ratio: float) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """inpaint(variables, key[B], image[B,H,W,1] in [0, 1]) -> (masked image, image with hidden pixels predicted).

    Both are of the image's shape; hidden pixels are 0 in the first.
    """

    def inpaint(variables, key, image):
        padded = to_multiple(image)
        active = draw_active(key, padded, mask_ratio)
        reconstruction = model.apply(variables, padded, active)
        mask = mask_at(active, padded)
        shown = jnp.where(mask, padded, 0), jnp.where(mask, padded, reconstruction)
        return tuple(crop(each, *image.shape[1:3]) for each in shown)

    return inpaint
