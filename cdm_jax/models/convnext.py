"""How does a ConvNeXt turn an image into one vector?"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cdm_jax.models.batch_norm import hide
from cdm_jax.models.resnet import stochastic_depth

normal_init = nn.initializers.truncated_normal(0.02)


class Block(nn.Module):
    """Residual block of a 7x7 convolution of each channel, then a two-layer perceptron: [B,H,W,C] -> same."""

    drop_path: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, active: jax.Array | None = None) -> jax.Array:
        channels = x.shape[-1]
        h = nn.Conv(
            channels, (7, 7), padding=3, feature_group_count=channels, kernel_init=normal_init,
            dtype=self.dtype, name="conv_dw",
        )(x)  # fmt: skip
        h = layer_norm(self.dtype, name="norm")(h)
        h = nn.gelu(linear(4 * channels, self.dtype, name="mlp_fc1")(h), approximate=False)
        h = linear(channels, self.dtype, name="mlp_fc2")(h)
        h = h * self.param("gamma", nn.initializers.constant(1e-6), (channels,)).astype(self.dtype)
        if train and self.drop_path > 0:
            h = stochastic_depth(h, self.drop_path, self.make_rng("drop_path"))
        return x + hide(h, active)


class Head(nn.Module):
    """Linear map of the normalised average: [B,C] -> [B,features], float32."""

    features: int

    @nn.compact
    def __call__(self, pooled: jax.Array) -> jax.Array:
        return linear(self.features, jnp.float32, name="fc")(layer_norm(jnp.float32, name="norm")(pooled))


class ConvNeXt(nn.Module):
    """ConvNeXt of one input channel with a linear head on the global average.

    Attributes:
      features: E, length of the output; None: no head, the output is the pyramid of all stages.
      depths: blocks of each stage; every stage but the first begins by halving the resolution.
      width: channels of the first stage, doubled at every further one; 96 in the paper's ConvNeXt-T.
      drop_path: stochastic depth of the last block, growing linearly from 0 at the first; needs the rng
        "drop_path" in training when above 0.
      dtype: of the computation; parameters, statistics and the output are float32.
      remat: keep only what enters each block, and compute its inside again on the way back (Chen et al. 2016).

    Source: Liu et al. 2022, section 2 and table 9; Tian et al. 2023, section 3 (hidden patches).
    """

    features: int | None
    depths: tuple[int, ...] = (3, 3, 9, 3)
    width: int = 96
    drop_path: float = 0.0
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, image: jax.Array, train: bool = False, active: jax.Array | None = None
    ) -> jax.Array | list[jax.Array]:
        """image[B,H,W,1] in [0, 1] -> cond[B,E], float32; without a head the stages' outputs, finest first.

        `active` bool [B,H/32,W/32] or [B,H/32,W/32,1] marks the visible patches, None all; H and W are then
        multiples of 32, and hidden positions are 0 in the pyramid.
        """
        h, pyramid = image, []
        for stage in range(len(self.depths)):
            h = hide(self._coarser(h, stage), active)
            h = self._stage(h, stage, train, active)
            pyramid.append(h)
        if self.features is None:
            return pyramid
        return Head(self.features, name="head")(jnp.mean(h, axis=(1, 2), dtype=jnp.float32))

    def _coarser(self, h: jax.Array, stage: int) -> jax.Array:
        """[B,H,W,C] -> [B,H/4,W/4,width] before the first stage, else [B,H/2,W/2,2C].

        Patches of 4x4 or 2x2 pixels lie in one patch of the mask: what is hidden cannot reach what is visible.
        """
        if stage == 0:
            h = patch_conv(self.width, 4, self.dtype, name="stem_conv")(h)
            return layer_norm(self.dtype, name="stem_norm")(h)
        h = layer_norm(self.dtype, name=f"stage{stage}_norm")(h)
        return patch_conv(self.width * 2**stage, 2, self.dtype, name=f"stage{stage}_conv")(h)

    def _stage(self, h: jax.Array, stage: int, train: bool, active: jax.Array | None) -> jax.Array:
        """All blocks of one stage, named stage0_0, stage0_1, ..."""
        before, last = sum(self.depths[:stage]), max(sum(self.depths) - 1, 1)
        for i in range(self.depths[stage]):
            rate = self.drop_path * (before + i) / last
            kind = nn.remat(Block, static_argnums=(2,)) if self.remat else Block  # 2: train
            h = kind(rate, self.dtype, name=f"stage{stage}_{i}")(h, train, active)
        return h


def layer_norm(dtype: jnp.dtype, name: str) -> nn.LayerNorm:
    """Normalisation of each position over its channels, eps 1e-6, statistics in float32."""
    return nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name)


def linear(features: int, dtype: jnp.dtype, name: str) -> nn.Dense:
    return nn.Dense(features, kernel_init=normal_init, dtype=dtype, name=name)


def patch_conv(channels: int, size: int, dtype: jnp.dtype, name: str) -> nn.Conv:
    """Convolution of patches that do not overlap; a last one that the image does not fill ends in zeros."""
    return nn.Conv(
        channels, (size, size), strides=size, kernel_init=normal_init, conv_general_dilated=patchwise,
        dtype=dtype, name=name,
    )  # fmt: skip


def patchwise(image: jax.Array, kernel: jax.Array, *_, **settings) -> jax.Array:
    """`lax.conv_general_dilated` whose stride is its size, as the matrix product that it is."""
    batch, height, width, channels = image.shape
    size = kernel.shape[0]
    padded = jnp.pad(image, ((0, 0), (0, -height % size), (0, -width % size), (0, 0)))
    cut = padded.reshape(batch, -(-height // size), size, -(-width // size), size, channels)
    patches = cut.swapaxes(2, 3).reshape(*cut.shape[:2], cut.shape[3], size * size * channels)
    return jnp.matmul(patches, kernel.reshape(-1, kernel.shape[-1]), precision=settings.get("precision"))
