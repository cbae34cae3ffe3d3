"""How does batch normalisation count only what is visible?"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp


def mask_at(active: jax.Array, x: jax.Array) -> jax.Array:
    """The visible patches, active[B,h,w] or [B,h,w,1], at the resolution of x[B,H,W,C]: bool [B,H,W,1]."""
    down, right = x.shape[1] // active.shape[1], x.shape[2] // active.shape[2]
    return active.reshape(*active.shape[:3], 1).repeat(down, axis=1).repeat(right, axis=2)


def hide(x: jax.Array, active: jax.Array | None) -> jax.Array:
    """x[B,H,W,C] with zeros outside the visible patches; None: all are visible."""
    return x if active is None else jnp.where(mask_at(active, x), x, 0)


def moments(x: jax.Array, active: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array | float]:
    """Mean[C], biased variance[C] of x[B,H,W,C] over its visible positions, n in number, then n / (n - 1)."""
    axes = tuple(range(x.ndim - 1))
    if active is None:
        count = math.prod(x.shape[:-1])
        return jnp.mean(x, axes), jnp.var(x, axes), count / max(count - 1, 1)
    mask = mask_at(active, x)
    visible = mask.sum(dtype=x.dtype)
    mean = jnp.sum(x, axes, where=mask) / visible
    var = jnp.sum(jnp.square(x - mean), axes, where=mask) / visible
    return mean, var, visible / jnp.maximum(visible - 1, 1)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; running statistics under "batch_stats".

    Computed in float32, or in `dtype` if that is wider.

    Unlike flax.linen's it keeps the unbiased running variance (n - 1), as PyTorch does, so that a training
    run follows the published one. Momentum 0.9 (PyTorch's 0.1), eps 1e-5. With a `mask` bool, [B,H,W,1] or
    coarser, only its positions are counted, and all others become 0. Source: Ioffe and Szegedy 2015,
    algorithm 2; Tian et al. 2023, section 3 (masked).
    """

    scale_init: nn.initializers.Initializer = nn.initializers.ones_init()
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
        features = x.shape[-1]
        scale = self.param("scale", self.scale_init, (features,))
        bias = self.param("bias", nn.initializers.zeros_init(), (features,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,))
        x = x.astype(jnp.promote_types(self.dtype, jnp.float32))
        if train:
            mean, var, unbiased = moments(x, mask)
            if not self.is_initializing():
                for kept, now in ((running_mean, mean), (running_var, var * unbiased)):
                    kept.value = (0.9 * kept.value + 0.1 * now).astype(kept.value.dtype)
        else:
            mean, var = running_mean.value, running_var.value
        y = ((x - mean) * (jax.lax.rsqrt(var + 1e-5) * scale) + bias).astype(self.dtype)
        return hide(y, mask)
