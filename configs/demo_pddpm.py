"""The patched twin of configs/demo.py, small as that is:

cdm train --config=configs/demo_pddpm.py --config.data.root=demo_out/cohort --workdir=demo_out/run_pddpm
"""

from cdm_jax.configs import demo
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    return vary(demo.get_config(), "pddpm")
