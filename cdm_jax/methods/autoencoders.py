"""How are the methods without diffusion built: AE, VAE, denoising AE?"""

from ml_collections import ConfigDict

from cdm_jax import build
from cdm_jax.errors import UsageError
from cdm_jax.methods.method import Method
from cdm_jax.models.autoencoder import Autoencoder
from cdm_jax.models.denoising import DenoisingUNet
from cdm_jax.models.vae import VAE
from cdm_jax.objectives import OBJECTIVES
from cdm_jax.reconstruct import make_direct


def autoencoder(title: str, objective: str, module: type) -> Method:
    """The method of a module whose attributes, and an objective whose settings, are keys of `config.autoencoder`."""

    def network(config: ConfigDict):
        if config.train.remat:
            raise UsageError(f"config.train.remat: {title} has no blocks to compute again; leave it False")
        return module(**build.accepted(module, config.autoencoder), dtype=build.dtype(config))

    def settings(config: ConfigDict) -> dict:
        return build.accepted(OBJECTIVES[objective], config.autoencoder)

    return Method(
        lambda config: title, network, inputs, settings, lambda config, network: make_direct(network)
    )


def inputs(image, t):
    return (image,)


AUTOENCODERS: dict[str, Method] = {
    "ae": autoencoder("AE", "ae", Autoencoder),
    "vae": autoencoder("VAE", "vae", VAE),
    "dae": autoencoder("DAE", "dae", DenoisingUNet),
}
