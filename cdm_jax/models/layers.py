"""Which layers is the UNet made of?"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cdm_jax.errors import UsageError

# Uniform on +-1/sqrt(fan_in), the default of the published implementation's convolutions and linear layers.
uniform_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
zero_init = nn.initializers.zeros_init()


def timestep_embedding(t: jax.Array, features: int) -> jax.Array:
    """Sinusoids of the step, cos first: t[B] (steps, from 0) -> [B, features], float32.

    Frequencies fall from 1 to nearly 1/10000 (Vaswani et al. 2017, section 3.5).
    """
    half = features // 2
    frequencies = jnp.exp(-math.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / half)
    phases = t.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=-1)


def downsample(x: jax.Array) -> jax.Array:
    """2x2 average pooling: [B,H,W,C] -> [B,H/2,W/2,C]."""
    return nn.avg_pool(x, (2, 2), strides=(2, 2))


def upsample(x: jax.Array) -> jax.Array:
    """Nearest neighbour: [B,H,W,C] -> [B,2H,2W,C]."""
    batch, height, width, channels = x.shape
    doubled = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return doubled.reshape(batch, 2 * height, 2 * width, channels)


class GroupNorm(nn.Module):
    """Group normalisation in float32, returned in `dtype`: [B,H,W,C] -> [B,H,W,C].

    32 groups, or the largest common divisor where the channels are no multiple of 32. With `scale` and `shift`
    [B,C] the result is y (1 + scale) + shift. Statistics are taken of pixels first and of a group's channels
    after, and everything that follows is one factor and one summand a channel: on a CPU four times as fast as
    flax.linen's, to rounding the same. Source: Wu and He 2018, equation 7.
    """

    dtype: jnp.dtype = jnp.float32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: jax.Array, scale: jax.Array | None = None, shift: jax.Array | None = None
    ) -> jax.Array:
        batch, *_, channels = x.shape
        groups = math.gcd(32, channels)
        weight = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", zero_init, (channels,))
        pixels = x.reshape(batch, -1, channels).astype(jnp.float32)

        def group_mean(values: jax.Array) -> jax.Array:
            return values.mean(axis=1).reshape(batch, groups, -1).mean(axis=-1)

        # As a product: an index c // size in the loop over pixels would keep XLA's CPU code from vectors.
        member = np.repeat(np.eye(groups, dtype=np.float32), channels // groups, axis=1)

        def to_channels(of_groups: jax.Array, weight: jax.Array | float) -> jax.Array:
            return jnp.matmul(of_groups, member * weight, precision="highest")[:, None]

        centred = pixels - to_channels(group_mean(pixels), 1.0)
        factor = to_channels(jax.lax.rsqrt(group_mean(jnp.square(centred)) + self.epsilon), weight)
        if scale is not None and shift is not None:
            factor, bias = factor * (1 + scale[:, None]), bias * (1 + scale[:, None]) + shift[:, None]
        return (centred * factor + bias).astype(self.dtype).reshape(x.shape)


def pointwise(image: jax.Array, kernel: jax.Array, *_, **settings) -> jax.Array:
    """A 1x1 `lax.conv_general_dilated` as the matrix product it is: on a CPU 1.4 to 2.3 times as fast."""
    return jnp.matmul(image, kernel[0, 0], precision=settings.get("precision"))


class EmbeddingMLP(nn.Module):
    """Linear, SiLU, linear: [B,F] -> [B,features]. Float32, as bfloat16 cannot tell 1000 steps apart."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = nn.Dense(self.features, kernel_init=uniform_init, dtype=jnp.float32, name="hidden")(x)
        return nn.Dense(self.features, kernel_init=uniform_init, dtype=jnp.float32, name="final")(
            nn.silu(hidden)
        )


class ResidualBlock(nn.Module):
    """Residual block whose second normalisation is scaled and shifted by the embedding.

    x[B,H,W,C], embedding[B,F] -> [B,H',W',channels]. `resample` (`downsample`, `upsample` or None) acts on
    both branches, before the first convolution. `convolve` stands for `lax.conv_general_dilated` in the 3x3
    convolutions. A `dropout` above 0 needs the rng "dropout" in training.
    Source: Dhariwal and Nichol 2021, section 3 (adaptive group normalisation, BigGAN resampling).
    """

    channels: int
    resample: Callable[[jax.Array], jax.Array] | None = None
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32
    convolve: Callable = jax.lax.conv_general_dilated

    @nn.compact
    def __call__(self, x: jax.Array, embedding: jax.Array, train: bool = False) -> jax.Array:
        h = nn.silu(GroupNorm(self.dtype, name="in_norm")(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self._conv3("in_conv", uniform_init)(h)

        modulation = nn.Dense(
            2 * self.channels, kernel_init=uniform_init, dtype=self.dtype, name="modulation"
        )
        scale, shift = jnp.split(modulation(nn.silu(embedding)).astype(jnp.float32), 2, axis=-1)
        h = nn.silu(GroupNorm(self.dtype, name="out_norm")(h, scale, shift))
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        h = self._conv3("out_conv", zero_init)(h)

        if x.shape[-1] != self.channels:
            x = nn.Conv(
                self.channels, (1, 1), kernel_init=uniform_init, dtype=self.dtype,
                conv_general_dilated=pointwise, name="skip",
            )(x)  # fmt: skip
        return x + h

    def _conv3(self, name: str, kernel_init: Callable) -> nn.Conv:
        return nn.Conv(
            self.channels, (3, 3), padding=1, kernel_init=kernel_init, dtype=self.dtype,
            conv_general_dilated=self.convolve, name=name,
        )  # fmt: skip


def head_width(channels: int, head_channels: int) -> int:
    """Channels of an attention head: `head_channels`, or all where there are fewer.

    Raises:
      UsageError: `channels` is above `head_channels` and no multiple of it.
    """
    width = min(head_channels, channels)
    if channels % width:
        raise UsageError(f"attention: {channels} channels cannot be cut into heads of {width}")
    return width


class SelfAttention(nn.Module):
    """Residual self-attention over all positions: [B,H,W,C] -> [B,H,W,C].

    Heads of `head_channels`; narrower inputs get one head. Softmax in float32. The published scale of
    head_channels**-1/4 on both q and k is the usual head_channels**-1/2 on their product. Source: Dhariwal
    and Nichol 2021, section 3.

    Raises:
      UsageError: C is above `head_channels` and no multiple of it.
    """

    head_channels: int = 64
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        tokens = GroupNorm(self.dtype, name="norm")(x).reshape(batch, height * width, channels)
        qkv = nn.Dense(3 * channels, kernel_init=uniform_init, dtype=self.dtype, name="qkv")(tokens)
        heads = qkv.reshape(batch, height * width, -1, head_width(channels, self.head_channels))
        q, k, v = jnp.split(heads, 3, axis=2)
        mixed = jax.nn.dot_product_attention(q, k, v).reshape(tokens.shape)
        projected = nn.Dense(channels, kernel_init=zero_init, dtype=self.dtype, name="proj_out")(mixed)
        return x + projected.reshape(x.shape)
