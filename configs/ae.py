"""Baseline: the autoencoder with a dense bottleneck.

cdm train --config=configs/ae.py --config.data.root=DATA --workdir=runs/ae

Cost: 2.0 GFLOP a slice and step, 9.4e14 in all (counted, not timed): bound by the feeding of slices.
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    config = vary(default.get_config(), "ae")
    config.data.dataset = "ixi"
    return config
