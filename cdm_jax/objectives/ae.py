"""How is the autoencoder trained?"""

from cdm_jax.errors import choose
from cdm_jax.objectives.loss import PIXEL_LOSSES, Objective


def ae(model, *, loss: str) -> Objective:
    """Objective of the `Autoencoder`: mean distance over pixels of an image to its reconstruction.

    Args:
      loss: l1 (Baur et al. 2021) or l2.
    Raises:
      UsageError: no such loss.
    """
    distance = choose(PIXEL_LOSSES, loss, "loss")

    def whole(params, batch_stats, batch, key, train):
        return None, batch["image"], batch_stats

    def each(params, cond, image, key, train):
        image_hat = model.apply({"params": params}, image, train)
        return distance(image_hat - image).mean(axis=(1, 2, 3))

    return Objective(whole, each)
