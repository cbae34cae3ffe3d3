"""How is an image noised for training, and how far is a prediction from its target?"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from cdm_jax.diffusion import TARGETS, Noise, q_sample, to_model_range
from cdm_jax.errors import choose
from cdm_jax.noise import keys_by_id
from cdm_jax.objectives.loss import PIXEL_LOSSES
from cdm_jax.schedule import Schedule, snr


def p2_weight(schedule: Schedule, t: jax.Array, gamma: float) -> jax.Array:
    """(1 + SNR(t))^-gamma for t[B], shape [B] (Choi et al. 2022, equation 8, with k = 1)."""
    return (1 + snr(schedule, t)) ** -gamma


def noised(schedule: Schedule, image, t, eps, prediction: str) -> tuple[jax.Array, jax.Array]:
    """(x_t, target): what the network sees and what it should predict, for images [B,H,W,C] in [0, 1]."""
    x0 = to_model_range(image)
    target = choose(TARGETS, prediction, "prediction")(schedule, x0, t, eps)
    return q_sample(schedule, x0, t, eps), target


def diffusion_loss(schedule: Schedule, predicted, target, t, *, loss: str, p2_gamma: float) -> jax.Array:
    """Mean distance over pixels times the p2 weight of t[B], one number an image, float32 [B].

    Source: Behrendt et al. 2025, section 3.2; `loss` is l1 or l2.
    """
    distance = choose(PIXEL_LOSSES, loss, "loss")(predicted - target)
    return distance.mean(axis=(1, 2, 3)) * p2_weight(schedule, t, p2_gamma)


def draw_noising(schedule: Schedule, noise: Noise, key, batch: Mapping, shared: bool):
    """Step t[B] and eps[B,H,W,C] of every image, from `key` and the image's `id` in the batch alone.

    With `shared` one noise field serves the whole batch, as in the published code.
    """
    t_keys, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys_by_id(key, batch["id"]))
    if shared:
        noise_keys = jnp.broadcast_to(jax.random.fold_in(key, 0), noise_keys.shape)
    t = jax.vmap(lambda k: jax.random.randint(k, (), 0, schedule.timesteps))(t_keys)
    return t, noise(noise_keys, batch["image"].shape)
