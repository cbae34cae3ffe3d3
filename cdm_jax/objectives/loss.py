"""What is an objective, and which distances between pixels does it choose from?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Objective:
    """objective(params, batch_stats, batch, key, train) -> (loss of every image [B], updated batch_stats).

    In two parts, so that a large batch can be worked off in pieces and give what it gives at once:

    Attributes:
      whole: (params, batch_stats, batch, key, train) -> (cond, rows, batch_stats). What needs all images together:
        batch normalisation, noise that they share. Both pytrees of arrays [B,...]; only `cond` depends on params.
      each: (params, cond, rows, key, train) -> losses [B], every image by itself.
      divisible: whether `each` does the work, so that pieces save memory.
    """

    whole: Callable[..., tuple[Any, Any, Any]]
    each: Callable[..., jax.Array]
    divisible: bool = True

    def __call__(self, params, batch_stats, batch, key, train=True) -> tuple[jax.Array, Any]:
        cond, rows, batch_stats = self.whole(params, batch_stats, batch, key, train)
        return self.each(params, cond, rows, key, train), batch_stats


PIXEL_LOSSES = {"l1": lambda d: jnp.abs(d), "l2": lambda d: jnp.square(d)}
