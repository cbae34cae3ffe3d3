"""The unconditional DDPM.

cdm train --config=configs/ddpm.py --config.data.root=DATA --workdir=runs/ddpm

Cost: 439 GFLOP a slice and step, 2.7e17 in all (1600 epochs; counted); 11.4 minutes on one H200
at half of 790 bfloat16 TFLOP/s (assumed, not measured).
To reach: what cDDPM is compared with; see configs/cddpm.py for the distances.
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    config = vary(default.get_config(), "ddpm")
    config.data.dataset = "ixi"
    config.train.steps = 19_200  # 1600 epochs
    return config
