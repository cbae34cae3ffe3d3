"""How does the denoising UNet turn a noised image, its step and a condition into a prediction?"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from cdm_jax.errors import UsageError, choose
from cdm_jax.models.layers import (
    EmbeddingMLP,
    GroupNorm,
    ResidualBlock,
    SelfAttention,
    downsample,
    timestep_embedding,
    uniform_init,
    upsample,
    zero_init,
)
from cdm_jax.models.transformer import SpatialTransformer

CONDITIONING = {"scale_shift": (True, False), "cross_attention": (False, True), "both": (True, True)}
"""How the condition acts: (beside the time in scale and shift, as a token that all positions attend to)."""


class UNet(nn.Module):
    """UNet of the guided-diffusion family, one channel in and out.

    Attributes:
      base_channels: channels at full resolution, before the multiplier.
      multipliers: of the channels, one a level; each level halves the resolution of the one before.
      blocks: residual blocks a level (one more on the way up).
      attention_levels: downsampling factors (1, 2, 4, ...) with attention after each residual block. The
        published (3, 6, 12) match no level, which leaves the one in the middle.
      head_channels: channels an attention head.
      cond_features: E, length of the condition vector; None for an unconditional model.
      conditioning: a key of `CONDITIONING`, without effect in an unconditional model. With "cross_attention"
        or "both" a spatial transformer stands in place of every self-attention.
      dropout: rate inside the residual blocks; needs the rng "dropout" in training when above 0.
      convolve: a value of `CONVOLUTIONS`, for the residual blocks.
      remat: keep only what enters each block, and compute its inside again on the way back (Chen et al. 2016).
      dtype: of the computation; parameters, normalisation, softmax and the output are float32.

    Source: Dhariwal and Nichol 2021, section 3; condition as in Behrendt et al. 2025 (arXiv 2312.04215).
    """

    base_channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 3
    attention_levels: tuple[int, ...] = (3, 6, 12)
    head_channels: int = 64
    cond_features: int | None = None
    conditioning: str = "scale_shift"
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32
    convolve: Callable = jax.lax.conv_general_dilated
    remat: bool = False

    @nn.compact
    def __call__(
        self, x_t: jax.Array, t: jax.Array, cond: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """x_t[B,H,W,1], t[B] (steps, from 0), cond[B,E] or None -> prediction[B,H,W,1], float32.

        Raises:
          UsageError: H or W is no multiple of the coarsest level's factor, the condition is missing,
            unexpected or of another length, or `conditioning` is unknown.
        """
        self._check(x_t, cond)
        modulates, is_token = choose(CONDITIONING, self.conditioning, "conditioning")
        embedding = self._embed(t, cond if modulates else None)
        tokens = cond[:, None] if cond is not None and is_token else None
        channels = [self.base_channels * multiplier for multiplier in self.multipliers]
        h = nn.Conv(
            channels[0], (3, 3), padding=1, kernel_init=uniform_init, dtype=self.dtype, name="input_0_0"
        )(x_t)
        skips = self._down(h, embedding, tokens, channels, train)
        h = self._middle(skips[-1], embedding, tokens, train)
        h = self._up(h, skips, embedding, tokens, channels, train)
        # Last layers in float32: the anomaly map is a small difference of images.
        h = nn.silu(GroupNorm(name="head_norm")(h))
        return nn.Conv(1, (3, 3), padding=1, kernel_init=zero_init, dtype=jnp.float32, name="head_conv")(h)

    def _embed(self, t: jax.Array, cond: jax.Array | None) -> jax.Array:
        """Time embedding, followed by the condition's where there is one: [B,F] or [B,2F], F = 4 base."""
        features = 4 * self.base_channels
        time = EmbeddingMLP(features, name="time_embed")(timestep_embedding(t, self.base_channels))
        if cond is None:
            return time
        return jnp.concatenate([time, EmbeddingMLP(features, name="cond_embed")(cond)], axis=-1)

    def _down(self, h, embedding, tokens, channels, train) -> list[jax.Array]:
        """Every activation on the way down, finest first; the last is the coarsest level's output."""
        skips = [h]
        for level, width in enumerate(channels):
            for _ in range(self.blocks):
                name = f"input_{len(skips)}"
                h = self._residual(width, f"{name}_0")(h, embedding, train)
                if 2**level in self.attention_levels:
                    h = self._attend(h, tokens, f"{name}_1")
                skips.append(h)
            if level < len(channels) - 1:
                h = self._residual(width, f"input_{len(skips)}_0", downsample)(h, embedding, train)
                skips.append(h)
        return skips

    def _middle(self, h, embedding, tokens, train) -> jax.Array:
        width = h.shape[-1]
        h = self._residual(width, "middle_0")(h, embedding, train)
        h = self._attend(h, tokens, "middle_1")
        return self._residual(width, "middle_2")(h, embedding, train)

    def _up(self, h, skips, embedding, tokens, channels, train) -> jax.Array:
        """Back to full resolution; every block also sees one activation of the way down, coarsest first."""
        remaining = list(skips)
        for level, width in reversed(list(enumerate(channels))):
            attends = 2**level in self.attention_levels
            for block in range(self.blocks + 1):
                name = f"output_{len(skips) - len(remaining)}"
                h = jnp.concatenate([h, remaining.pop()], axis=-1)
                h = self._residual(width, f"{name}_0")(h, embedding, train)
                if attends:
                    h = self._attend(h, tokens, f"{name}_1")
                if level > 0 and block == self.blocks:
                    h = self._residual(width, f"{name}_{1 + attends}", upsample)(h, embedding, train)
        return h

    def _residual(self, channels: int, name: str, resample=None) -> ResidualBlock:
        block = nn.remat(ResidualBlock, static_argnums=(3,)) if self.remat else ResidualBlock  # 3: train
        return block(channels, resample, self.dropout, self.dtype, self.convolve, name=name)

    def _attend(self, h: jax.Array, tokens: jax.Array | None, name: str) -> jax.Array:
        """The one place that decides which kind of attention stands between the residual blocks."""
        if tokens is None:
            return SelfAttention(self.head_channels, self.dtype, name=name)(h)
        return SpatialTransformer(self.head_channels, self.dtype, name=name)(h, tokens)

    def _check(self, x_t: jax.Array, cond: jax.Array | None) -> None:
        factor = 2 ** (len(self.multipliers) - 1)
        if x_t.shape[1] % factor or x_t.shape[2] % factor:
            raise UsageError(f"UNet: height and width must be multiples of {factor}, not {x_t.shape[1:3]}")
        given = None if cond is None else cond.shape[-1]
        if given != self.cond_features:
            raise UsageError(f"UNet: built for a condition of length {self.cond_features}, given {given}")
