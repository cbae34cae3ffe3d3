"""The unconditional twin of configs/demo.py: `cdm demo --full`, or by hand

cdm train --config=configs/demo_ddpm.py --config.data.root=demo_out/cohort --workdir=demo_out/run_ddpm
"""

from cdm_jax.configs import demo
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    return vary(demo.get_config(), "ddpm")
