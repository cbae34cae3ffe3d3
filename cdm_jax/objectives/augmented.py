"""How does an objective see augmented images in training, and images as they are in validation?"""

from collections.abc import Callable
from dataclasses import replace

import jax

from cdm_jax.noise import keys_by_id
from cdm_jax.objectives.loss import Objective


def augmented(objective: Objective, augment: Callable) -> Objective:
    """The objective of augment(key[B], image[B,H,W,1]) in training; every image from its own key, on the device."""

    def whole(params, batch_stats, batch, key, train):
        if train:
            keys = keys_by_id(jax.random.fold_in(key, 2), batch["id"])
            batch = {**batch, "image": augment(keys, batch["image"])}
        return objective.whole(params, batch_stats, batch, key, train)

    return replace(objective, whole=whole)
