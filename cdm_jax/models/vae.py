"""How does the variational autoencoder turn an image into a distribution over short vectors?"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cdm_jax.models.autoencoder import Decoder, Encoder, dense, level_widths


class VAE(nn.Module):
    """The `Autoencoder` with a normal distribution in its bottleneck.

    Attributes: those of `Autoencoder`. Source: Kingma and Welling 2014, appendix C.2; Baur et al. 2021.
    """

    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    latent: int = 128
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, image: jax.Array, eps: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """image[B,H,W,1] in [0, 1], eps[B,E] or None -> (image_hat[B,H,W,1], mean[B,E], log_var[B,E]), float32.

        The latent is mean + exp(log_var / 2) eps, or the mean without eps: noise comes in from outside, so
        that it can belong to an image wherever that stands in a batch.

        Raises:
          UsageError: H or W is no multiple of 2 to the power of the levels.
        """
        widths = level_widths(self.channels, self.multipliers)
        features = Encoder(widths, self.dtype, name="encoder")(image)
        mean, log_var = dense(self.latent, "mean")(features), dense(self.latent, "log_var")(features)
        latent = mean if eps is None else mean + jnp.exp(log_var / 2) * eps
        return Decoder(widths, image.shape[1:3], self.dtype, name="decoder")(latent), mean, log_var

    def reconstruct(self, image: jax.Array) -> jax.Array:
        """image_hat[B,H,W,1] of image[B,H,W,1] in [0, 1], from the mean."""
        return self(image)[0]
