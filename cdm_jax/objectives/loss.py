"""What is an objective, and which distances between pixels does it choose from?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Objective = Callable[..., tuple[jax.Array, Any]]
"""objective(params, batch_stats, batch, key, train) -> (loss of every image [B], updated batch_stats)."""

PIXEL_LOSSES = {"l1": lambda d: jnp.abs(d), "l2": lambda d: jnp.square(d)}
