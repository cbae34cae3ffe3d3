"""Ablation: the network predicts the noise in place of the clean image.

cdm train --config=configs/cddpm_eps.py --config.data.root=DATA --workdir=runs/cddpm_eps

Cost: as configs/cddpm.py, 2.0e17 FLOP. The published code reconstructs from it without dividing by the signal; that
slip is --config.diffusion.prediction=eps_published.
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    config = vary(default.get_config(), "cddpm_eps")
    config.data.dataset = "ixi"
    return config
