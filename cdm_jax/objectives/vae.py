"""How is the variational autoencoder trained?"""

import math

import jax
import jax.numpy as jnp

from cdm_jax.errors import choose
from cdm_jax.noise import keys_by_id
from cdm_jax.objectives.loss import PIXEL_LOSSES, Objective


def kl_to_standard_normal(mean: jax.Array, log_var: jax.Array) -> jax.Array:
    """KL(N(mean, exp(log_var)) || N(0, 1)), summed over latents: [B,E], [B,E] -> [B], in nats.

    Half the sum of mean^2 + var - log var - 1 (Kingma and Welling 2014, appendix B).
    """
    return (jnp.square(mean) + jnp.exp(log_var) - log_var - 1).sum(axis=-1) / 2


def vae(model, *, loss: str, kl_weight: float) -> Objective:
    """Objective of the `VAE`: mean distance over pixels + kl_weight KL / number of pixels, for every image.

    The KL is summed over latents. With a weight of 1 that is the loss of Baur et al. 2021 (distance and KL both
    summed: but for a constant the negative evidence lower bound) divided by the number of pixels. An image's
    latent noise comes from `key` and its `id` alone; with train=False the latent is the mean.

    Args:
      loss: l1 or l2.
      kl_weight: 0 or more.
    Raises:
      UsageError: no such loss.
    """
    distance = choose(PIXEL_LOSSES, loss, "loss")

    def latent_noise(key, ids):
        return jax.vmap(lambda of_image: jax.random.normal(of_image, (model.latent,)))(keys_by_id(key, ids))

    def whole(params, batch_stats, batch, key, train):
        eps = latent_noise(key, batch["id"]) if train else None
        return None, {"image": batch["image"], "eps": eps}, batch_stats

    def each(params, cond, rows, key, train):
        image = rows["image"]
        image_hat, mean, log_var = model.apply({"params": params}, image, rows["eps"])
        kl = kl_to_standard_normal(mean, log_var) / math.prod(image.shape[1:])
        return distance(image_hat - image).mean(axis=(1, 2, 3)) + kl_weight * kl

    return Objective(whole, each)
