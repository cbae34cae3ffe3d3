"""Which image encoders can be chosen by name?"""

from functools import partial

import jax.numpy as jnp

from cdm_jax.errors import choose
from cdm_jax.models.resnet import ResNet

# Depths and block kinds: He et al. 2016, table 1.
ENCODERS = {
    "resnet18": partial(ResNet, depths=(2, 2, 2, 2), bottleneck=False),
    "resnet34": partial(ResNet, depths=(3, 4, 6, 3), bottleneck=False),
    "resnet50": partial(ResNet, depths=(3, 4, 6, 3), bottleneck=True),
    "resnet101": partial(ResNet, depths=(3, 4, 23, 3), bottleneck=True),
}


def make_encoder(
    name: str, features: int, drop_path: float = 0.0, width: int = 64, dtype: jnp.dtype = jnp.float32
) -> ResNet:
    """Encoder module image[B,H,W,1] -> cond[B,features].

    Raises:
      UsageError: no encoder of that name.
    """
    return choose(ENCODERS, name, "encoder")(features=features, drop_path=drop_path, width=width, dtype=dtype)
