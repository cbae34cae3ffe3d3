"""Which number of a training run is the first that is not finite? Asked on the device, at every step."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

NONE = -1


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fault:
    """The first step with a NaN or an infinity: its number (`NONE`: there was none), the leaf, the images.

    Attributes:
      step: int32; leaf: int32, place in `leaf_names`; rows: bool [B], the images of that batch whose loss is bad.
    """

    step: jax.Array
    leaf: jax.Array
    rows: jax.Array


def no_fault(images: int) -> Fault:
    return Fault(jnp.int32(NONE), jnp.int32(0), jnp.zeros(images, bool))


def leaf_names(params: Any, batch_stats: Any) -> list[str]:
    """What `Fault.leaf` counts: the loss, gradients, parameters, statistics, and a norm that overflows by itself."""
    trees = {"gradient": params, "parameter": params, "statistic": batch_stats}
    each = [
        f"{kind} {'/'.join(str(getattr(key, 'key', key)) for key in path)}"
        for kind, tree in trees.items()
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]
    return ["the loss", *each, "a norm of gradients, parameters or statistics"]


def look(fault: Fault, step: jax.Array, losses: jax.Array, trees: tuple, sound: jax.Array) -> Fault:
    """`fault`, or the one of this step if that is the first.

    Args:
      step: its number; losses: [B]; trees: its gradients, and the parameters and BatchNorm statistics after it;
        sound: bool, whether all of them are finite, from their norms. Only where it is False are the leaves looked at.
    """

    def found():
        leaves = [losses, *jax.tree.leaves(trees)]
        bad = jnp.stack([*(~jnp.isfinite(leaf).all() for leaf in leaves), jnp.bool_(True)])
        return Fault(step, jnp.argmax(bad).astype(jnp.int32), ~jnp.isfinite(losses))

    return jax.lax.cond(sound | (fault.step != NONE), lambda: fault, found)
