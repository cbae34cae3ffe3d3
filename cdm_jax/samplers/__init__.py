"""Which samplers there are: sample(denoise, schedule, noise, key, x0, **settings) -> x0_hat."""

from cdm_jax.samplers.ensemble import ensemble
from cdm_jax.samplers.single_step import single_step

SAMPLERS = {"ensemble": ensemble, "single_step": single_step}
