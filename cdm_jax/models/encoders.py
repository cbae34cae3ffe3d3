"""Which image encoders can be chosen by name?"""

from functools import partial

import jax.numpy as jnp

from cdm_jax.errors import choose
from cdm_jax.models.convnext import ConvNeXt
from cdm_jax.models.resnet import ResNet


def convnext_tiny(width: int, **settings) -> ConvNeXt:
    """ConvNeXt-T (Liu et al. 2022), of 96 channels where a ResNet would have its 64."""
    return ConvNeXt(depths=(3, 3, 9, 3), width=96 * width // 64, **settings)


# Depths and block kinds: He et al. 2016, table 1.
ENCODERS = {
    "resnet18": partial(ResNet, depths=(2, 2, 2, 2), bottleneck=False),
    "resnet34": partial(ResNet, depths=(3, 4, 6, 3), bottleneck=False),
    "resnet50": partial(ResNet, depths=(3, 4, 6, 3), bottleneck=True),
    "resnet101": partial(ResNet, depths=(3, 4, 23, 3), bottleneck=True),
    "convnext_tiny": convnext_tiny,
}


def make_encoder(
    name: str,
    features: int | None,
    drop_path: float = 0.0,
    width: int = 64,
    dtype: jnp.dtype = jnp.float32,
    remat: bool = False,
) -> ResNet | ConvNeXt:
    """Encoder module image[B,H,W,1] -> cond[B,features]; `features` None: the pyramid of its stages.

    Raises:
      UsageError: no encoder of that name.
    """
    encoder = choose(ENCODERS, name, "encoder")
    return encoder(features=features, drop_path=drop_path, width=width, dtype=dtype, remat=remat)
