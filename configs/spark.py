"""Masked pretraining of the encoder (SparK), which configs/cddpm.py starts from.

cdm pretrain --config=configs/spark.py --config.data.root=DATA --workdir=runs/spark

Cost: 11 GFLOP a slice and step, 5.1e15 in all (counted); 0.2 minutes on one H200 at half of
790 bfloat16 TFLOP/s (assumed, not measured), so that it is bound by memory and by the feeding of slices.
To reach: what it is worth shows in the cDDPM that starts from it.
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    config = vary(default.get_config(), "spark")
    config.data.dataset = "ixi"
    # Published pretraining does not augment.
    config.augment.update(gamma=0.0, bias_field=0.0, blur=0.0, ghosting=0.0)
    return config
