"""How do the encoder and the UNet make the conditioned denoiser?"""

import flax.linen as nn
import jax

from cdm_jax.models.unet import UNet


class CDDPM(nn.Module):
    """Denoising UNet conditioned on the clean image through an encoder, trained jointly.

    Attributes:
      unet: the denoiser; its `cond_features` equals the encoder's `features` (None without an encoder).
      encoder: image[B,H,W,1], train -> cond[B,E]; None makes the unconditional DDPM.

    Source: Behrendt et al. 2025 (arXiv 2312.04215).
    """

    unet: UNet
    encoder: nn.Module | None = None

    def encode(self, x0_unit: jax.Array, train: bool = False) -> jax.Array | None:
        """Condition of the clean image: x0_unit[B,H,W,1] in [0, 1] -> cond[B,E]; None without an encoder."""
        return None if self.encoder is None else self.encoder(x0_unit, train)

    def predict(
        self, x_t: jax.Array, t: jax.Array, cond: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """The UNet's raw prediction: x_t[B,H,W,1] in [-1, 1] scale, t[B], cond[B,E] or None -> [B,H,W,1]."""
        return self.unet(x_t, t, cond, train)

    def __call__(self, image_unit: jax.Array, x_t: jax.Array, t: jax.Array, train: bool = False) -> jax.Array:
        """Encode the clean image, then predict from the noised one: -> [B,H,W,1], float32."""
        return self.predict(x_t, t, self.encode(image_unit, train), train)
