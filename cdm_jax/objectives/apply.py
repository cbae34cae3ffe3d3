"""What does a network give in training, and what becomes of its BatchNorm statistics?"""

from typing import Any

import jax


def apply_model(model, params, batch_stats, key: jax.Array, *inputs) -> tuple[jax.Array, Any]:
    """(output of `model` for its `inputs`, updated batch_stats); stochastic depth and dropout draw from `key`."""
    rngs = {name: jax.random.fold_in(key, i) for i, name in enumerate(("drop_path", "dropout"), start=1)}
    variables = {"params": params, "batch_stats": batch_stats}
    output, updated = model.apply(variables, *inputs, mutable=["batch_stats"], rngs=rngs)
    return output, updated.get("batch_stats", batch_stats)
