"""Which noises there are: noise(key[B], shape, **settings) -> eps[B,H,W,C]."""

from cdm_jax.noise.coarse import coarse
from cdm_jax.noise.gaussian import gaussian
from cdm_jax.noise.keys import image_keys, keys_by_id
from cdm_jax.noise.simplex import simplex

NOISES = {"coarse": coarse, "gaussian": gaussian, "simplex": simplex}

__all__ = ["NOISES", "coarse", "gaussian", "image_keys", "keys_by_id", "simplex"]
