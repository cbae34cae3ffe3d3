"""The unconditional twin of configs/demo.py: `cdm demo --full`, or by hand

cdm train --config=configs/demo_ddpm.py --config.data.root=demo_out/cohort --workdir=demo_out/run_ddpm
"""

from cdm_jax.configs import demo
from cdm_jax.configs.variants import vary
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return vary(demo.get_config(), "ddpm")
