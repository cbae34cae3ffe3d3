"""The patched DDPM (Behrendt et al. 2023): noised and scored in one box at a time.

cdm train --config=configs/pddpm.py --config.data.root=DATA --workdir=runs/pddpm

Cost: 439 GFLOP a slice and step, 2.7e17 in all (1600 epochs; counted); 11.4 minutes on one H200
at half of 790 bfloat16 TFLOP/s (assumed, not measured).
To reach: users' own runs of it on BraTS21 (T2) report a Dice of 0.41-0.42 and an AUPRC of 0.46.
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    config = vary(default.get_config(), "pddpm")
    config.data.dataset = "ixi"
    config.train.steps = 19_200  # 1600 epochs
    config.sampler.update(name="single_step", t_start=500)
    return config
