"""Which key does the noise of an image come from?"""

import jax
import jax.numpy as jnp
import numpy as np


def image_keys(key: jax.Array, subject, slice_index, draw, shared: bool = False) -> jax.Array:
    """One key an image, by what the image is and not by where it stands in a batch.

    Args:
      key: one typed key, the run's seed.
      subject: [B] integers, a 32-bit hash of the subject's id.
      slice_index: [B] integers, the slice's position in its volume.
      draw: an integer, counts repeated draws for the same image (training step, ensemble member).
      shared: leave the slice out, so that all slices of a subject get one field. The published code draws one
        field for a whole batch: at test that is this setting, in training it is `subject` all zero as well.

    Returns:
      Typed keys [B].
    """

    def one(subject, slice_index):
        of_subject = jax.random.fold_in(jax.random.fold_in(key, draw), subject)
        return of_subject if shared else jax.random.fold_in(of_subject, slice_index)

    return jax.vmap(one)(_uint32(subject), _uint32(slice_index))


def keys_by_id(key: jax.Array, ids: jax.Array) -> jax.Array:
    """One typed key an image, from `key` and its id [B] alone: typed keys [B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, ids)


def require_key_per_image(key: jax.Array, shape: tuple[int, int, int, int]) -> None:
    """Raise ValueError unless `key` holds one typed key for each of the `shape[0]` images."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != tuple(shape[:1]):
        raise ValueError(f"{shape[0]} images need {shape[0]} typed keys, not {key.dtype}{list(key.shape)}")


def _uint32(values) -> jax.Array:
    """Host integers are cut to 32 bits by numpy, for jax refuses Python integers above 2^31."""
    values = values if isinstance(values, jax.Array) else np.asarray(values)
    return jnp.asarray(values.astype(np.uint32))
