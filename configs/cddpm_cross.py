"""Ablation: the condition enters by cross-attention in place of scale-shift.

cdm train --config=configs/cddpm_cross.py --config.data.root=DATA --workdir=runs/cddpm_cross

Cost: 447 GFLOP a slice and step, 2.1e17 in all (counted); 8.7 minutes on one H200 at
half of 790 bfloat16 TFLOP/s (assumed, not measured).
The published code cannot run this option, so there is no number to reach.
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    config = vary(default.get_config(), "cddpm_cross")
    config.data.dataset = "ixi"
    return config
