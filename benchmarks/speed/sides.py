"""How does each side reconstruct one volume?"""

from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from cdm_jax import methods
from cdm_jax.noise import image_keys
from cdm_jax.sharding import WRAPPINGS
from speed.brain import Brain
from speed.timing import Run


class Batch(NamedTuple):
    """The slices of one device call: keys[B] and images[B,H,W,1] in [0, 1], on the host."""

    keys: jax.Array
    images: np.ndarray


def batches(config: ConfigDict, brain: Brain) -> list[Batch]:
    """The brain's slices in as many equal calls as `sampler.batch` makes needful; the last may repeat the first."""
    count = len(brain.images)
    calls = -(-count // config.sampler.batch)
    rows = np.arange(calls * -(-count // calls)) % count
    key, subject = jax.random.key(config.seed), np.zeros(count, np.uint32)
    keys = image_keys(key, subject, brain.places, 0, shared=config.noise.shared_test)
    return [Batch(keys[part], brain.images[part, ..., None]) for part in np.split(rows, calls)]


def ours(
    config: ConfigDict, variables: dict, brain: Brain, wrapping: str, devices: tuple[jax.Device, ...]
) -> Run:
    """Our reconstruction of the brain, [S,H,W]: all calls are queued before the first result is fetched."""
    spread = WRAPPINGS[wrapping](methods.reconstruct(config, methods.model(config)), devices)
    placed, calls = spread.place(variables), batches(config, brain)

    def run() -> np.ndarray:
        queued = [spread(placed, batch.keys, batch.images) for batch in calls]
        return np.concatenate([np.asarray(out)[..., 0] for out in queued])[: len(brain.images)]

    return run


def theirs(config: ConfigDict, variables: dict, brain: Brain, *, compiled: bool) -> Run:
    """The torch reference's reconstruction, [S,H,W]: same weights, slices, calls, noise; on cuda if there is one.

    Its noise waits on the device before the clock starts, while ours is drawn inside the program: an advantage.
    """
    import torch

    from cdm_jax.torch_reference import sampling
    from speed import torch_side

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = torch_side.load_model(config, variables, device, compiled)
    schedule, sample = torch_side.schedule(config), torch_side.SAMPLERS[config.sampler.name]
    calls = batches(config, brain)
    settings = [torch_side.settings(config, batch, device) for batch in calls]

    def run() -> np.ndarray:
        queued = [
            sampling.reconstruct(
                model, schedule, sample, torch.from_numpy(batch.images).movedim(-1, 1).to(device), **given
            )
            for batch, given in zip(calls, settings, strict=True)
        ]
        return np.concatenate([out[:, 0].float().cpu().numpy() for out in queued])[: len(brain.images)]

    return run
