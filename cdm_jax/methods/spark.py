"""How is masked pretraining of an encoder built?"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cdm_jax import build
from cdm_jax.errors import UsageError
from cdm_jax.methods.method import Method
from cdm_jax.models.spark import PATCH, SparK, to_multiple
from cdm_jax.objectives.spark import make_inpaint
from cdm_jax.reconstruct import Reconstruct


def network(config: ConfigDict) -> SparK:
    if config.encoder.name == "none":
        raise UsageError("config.encoder.name: none; name the encoder to pretrain")
    return SparK(encoder=build.encoder(config, None), width=config.spark.width, dtype=build.dtype(config))


def inputs(image: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    padded = to_multiple(image)
    batch, height, width, _ = padded.shape
    return padded, jnp.ones((batch, height // PATCH, width // PATCH), bool)


def settings(config: ConfigDict) -> dict:
    return {"mask_ratio": config.spark.mask_ratio}


def reconstruct(config: ConfigDict, network: SparK) -> Reconstruct:
    """The image with its hidden patches predicted."""
    inpaint = make_inpaint(network, config.spark.mask_ratio)
    return lambda variables, key, image: inpaint(variables, key, image)[1]


def pictures(config: ConfigDict, network: SparK):
    inpaint = make_inpaint(network, config.spark.mask_ratio)

    def rows(variables, key, image) -> dict[str, jax.Array]:
        masked, image_hat = inpaint(variables, key, image)
        return {"masked input": masked, "reconstruction": image_hat, "target": image}

    return rows


SPARK_METHOD = Method(
    lambda config: "SparK",
    *(network, inputs, settings, reconstruct, pictures),
    detects=False,
)
