"""How is the (conditioned) diffusion model trained?"""

import jax

from cdm_jax.diffusion import Noise
from cdm_jax.objectives.loss import Objective
from cdm_jax.objectives.noising import diffusion_loss, draw_noising, noised
from cdm_jax.schedule import Schedule


def cddpm(
    model, schedule: Schedule, noise: Noise, *, prediction: str, loss: str, p2_gamma: float, shared: bool
) -> Objective:
    """Objective of the (conditioned) diffusion model: encoder and UNet trained together.

    A batch may carry its own "t" or "eps", which then stand in for what would be drawn.
    """

    def objective(params, batch_stats, batch, key, train=True):
        t, eps = draw_noising(schedule, noise, key, batch, shared)
        t, eps = batch.get("t", t), batch.get("eps", eps)
        x_t, target = noised(schedule, batch["image"], t, eps, prediction)
        predicted, updated = model.apply(
            {"params": params, "batch_stats": batch_stats},
            *(batch["image"], x_t, t, train),
            mutable=["batch_stats"],
            rngs={
                name: jax.random.fold_in(key, i) for i, name in enumerate(("drop_path", "dropout"), start=1)
            },
        )
        losses = diffusion_loss(schedule, predicted, target, t, loss=loss, p2_gamma=p2_gamma)
        return losses, updated.get("batch_stats", batch_stats)

    return objective
