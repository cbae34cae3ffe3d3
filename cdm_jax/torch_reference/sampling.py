"""How does a trained model reconstruct a batch of slices?

Samplers are sample(denoise, schedule, x0, noise ..., **settings) -> x0_hat on images [B,1,H,W] in [-1, 1]. Noise
levels are those of `cdm_jax.samplers`: t_start noising steps, so step index t_start - 1. The schedule's numbers
stay on the host, so that no step waits for the device.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from cdm_jax.torch_reference.cddpm import CDDPM
from cdm_jax.torch_reference.schedule import Schedule, of_images

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""denoise(x_t[B,1,H,W], t[B]) -> x0_hat[B,1,H,W], the condition already bound."""


def denoiser(model: CDDPM, cond: Tensor | None, schedule: Schedule, prediction: str = "x0") -> Denoiser:
    """`denoise` of a model that predicts "x0", "eps" or "eps_published" (x_t - sigma eps, as published).

    A batch of k times cond's length takes the condition k times over: the members of an ensemble.
    """
    if prediction not in ("x0", "eps", "eps_published"):
        raise ValueError(f"prediction {prediction!r} is none of x0, eps, eps_published")

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        seen = None if cond is None else cond.repeat(len(x_t) // len(cond), 1)
        predicted = model.unet(x_t, t, seen)
        if prediction == "x0":
            return predicted
        dimmed = x_t - of_images(schedule.sigma, t + 1, x_t) * predicted
        return dimmed / of_images(schedule.signal, t + 1, x_t) if prediction == "eps" else dimmed

    return denoise


def reconstruct(
    model: CDDPM, schedule: Schedule, sample: Callable, image: Tensor, *, prediction: str = "x0", **settings
) -> Tensor:
    """image[B,1,H,W] in [0, 1] -> image_hat like image; settings: the keyword arguments of `sample`, with its noise.

    Every slice is encoded once.
    """
    with torch.inference_mode(), model.precision():
        denoise = denoiser(model, model.encode(image), schedule, prediction)
        return (sample(denoise, schedule, 2 * image - 1, **settings) + 1) / 2


def q_sample(schedule: Schedule, x0: Tensor, eps: Tensor, n: int) -> Tensor:
    """x0 after n noising steps (Ho et al. 2020, equation 4)."""
    return float(schedule.signal[n]) * x0 + float(schedule.sigma[n]) * eps


def denoise_from(denoise: Denoiser, x_t: Tensor, n: int) -> Tensor:
    """x0_hat of images that all stand on level n."""
    return denoise(x_t, torch.full((len(x_t),), n - 1, device=x_t.device))


def single_step(denoise: Denoiser, schedule: Schedule, x0: Tensor, eps: Tensor, *, t_start: int) -> Tensor:
    """x0_hat by one call from level t_start, not clipped (Behrendt et al. 2025, section 3.3)."""
    return x0 if t_start == 0 else denoise_from(denoise, q_sample(schedule, x0, eps, t_start), t_start)


def ensemble(
    denoise: Denoiser, schedule: Schedule, x0: Tensor, eps: Tensor, *, t_starts: Sequence[int]
) -> Tensor:
    """Mean of the single steps from levels of at least 1 and draws eps[draws,B,1,H,W], all in one call.

    Source: Behrendt et al. 2025, section 4.3.
    """
    levels = torch.tensor(t_starts, device=x0.device)
    signal, sigma = (of_images(c, levels, x0)[:, None, None] for c in (schedule.signal, schedule.sigma))
    x_t = signal * x0 + sigma * eps  # [levels,draws,B,1,H,W]
    t = (levels - 1).repeat_interleave(len(eps) * len(x0))
    return denoise(x_t.flatten(0, 2), t).view_as(x_t).mean(dim=(0, 1))


def ancestral(
    denoise: Denoiser,
    schedule: Schedule,
    x0: Tensor,
    eps: Tensor,
    steps_eps: Callable[[int], Tensor],
    *,
    t_start: int,
    clip: bool = True,
) -> Tensor:
    """x0_hat after t_start steps of x_{t-1} ~ q(x_{t-1} | x_t, x0_hat) (Ho et al. 2020, algorithm 2).

    eps noises the start; steps_eps(t) is the noise of the step that leaves step index t, asked for above 0.
    """
    x_t = q_sample(schedule, x0, eps, t_start)
    for n in range(t_start, 0, -1):
        x0_hat = denoise_from(denoise, x_t, n)
        x0_hat = x0_hat.clamp(-1, 1) if clip else x0_hat
        of_x0, of_x_t, std = map(float, schedule.posterior(n))
        x_t = of_x0 * x0_hat + of_x_t * x_t
        if std > 0:
            x_t += std * steps_eps(n - 1)
    return x_t


def ddim(
    denoise: Denoiser,
    schedule: Schedule,
    x0: Tensor,
    eps: Tensor,
    step_eps: Callable[[int], Tensor] | None = None,
    *,
    visits: Sequence[int],
    eta: float = 0.0,
    clip: bool = True,
) -> Tensor:
    """x0_hat by steps between the levels `visits`, falling from the noised start to where to stop, usually 0.

    step_eps(t) is the noise of the step that leaves step index t, asked for where eta and the next level leave
    room for any. Source: Song et al. 2021, DDIM, equations 12 and 16.
    """
    x_t = q_sample(schedule, x0, eps, visits[0])
    for here, there in zip(visits[:-1], visits[1:], strict=True):
        x0_hat = denoise_from(denoise, x_t, here)
        x0_hat = x0_hat.clamp(-1, 1) if clip else x0_hat
        std = _ddim_std(schedule, eta, here, there)
        # signal_s x0_hat + sqrt(sigma_s^2 - std^2) (x_t - signal_t x0_hat) / sigma_t
        of_x_t = float(np.sqrt(schedule.sigma[there] ** 2 - std**2) / schedule.sigma[here])
        of_x0 = float(schedule.signal[there]) - of_x_t * float(schedule.signal[here])
        x_t = of_x0 * x0_hat + of_x_t * x_t
        if std > 0:
            assert step_eps is not None, "these steps draw noise"
            x_t += std * step_eps(here - 1)
    return x_t


def _ddim_std(schedule: Schedule, eta: float, here: int, there: int) -> float:
    """eta times the ancestral step's standard deviation, at most all the noise that `there` holds."""
    shrink = schedule.signal[here] / schedule.signal[there]
    ancestral_std = schedule.sigma[there] / schedule.sigma[here] * np.sqrt(1 - shrink**2)
    return float(min(eta * ancestral_std, schedule.sigma[there]))
