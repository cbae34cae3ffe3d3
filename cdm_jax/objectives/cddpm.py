"""How is the (conditioned) diffusion model trained?"""

from cdm_jax.diffusion import Noise
from cdm_jax.objectives.apply import encode, predict
from cdm_jax.objectives.loss import Objective
from cdm_jax.objectives.noising import diffusion_loss, draw_noising, noised
from cdm_jax.schedule import Schedule


def cddpm(
    model, schedule: Schedule, noise: Noise, *, prediction: str, loss: str, p2_gamma: float, shared: bool
) -> Objective:
    """Objective of the (conditioned) diffusion model: encoder and UNet trained together.

    A batch may carry its own "t" or "eps", which then stand in for what would be drawn.
    """

    def whole(params, batch_stats, batch, key, train):
        t, eps = draw_noising(schedule, noise, key, batch, shared)
        t, eps = batch.get("t", t), batch.get("eps", eps)
        x_t, target = noised(schedule, batch["image"], t, eps, prediction)
        cond, batch_stats = encode(model, params, batch_stats, key, batch["image"], train)
        return cond, {"x_t": x_t, "t": t, "target": target}, batch_stats

    def each(params, cond, rows, key, train):
        predicted = predict(model, params, key, rows["x_t"], rows["t"], cond, train)
        return diffusion_loss(schedule, predicted, rows["target"], rows["t"], loss=loss, p2_gamma=p2_gamma)

    return Objective(whole, each)
