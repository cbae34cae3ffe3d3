"""How many calls of the denoiser does a sampler make for one image?"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from cdm_jax.noise import gaussian
from cdm_jax.schedule import Schedule


def evaluations(sample: Callable, schedule: Schedule, **settings) -> int:
    """Denoiser calls for one image, counted in the traced program of `sample`; nothing is run.

    Args:
      sample: a value of `SAMPLERS`; settings: its keyword arguments.
    Raises: UsageError: what `sample` refuses.
    """

    def run(key, x0):
        return sample(_denoiser, schedule, gaussian, key, x0, **settings)

    pixel = jnp.zeros((1, 1, 1, 1))
    return _count(jax.make_jaxpr(run)(jax.random.split(jax.random.key(0), 1), pixel).jaxpr)


DENOISER = "_denoiser"


@jax.jit
def _denoiser(x_t: jax.Array, t: jax.Array) -> jax.Array:
    """Stands for the network: `jit` keeps it one named call in the traced program."""
    return x_t


def _count(jaxpr) -> int:
    """Calls of `_denoiser` on a pixel: a scan repeats its body, `vmap` widens one call to several pixels."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.params.get("name") == DENOISER:
            total += equation.outvars[0].aval.size
        total += equation.params.get("length", 1) * sum(map(_count, _inner(equation)))
    return total


def _inner(equation) -> Iterator:
    """The programs inside an equation: the body of a scan, a jitted function, the branches of a cond."""
    for value in jax.tree.leaves(tuple(equation.params.values())):
        if hasattr(value, "eqns"):
            yield getattr(value, "jaxpr", value)
