"""Which samplers there are: sample(denoise, schedule, noise, key, x0, **settings) -> x0_hat."""

from functools import partial

from cdm_jax.samplers.ddim import ddim
from cdm_jax.samplers.ddim_encode import ddim_encode
from cdm_jax.samplers.ddpm import ddpm
from cdm_jax.samplers.dpm_solver import dpm_solver
from cdm_jax.samplers.ensemble import ensemble
from cdm_jax.samplers.heun import heun
from cdm_jax.samplers.single_step import single_step

MEMBERS = {
    "ddim": ddim,
    "ddim_encode": ddim_encode,
    "ddpm": ddpm,
    "dpm_solver": dpm_solver,
    "heun": heun,
    "single_step": single_step,
}
"""Samplers from one noise level: they take `t_start` and `trajectory`, and an ensemble may average them."""

SAMPLERS = MEMBERS | {"ensemble": partial(ensemble, MEMBERS)}
