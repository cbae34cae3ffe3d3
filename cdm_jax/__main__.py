"""`python -m cdm_jax VERB` is `cdm VERB`."""

import sys

from cdm_jax.cli.main import entry

sys.exit(entry())
