"""How do the encoder and the UNet make the conditioned denoiser, in its fastest form?"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from cdm_jax.torch_reference.encoder import ResNet
from cdm_jax.torch_reference.unet import UNet

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class CDDPM(nn.Module):
    """Denoising UNet conditioned on the clean image through an encoder; None makes the unconditional DDPM.

    `dtype` is that of the computation under `reconstruct`, by autocast; parameters stay float32.
    Source: Behrendt et al. 2025 (arXiv 2312.04215).
    """

    def __init__(self, unet: UNet, encoder: ResNet | None = None, dtype: str = "float32"):
        super().__init__()
        self.unet = unet
        self.encoder = encoder
        self.dtype = DTYPES[dtype]

    def encode(self, image: Tensor) -> Tensor | None:
        """image[B,1,H,W] in [0, 1] -> cond[B,E]; None without an encoder."""
        return None if self.encoder is None else self.encoder(image)

    def precision(self) -> torch.autocast:
        """The context that computes in `dtype`, to be entered once around all calls: it keeps cast weights."""
        device = next(self.parameters()).device
        return torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32)


def load_arrays(module: nn.Module, state: Mapping[str, np.ndarray]) -> nn.Module:
    """The module with every weight taken from `cdm_jax.torch_import.to_torch`; a name that differs raises."""
    module.load_state_dict({name: torch.as_tensor(np.array(array)) for name, array in state.items()})
    return module


def prepare(model: CDDPM, *, dtype: str = "float32", compile: bool = False) -> CDDPM:
    """The model itself in its fastest form for sampling: evaluation mode, channels last, compiled if asked.

    The two networks are compiled one by one, each when first called with a new shape.
    """
    model.eval().to(memory_format=torch.channels_last)
    model.dtype = DTYPES[dtype]
    if compile:
        for network in (model.unet, model.encoder):
            if network is not None:
                network.compile()
    return model
