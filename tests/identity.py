"""A detector that finds every scan healthy: its reconstruction is the image it was given."""

from pathlib import Path

import jax

from cdm_jax import config
from cdm_jax.detector import Detector
from cdm_jax.sharding import Spread


def identity_detector(*overrides: str) -> Detector:
    """The real detector around a network that returns its input; `overrides` as on the command line."""
    settings = config.load("configs/demo.py", overrides)
    spread = Spread(
        tuple(jax.local_devices()[:1]), lambda variables: variables, lambda _, names, images: images
    )
    return Detector(Path("identity"), settings, {}, 0, spread)
