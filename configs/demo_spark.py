"""Pretraining for configs/demo.py, small as that is:

cdm pretrain --config=configs/demo_spark.py --config.data.root=demo_out/cohort --workdir=demo_out/spark
cdm train --config=configs/demo.py --config.data.root=demo_out/cohort --config.encoder.init=demo_out/spark \\
  --workdir=demo_out/run_pretrained
"""

from cdm_jax.configs import demo
from ml_collections import ConfigDict

from cdm_jax.variants import vary


def get_config() -> ConfigDict:
    return vary(demo.get_config(), "spark")
