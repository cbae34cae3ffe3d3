"""Ablation: Gaussian noise in place of simplex noise.

cdm train --config=configs/cddpm_gaussian.py --config.data.root=DATA --workdir=runs/cddpm_gaussian

Cost: as configs/cddpm.py, 2.0e17 FLOP. No number to reach is restated here; see docs/reproducing.md.
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    config = vary(default.get_config(), "cddpm_gaussian")
    config.data.dataset = "ixi"
    return config
