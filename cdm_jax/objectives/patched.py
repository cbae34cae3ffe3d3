"""How is the patched diffusion model trained?"""

import jax
import jax.numpy as jnp

from cdm_jax.diffusion import Noise, to_model_range
from cdm_jax.noise import keys_by_id
from cdm_jax.objectives.apply import encode, predict
from cdm_jax.objectives.loss import Objective
from cdm_jax.objectives.noising import diffusion_loss, draw_noising, noised
from cdm_jax.patches import grid_boxes, inside
from cdm_jax.schedule import Schedule


def patched(
    model,
    schedule: Schedule,
    noise: Noise,
    *,
    prediction: str,
    loss: str,
    p2_gamma: float,
    shared: bool,
    size: int,
    overlap: int,
) -> Objective:
    """Objective of the patched diffusion model: each image is noised, and scored, in one box of a grid.

    Every image gets a box of its own, as in the published code; an encoder sees the whole clean image. The loss
    is the distance summed over the box and divided by the pixels of the image, as published: the box's mean times
    its share of the image. A batch may carry its own "t" and "box" [B,4] and is then scored there.

    Args:
      size: of the boxes in pixels; overlap: pixels that neighbours share.
    Raises: UsageError: the boxes do not fit. Source: Behrendt et al. 2023 (arXiv 2303.03758), section 3.
    """

    def whole(params, batch_stats, batch, key, train):
        image = batch["image"]
        height, width = image.shape[1:3]
        t, eps = draw_noising(schedule, noise, key, batch, shared)
        t = batch.get("t", t)
        box = batch.get("box", draw_boxes(key, batch["id"], grid_boxes(height, width, size, overlap)))
        mask = jax.vmap(inside, (0, None, None))(box, height, width)
        x_t, target = noised(schedule, image, t, eps, prediction)
        x_t = jnp.where(mask, x_t, to_model_range(image))
        cond, batch_stats = encode(model, params, batch_stats, key, image, train)
        return cond, {"x_t": x_t, "t": t, "target": target, "mask": mask}, batch_stats

    def each(params, cond, rows, key, train):
        predicted = predict(model, params, key, rows["x_t"], rows["t"], cond, train)
        predicted = jnp.where(rows["mask"], predicted, rows["target"])
        return diffusion_loss(schedule, predicted, rows["target"], rows["t"], loss=loss, p2_gamma=p2_gamma)

    return Objective(whole, each)


def draw_boxes(key: jax.Array, ids: jax.Array, boxes: jax.Array) -> jax.Array:
    """One of boxes[N,4] for each image, from `key` and its id alone: [B,4]."""

    def draw(of_image: jax.Array) -> jax.Array:
        of_box = jax.random.fold_in(of_image, 2)  # `draw_noising` splits off 0 and 1
        return jax.random.randint(of_box, (), 0, len(boxes))

    return jnp.asarray(boxes)[jax.vmap(draw)(keys_by_id(key, ids))]
