"""How does SparK fill in the hidden patches of an image?"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cdm_jax.errors import UsageError
from cdm_jax.models.batch_norm import BatchNorm, mask_at
from cdm_jax.models.convnext import ConvNeXt, layer_norm
from cdm_jax.models.layers import uniform_init
from cdm_jax.models.resnet import conv
from cdm_jax.models.spark_decoder import LightDecoder

PATCH = 32  # pixels on a side: what one position of the coarsest stage stands for
token_init = nn.initializers.truncated_normal(0.02)


class SparK(nn.Module):
    """Masked autoencoder that pretrains an encoder: from the visible patches it predicts all pixels.

    Attributes:
      encoder: a ResNet or ConvNeXt with `features=None`; its variables are those of the same encoder with a
        head, which are absent here.
      width: channels of the decoder at the coarsest level, halved at each finer one; a multiple of 32.
      dtype: of the computation; parameters, statistics and the output are float32.

    Source: Tian et al. 2023, section 3.
    """

    encoder: nn.Module
    width: int = 512
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, active: jax.Array, train: bool = False) -> jax.Array:
        """image[B,H,W,1] in [0, 1], active bool [B,H/32,W/32] (visible) -> reconstruction[B,H,W,1], float32.

        Raises:
          UsageError: H or W is no multiple of 32 (see `to_multiple`), or `width` is none.
        """
        height, width = image.shape[1:3]
        if height % PATCH or width % PATCH:
            raise UsageError(f"SparK: {height}x{width} pixels cannot be cut into patches of {PATCH}x{PATCH}")
        if self.width % PATCH:
            raise UsageError(f"SparK: a decoder of {self.width} channels; give a multiple of {PATCH}")
        coarsest_first = self.encoder(image, train, active)[::-1]
        levels = [self._densify(i, level, active, train) for i, level in enumerate(coarsest_first)]
        return LightDecoder(self.dtype, name="decoder")(levels, train)

    def latent(self, image: jax.Array, active: jax.Array, train: bool = False) -> jax.Array:
        """The coarsest stage, averaged over all positions, hidden ones as 0: -> [B,C], float32."""
        return jnp.mean(self.encoder(image, train, active)[-1], axis=(1, 2), dtype=jnp.float32)

    def _densify(self, i: int, level: jax.Array, active: jax.Array, train: bool) -> jax.Array:
        """Normalise what is visible, put the mask token where nothing is, project: [B,h,w,C] -> [B,h,w,width/2^i].

        The normalisation is the encoder's. A coarsest level that already has the decoder's width stays as it is.
        """
        channels = self.width // 2**i
        if isinstance(self.encoder, ConvNeXt):
            normed = layer_norm(self.dtype, name=f"densify_norm_{i}")(level)
        else:
            normed = BatchNorm(dtype=self.dtype, name=f"densify_norm_{i}")(level, train, active)
        token = self.param(f"mask_token_{i}", token_init, (1, 1, 1, level.shape[-1]))
        filled = jnp.where(mask_at(active, level), normed, token.astype(self.dtype))
        if i == 0 and channels == level.shape[-1]:
            return filled
        kernel = 1 if i == 0 else 3
        return conv(channels, kernel, 1, self.dtype, f"densify_proj_{i}", uniform_init, use_bias=True)(filled)


def to_multiple(image: jax.Array) -> jax.Array:
    """image[B,H,W,C] in the middle of zeros: H and W become multiples of 32, of two patches or more.

    Two at least, so that one can be hidden while another is visible. Every patch then holds pixels of the
    image.
    """
    margins = [_margins(side) for side in image.shape[1:3]]
    return jnp.pad(image, ((0, 0), *margins, (0, 0)))


def crop(padded: jax.Array, height: int, width: int) -> jax.Array:
    """The inverse of `to_multiple`: [B,H',W',C] -> [B,height,width,C]."""
    top, left = _margins(height)[0], _margins(width)[0]
    return padded[:, top : top + height, left : left + width]


def _margins(side: int) -> tuple[int, int]:
    extra = PATCH * max(2, -(-side // PATCH)) - side
    return extra // 2, extra - extra // 2
