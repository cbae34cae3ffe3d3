"""How is the denoising autoencoder trained?"""

from collections.abc import Mapping

import jax

from cdm_jax.errors import choose
from cdm_jax.noise import coarse, keys_by_id
from cdm_jax.objectives.loss import PIXEL_LOSSES, Objective


def foreground(batch: Mapping) -> jax.Array:
    """Where the brain is, bool [B,H,W,1]: the batch's mask, or what is brighter than 0 where it has none."""
    return batch["mask"] if "mask" in batch else batch["image"] > 0


def dae(model, *, loss: str, noise_std: float, noise_size: int) -> Objective:
    """Objective of the `DenoisingUNet`: mean distance over pixels of the clean image to the denoised one.

    The brain is covered with blobs; those of an image come from `key` and its `id` alone, in validation too.
    Source: Kascenas et al. 2022: l2, noise_std 0.2, and 8 as noise_size on 2 mm pixels. Their code
    counts the distance inside the brain only; here the background counts, as in all other objectives.

    Args:
      loss: l1 or l2.
      noise_std: standard deviation of the noise's nodes, in units of the image; pixels have 0.672 of it.
      noise_size: pixels between two nodes, see `coarse`. 16 mm in the paper: 8 pixels of 2 mm, 4 of 4 mm.
    Raises:
      UsageError: no such loss.
    """
    distance = choose(PIXEL_LOSSES, loss, "loss")

    def whole(params, batch_stats, batch, key, train):
        image = batch["image"]
        eps = noise_std * coarse(keys_by_id(key, batch["id"]), image.shape, cell=noise_size)
        return None, {"image": image, "noisy": image + eps * foreground(batch)}, batch_stats

    def each(params, cond, rows, key, train):
        image_hat = model.apply({"params": params}, rows["noisy"], train)
        return distance(image_hat - rows["image"]).mean(axis=(1, 2, 3))

    return Objective(whole, each)
