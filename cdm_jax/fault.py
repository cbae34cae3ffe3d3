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


def leaf_names(params: Any) -> list[str]:
    """What `Fault.leaf` counts: the loss, every gradient, every parameter, and a norm that overflows by itself."""
    paths = [
        "/".join(str(getattr(key, "key", key)) for key in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    each = [f"{kind} {path}" for kind in ("gradient", "parameter") for path in paths]
    return ["the loss", *each, "the norm of all gradients or parameters"]


def look(
    fault: Fault, step: jax.Array, losses: jax.Array, grads: Any, params: Any, sound: jax.Array
) -> Fault:
    """`fault`, or the one of this step if that is the first.

    Args:
      step: its number; losses: [B]; grads, params: its gradients, the parameters after it; sound: bool, whether all
        of them are finite, from sums that are made anyway. Only where it is False are the leaves looked at.
    """

    def found():
        leaves = [losses, *jax.tree.leaves(grads), *jax.tree.leaves(params)]
        bad = jnp.stack([*(~jnp.isfinite(leaf).all() for leaf in leaves), jnp.bool_(True)])
        return Fault(step, jnp.argmax(bad).astype(jnp.int32), ~jnp.isfinite(losses))

    return jax.lax.cond(sound | (fault.step != NONE), lambda: fault, found)
