"""How does a config of ours become the torch reference's model, settings and noise?"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ml_collections import ConfigDict

from cdm_jax import build
from cdm_jax.parity import torch_unet
from cdm_jax.samplers.spacing import plan
from cdm_jax.schedule import BETAS
from cdm_jax.torch_import import to_torch
from cdm_jax.torch_reference import sampling
from cdm_jax.torch_reference.cddpm import CDDPM, load_arrays, prepare
from cdm_jax.torch_reference.encoder import ResNet
from cdm_jax.torch_reference.schedule import Schedule, make_schedule
from speed.drawn_noise import draws_noise, start_noise, steps_noise

if TYPE_CHECKING:
    from speed.sides import Batch

SAMPLERS = {
    "ddim": sampling.ddim,
    "ddpm": sampling.ancestral,
    "ensemble": sampling.ensemble,
    "single_step": sampling.single_step,
}
"""Our name of a sampler -> the reference's function."""


def load_model(config: ConfigDict, variables: dict, device: torch.device, compiled: bool) -> CDDPM:
    """The reference with our weights in its fastest form.

    On a GPU it may choose among convolutions by trial and multiply float32 in TF32, as XLA does; nothing that
    torch.compile made before is used again, so that its time can be measured.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    if compiled:
        import torch._inductor.config as inductor

        torch._dynamo.reset()
        inductor.force_disable_caches = True
    conditional = config.encoder.name != "none"
    encoder = config.encoder
    of_image = ResNet(encoder.name, encoder.features, encoder.width) if conditional else None
    model = load_arrays(CDDPM(torch_unet(config), of_image), to_torch(variables)).to(device)
    return prepare(model, dtype=config.model.dtype, compile=compiled)


def schedule(config: ConfigDict) -> Schedule:
    """The schedule in float64."""
    betas = BETAS[config.diffusion.schedule](config.diffusion.timesteps)
    return make_schedule(np.cumprod(1 - betas))


def settings(config: ConfigDict, batch: "Batch", device: torch.device) -> dict[str, Any]:
    """Keyword arguments of the config's sampler, its noise among them: that which ours draws from batch.keys."""
    asked, given = config.sampler, {"prediction": config.diffusion.prediction}
    if asked.name == "ensemble":
        eps = on_device(draws_noise(config, batch.keys), device)
        return given | {"eps": eps, "t_starts": asked.t_starts}
    given |= {"eps": on_device(start_noise(config, batch.keys), device)}
    if asked.name == "single_step":
        return given | {"t_start": asked.t_start}
    if asked.name == "ddpm":
        added = added_noise(config, batch, range(asked.t_start, 0, -1), device)
        return given | {"steps_eps": added, "t_start": asked.t_start, "clip": asked.clip}
    path = plan(build.schedule(config), asked.t_start, asked.steps, asked.spacing or "linear", asked.visits)
    added = added_noise(config, batch, path[:-1], device) if asked.eta else None
    return given | {"step_eps": added, "visits": path.tolist(), "eta": asked.eta, "clip": asked.clip}


def added_noise(config: ConfigDict, batch: "Batch", levels: Sequence[int], device: torch.device) -> Callable:
    """step index -> noise[B,1,H,W] of the step away from it, all drawn beforehand."""
    fields = steps_noise(config, batch.keys, levels)
    return {t: on_device(field, device) for t, field in fields.items()}.__getitem__


def on_device(fields: np.ndarray, device: torch.device) -> torch.Tensor:
    """[...,B,H,W,1] on the host -> [...,B,1,H,W]; one field that all images share is moved once."""
    batch = fields.shape[-4]
    shared = fields.strides[-4] == 0
    own = np.array(fields[..., :1, :, :, :] if shared else fields)
    moved = torch.from_numpy(own).movedim(-1, -3).contiguous().to(device)
    return moved.expand(*moved.shape[:-4], batch, *moved.shape[-3:])
