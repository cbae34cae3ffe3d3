"""How is the (conditioned) diffusion model trained?"""

from cdm_jax.diffusion import Noise
from cdm_jax.objectives.apply import apply_model
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
        predicted, batch_stats = apply_model(model, params, batch_stats, key, batch["image"], x_t, t, train)
        return diffusion_loss(schedule, predicted, target, t, loss=loss, p2_gamma=p2_gamma), batch_stats

    return objective
