"""How are gradients of a large batch accumulated over pieces of it?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cdm_jax.objectives.loss import Objective

Split = Callable[[Any], Any]
"""split(tree of [B,...]) -> tree of [pieces,B/pieces,...]."""


def gradients_in_pieces(objective: Objective, state, batch: dict, key: jax.Array, split: Split):
    """What `train_state.gradients` gives, to rounding, in the memory of one piece.

    `objective.whole` runs once over the batch, so that BatchNorm counts all of it and noise is the same; each piece
    then gives its gradients by the parameters and by the condition, and the latter, put together again, go back
    through `whole`: the chain rule, cut where images stop depending on each other. Dropout, where there is any,
    draws by piece.
    """

    def whole(params):
        cond, rows, batch_stats = objective.whole(params, state.batch_stats, batch, key, True)
        return cond, (rows, batch_stats)

    cond, pull, (rows, batch_stats) = jax.vjp(whole, state.params, has_aux=True)
    count = len(batch["image"])

    def one(total, piece):
        number, cond, rows = piece

        def part_of_mean(params, cond):
            losses = objective.each(params, cond, rows, jax.random.fold_in(key, number), True)
            return losses.sum() / count, losses

        (by_params, by_cond), losses = jax.grad(part_of_mean, (0, 1), has_aux=True)(state.params, cond)
        return jax.tree.map(jnp.add, total, by_params), (by_cond, losses)

    parts = split((cond, rows))
    number = jnp.arange(len(jax.tree.leaves(parts)[0]))
    nothing = jax.tree.map(jnp.zeros_like, state.params)
    grads, (by_cond, losses) = jax.lax.scan(one, nothing, (number, *parts))
    through_cond = pull(jax.tree.map(join, by_cond))[0]
    return join(losses), jax.tree.map(jnp.add, grads, through_cond), batch_stats


def join(array: jax.Array) -> jax.Array:
    """[pieces,B/pieces,...] -> [B,...]: undoes `mesh.make_split`."""
    return array.swapaxes(0, 1).reshape(-1, *array.shape[2:])
