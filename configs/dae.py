"""Baseline: the denoising autoencoder with coarse noise (Kascenas et al. 2022).

cdm train --config=configs/dae.py --config.data.root=DATA --workdir=runs/dae

Cost: 30 GFLOP a slice and step, 1.4e16 in all (counted, not timed).
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    config = vary(default.get_config(), "dae")
    config.data.dataset = "ixi"
    config.autoencoder.update(channels=64, multipliers=(1, 2, 4, 8))
    return config
