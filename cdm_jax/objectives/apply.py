"""What does a network give in training, and what becomes of its BatchNorm statistics?"""

from typing import Any

import jax


def apply_model(model, params, batch_stats, key: jax.Array, *inputs, **how) -> tuple[Any, Any]:
    """(output of `model` for its `inputs`, updated batch_stats); stochastic depth and dropout draw from `key`.

    Args: how: the `method` of the model, if it is not its call.
    """
    rngs = {name: jax.random.fold_in(key, i) for i, name in enumerate(("drop_path", "dropout"), start=1)}
    variables = {"params": params, "batch_stats": batch_stats}
    output, updated = model.apply(variables, *inputs, mutable=["batch_stats"], rngs=rngs, **how)
    return output, updated.get("batch_stats", batch_stats)


def encode(model, params, batch_stats, key: jax.Array, image, train: bool) -> tuple[jax.Array | None, Any]:
    """(condition of clean images [B,H,W,1], None without an encoder; updated batch_stats)."""
    return apply_model(model, params, batch_stats, key, image, train, method="encode")


def predict(model, params, key: jax.Array, x_t, t, cond, train: bool) -> jax.Array:
    """The denoiser's raw prediction [B,H,W,1]; it has no BatchNorm, so that every image stands by itself."""
    return apply_model(model, params, {}, key, x_t, t, cond, train, method="predict")[0]
