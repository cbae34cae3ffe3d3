"""What do both sides learn from?"""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from speed.brain import Brain

KINDS = 4
"""Different batches that a run cycles through, so that no step sees the memory of the one before."""


class Batch(NamedTuple):
    """One batch on the host: what the loader gives, and what a step would draw.

    given: {"image": float32 [B,H,W,1] in [0, 1], "mask": bool [B,H,W,1], "id": int32 [B]}
    drawn: {"t": int32 [B], "eps": float32 [B,H,W,1], standard normal}
    """

    given: dict[str, np.ndarray]
    drawn: dict[str, np.ndarray]


def make_batches(config: ConfigDict, brain: Brain, kinds: int = KINDS) -> list[Batch]:
    """`kinds` batches of `config.train.batch` slices of the brain, drawn with the config's seed."""
    rng, size = np.random.default_rng(config.seed), config.train.batch
    return [_batch(config, brain, rng, np.arange(kind * size, (kind + 1) * size)) for kind in range(kinds)]


def _batch(config: ConfigDict, brain: Brain, rng: np.random.Generator, ids: np.ndarray) -> Batch:
    image = brain.images[rng.integers(0, len(brain.images), len(ids))][..., None]
    given = {"image": image, "mask": image > 0, "id": ids.astype(np.int32)}
    t = rng.integers(0, config.diffusion.timesteps, len(ids)).astype(np.int32)
    return Batch(given, {"t": t, "eps": rng.standard_normal(image.shape, np.float32)})
