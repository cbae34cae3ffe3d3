"""What training minimises: objectives by name, all of one signature."""

from collections.abc import Callable

from cdm_jax.objectives.ae import ae
from cdm_jax.objectives.cddpm import cddpm
from cdm_jax.objectives.dae import dae
from cdm_jax.objectives.patched import patched
from cdm_jax.objectives.spark import spark
from cdm_jax.objectives.vae import vae

OBJECTIVES: dict[str, Callable] = {
    "cddpm": cddpm,
    "patched": patched,
    "spark": spark,
    "ae": ae,
    "vae": vae,
    "dae": dae,
}
