"""How do positions of an image attend to each other, then to the condition?"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cdm_jax.models.layers import GroupNorm, head_width, pointwise, uniform_init, zero_init


class Attention(nn.Module):
    """Multi-head attention of x[B,N,C] to tokens[B,M,E]: -> [B,N,C]. Softmax in float32.

    Heads of `head_channels`; narrower inputs get one head. Source: Vaswani et al. 2017, section 3.2.

    Raises:
      UsageError: C is above `head_channels` and no multiple of it.
    """

    head_channels: int = 64
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        width = head_width(channels, self.head_channels)

        def heads(name: str, inputs: jax.Array) -> jax.Array:
            projected = dense(channels, self.dtype, name, use_bias=False)(inputs)
            return projected.reshape(*inputs.shape[:2], -1, width)

        # The softmax over a single token is 1, whatever to_q and to_k are: their gradients are then zero.
        mixed = jax.nn.dot_product_attention(heads("to_q", x), heads("to_k", tokens), heads("to_v", tokens))
        return dense(channels, self.dtype, "to_out")(mixed.reshape(x.shape))


class FeedForward(nn.Module):
    """Gated feed-forward layer, four times as wide inside: [B,N,C] -> [B,N,C].

    narrow(a * GELU(b)) with (a, b) = widen(x). Source: Shazeer 2020, equation 6 (GEGLU).
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        values, gates = jnp.split(dense(8 * channels, self.dtype, "widen")(x), 2, axis=-1)
        return dense(channels, self.dtype, "narrow")(values * nn.gelu(gates, approximate=False))


class TransformerBlock(nn.Module):
    """Self-attention, attention to tokens[B,M,E], feed-forward, each residual: x[B,N,C] -> [B,N,C]."""

    head_channels: int = 64
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name=name)

        h = norm("norm1")(x)
        x = x + Attention(self.head_channels, self.dtype, name="attn1")(h, h)
        x = x + Attention(self.head_channels, self.dtype, name="attn2")(norm("norm2")(x), tokens)
        return x + FeedForward(self.dtype, name="ff")(norm("norm3")(x))


class SpatialTransformer(nn.Module):
    """Residual transformer block over all positions: x[B,H,W,C], tokens[B,M,E] -> [B,H,W,C].

    Source: Rombach et al. 2022, section 3.3 and appendix E.2.1.

    Raises:
      UsageError: C is above `head_channels` and no multiple of it.
    """

    head_channels: int = 64
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape

        def conv1(name: str, kernel_init) -> nn.Conv:
            return nn.Conv(
                channels, (1, 1), kernel_init=kernel_init, dtype=self.dtype,
                conv_general_dilated=pointwise, name=name,
            )  # fmt: skip

        h = conv1("proj_in", uniform_init)(GroupNorm(self.dtype, epsilon=1e-6, name="norm")(x))
        h = h.reshape(batch, height * width, channels)
        h = TransformerBlock(self.head_channels, self.dtype, name="transformer_blocks_0")(h, tokens)
        return x + conv1("proj_out", zero_init)(h.reshape(x.shape))


def dense(features: int, dtype: jnp.dtype, name: str, use_bias: bool = True) -> nn.Dense:
    """Linear layer with the published initial weights."""
    return nn.Dense(features, use_bias=use_bias, kernel_init=uniform_init, dtype=dtype, name=name)
