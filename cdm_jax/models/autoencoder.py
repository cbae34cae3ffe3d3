"""How is an image squeezed into one short vector, from which it is drawn again?"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from cdm_jax.errors import UsageError
from cdm_jax.models.layers import pointwise, uniform_init

NARROW = 8  # times fewer channels between the convolutions and the dense layers
GROUP = 8  # channels normalised together


class Autoencoder(nn.Module):
    """Convolutional autoencoder with a dense bottleneck, one channel in and out, for images of one size.

    Attributes:
      channels: of the first level, before its multiplier.
      multipliers: of the channels, one a level; each level halves the resolution.
      latent: E, numbers in the bottleneck.
      dtype: of the convolutions; parameters, normalisation, the bottleneck and the output are float32.

    The unified architecture of Baur et al. 2021 (dense AE): 5x5 convolutions of stride 2, transposed ones on the
    way back, 1x1 convolutions to an eighth of the channels on both sides of the dense layers, linear output.
    There 128x128 pixels go down to 8x8 in levels of 32, 64, 128 and 128 channels; three levels suit both 96x96
    and 40x48. Not as there: GroupNorm and SiLU for BatchNorm and LeakyReLU, so that nothing depends on the rest
    of the batch, and no dropout.
    """

    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    latent: int = 128
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False) -> jax.Array:
        """image[B,H,W,1] in [0, 1] -> image_hat[B,H,W,1], float32; training changes nothing here.

        Raises:
          UsageError: H or W is no multiple of 2 to the power of the levels.
        """
        widths = level_widths(self.channels, self.multipliers)
        latent = dense(self.latent, "latent")(Encoder(widths, self.dtype, name="encoder")(image))
        return Decoder(widths, image.shape[1:3], self.dtype, name="decoder")(latent)

    def reconstruct(self, image: jax.Array) -> jax.Array:
        """image_hat[B,H,W,1] of image[B,H,W,1] in [0, 1]."""
        return self(image)


class Encoder(nn.Module):
    """Strided convolutions of `widths` channels, finest first: image[B,H,W,1] -> features[B,F], float32."""

    widths: tuple[int, ...]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        require_multiples_of(2 ** len(self.widths), image)
        h = image
        for level, width in enumerate(self.widths):
            h = conv(width, 5, self.dtype, f"conv_{level}", stride=2)(h)
            h = nn.silu(norm(h, self.dtype, f"norm_{level}"))
        h = conv(max(self.widths[-1] // NARROW, 1), 1, self.dtype, "narrow")(h)
        return h.reshape(h.shape[0], -1).astype(jnp.float32)


class Decoder(nn.Module):
    """Mirror image of the `Encoder`: latent[B,E] -> image_hat[B,*size,1], float32."""

    widths: tuple[int, ...]
    size: tuple[int, ...]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, latent: jax.Array) -> jax.Array:
        height, width = (side // 2 ** len(self.widths) for side in self.size)
        narrow = max(self.widths[-1] // NARROW, 1)
        h = dense(height * width * narrow, "features")(latent).reshape(-1, height, width, narrow)
        h = conv(self.widths[-1], 1, self.dtype, "widen")(h)
        h = nn.silu(norm(h, self.dtype, "norm_wide"))
        for level, channels in reversed(list(enumerate(self.widths))):
            h = transposed_conv(channels, 5, self.dtype, f"conv_{level}")(h)
            h = nn.silu(norm(h, self.dtype, f"norm_{level}"))
        # In float32: the anomaly map is a small difference of images.
        return conv(1, 1, jnp.float32, "head")(h)


def level_widths(channels: int, multipliers: tuple[int, ...]) -> tuple[int, ...]:
    """Channels of every level, finest first."""
    return tuple(channels * multiplier for multiplier in multipliers)


def require_multiples_of(factor: int, image: jax.Array) -> None:
    """Raise UsageError unless height and width of `image` [B,H,W,C] are multiples of `factor`."""
    height, width = image.shape[1:3]
    if height % factor or width % factor:
        raise UsageError(f"autoencoder: {height}x{width} pixels given, both must be multiples of {factor}")


def norm(h: jax.Array, dtype: jnp.dtype, name: str) -> jax.Array:
    """GroupNorm in groups of 8 channels, statistics in float32.

    Not the UNet's 32 groups: narrow networks would normalise every channel on its own, which takes an image's
    brightness from it.
    """
    groups = math.gcd(max(h.shape[-1] // GROUP, 1), h.shape[-1])
    return nn.GroupNorm(groups, epsilon=1e-5, use_fast_variance=False, dtype=dtype, name=name)(h)


def conv(channels: int, kernel: int, dtype: jnp.dtype, name: str, stride: int = 1) -> nn.Conv:
    return nn.Conv(
        channels, (kernel, kernel), strides=stride, kernel_init=uniform_init, dtype=dtype,
        conv_general_dilated=pointwise if kernel == 1 else None, name=name,
    )  # fmt: skip


def transposed_conv(channels: int, kernel: int, dtype: jnp.dtype, name: str) -> nn.ConvTranspose:
    """Doubles the resolution."""
    size = (kernel, kernel)
    return nn.ConvTranspose(channels, size, strides=(2, 2), kernel_init=uniform_init, dtype=dtype, name=name)


def dense(features: int, name: str) -> nn.Dense:
    """In float32, for every number here decides over the whole image."""
    return nn.Dense(features, kernel_init=uniform_init, dtype=jnp.float32, name=name)
