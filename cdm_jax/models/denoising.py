"""How does a UNet that is told no step remove noise from an image?"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cdm_jax.models.autoencoder import conv, level_widths, norm, require_multiples_of, transposed_conv
from cdm_jax.models.layers import downsample


class DenoisingUNet(nn.Module):
    """UNet with skip connections, one channel in and out.

    Attributes:
      channels: at full resolution, before the multiplier.
      multipliers: of the channels, one a level; each level halves the resolution of the one before.
      dtype: of the computation; parameters, normalisation and the output are float32.

    Depth, widths, average pooling, transposed 2x2 convolutions, GroupNorm and SiLU are those of Kascenas et al.
    2022 and their code. Not as there: zero padding for reflection, plain kernels for standardised
    ones, SiLU after the normalisation (a lower loss on the demo cohort) for SiLU before it.
    """

    channels: int = 64
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False) -> jax.Array:
        """image[B,H,W,1], noised or clean -> image_hat[B,H,W,1], float32; training changes nothing here.

        Raises:
          UsageError: H or W is no multiple of the coarsest level's factor.
        """
        *finer, coarsest = level_widths(self.channels, self.multipliers)
        require_multiples_of(2 ** len(finer), image)
        h, skips = image, []
        for level, width in enumerate(finer):
            h = self._block(h, width, f"down_{level}")
            skips.append(h)
            h = downsample(h)
        h = self._block(h, coarsest, "middle")
        for level, width in reversed(list(enumerate(finer))):
            h = transposed_conv(width, 2, self.dtype, f"up_{level}")(h)
            h = self._block(jnp.concatenate([h, skips.pop()], axis=-1), width, f"up_{level}")
        # In float32: the anomaly map is a small difference of images.
        return conv(1, 1, jnp.float32, "head")(h)

    def reconstruct(self, image: jax.Array) -> jax.Array:
        """image_hat[B,H,W,1] of image[B,H,W,1] in [0, 1], to which no noise is added (Kascenas et al. 2022)."""
        return self(image)

    def _block(self, h: jax.Array, width: int, name: str) -> jax.Array:
        """Twice convolution, GroupNorm, SiLU: [B,H,W,C] -> [B,H,W,width]."""
        for i in range(2):
            h = conv(width, 3, self.dtype, f"{name}_conv{i}")(h)
            h = nn.silu(norm(h, self.dtype, f"{name}_norm{i}"))
        return h
