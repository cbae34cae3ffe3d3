"""The paper's model: cDDPM with scale-shift conditioning, its encoder pretrained by configs/spark.py.

cdm train --config=configs/cddpm.py --config.data.root=DATA --config.encoder.init=runs/spark --workdir=runs/cddpm

Cost: 443 GFLOP a slice and step, 2.0e17 in all (counted); 8.6 minutes on one H200 at
half of 790 bfloat16 TFLOP/s (assumed, not measured), in float32 a multiple of that;
--config.model.dtype=bfloat16 is the published mixed precision.
To reach (Behrendt et al. 2025): Dice above the best earlier method by 11.9 % on BraTS21, 20.0 % on ATLAS v2 and
44.6 % on MSLUB, level with it on WMH. Without encoder.init this is the ablation "encoder from scratch".
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    config = vary(default.get_config(), "cddpm")
    config.data.dataset = "ixi"
    return config
