"""How does the torch reference take a training step, in its fastest form?"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from ml_collections import ConfigDict
from speed import torch_side
from torch import Tensor, nn

from cdm_jax.torch_reference.cddpm import CDDPM

Given = Mapping[str, Tensor]
"""image[B,1,H,W] in [0, 1], t[B], eps[B,1,H,W], on the device."""

DISTANCES = {"l1": F.l1_loss, "l2": F.mse_loss}


def load_model(config: ConfigDict, variables: dict, device: torch.device) -> CDDPM:
    """The reference with our weights in training mode, in the form that trains fastest.

    Channels last on a GPU; on a CPU channels first took 0.9 of that time (paper's networks, batch 2, 2 cores). An
    activation written over its input would first have to be copied for the way back.
    """
    model = torch_side.load_model(config, variables, device, compiled=False).train()
    if device.type == "cpu":
        model.to(memory_format=torch.contiguous_format)
    for module in model.modules():
        if isinstance(module, nn.SiLU):
            module.inplace = False
    return model


def make_gradients(config: ConfigDict, model: CDDPM, compiled: bool) -> Callable[[Given], Tensor]:
    """gradients(batch) -> loss, the mean over pixels and images, with every parameter's gradient added to its own.

    Forward pass and loss are compiled as one. With `train.accumulate` above 1 the images are encoded together, as
    BatchNorm asks for, and the rest is done in so many pieces, as in `cdm_jax.pieces`.
    """
    schedule, device = torch_side.schedule(config), next(model.parameters()).device
    signal, sigma = (
        torch.as_tensor(of_level[1:, None, None, None], dtype=torch.float32, device=device)
        for of_level in (schedule.signal, schedule.sigma)
    )
    distance, of_noise = DISTANCES[config.diffusion.loss], config.diffusion.prediction == "eps"

    def encode(image: Tensor) -> Tensor | None:
        with model.precision():
            return model.encode(image)

    def loss_given(cond: Tensor | None, image: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        with model.precision():
            x0 = 2 * image - 1
            predicted = model.unet(signal[t] * x0 + sigma[t] * eps, t, cond)
            return distance(predicted, eps if of_noise else x0)

    def loss_of(image: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        return loss_given(encode(image), image, t, eps)

    if compiled:
        encode, loss_given, loss_of = compile_anew(encode, loss_given, loss_of)

    def at_once(batch: Given) -> Tensor:
        loss = loss_of(batch["image"], batch["t"], batch["eps"])
        loss.backward()
        return loss.detach()

    def in_pieces(batch: Given) -> Tensor:
        pieces, losses = config.train.accumulate, []
        cond = encode(batch["image"])
        cut = None if cond is None else cond.detach().requires_grad_()
        conds = [None] * pieces if cut is None else cut.chunk(pieces)
        rows = (batch[name].chunk(pieces) for name in ("image", "t", "eps"))
        for piece in zip(conds, *rows, strict=True):
            loss = loss_given(*piece) / pieces
            loss.backward()
            losses.append(loss.detach())
        if cond is not None:
            cond.backward(cut.grad)
        return torch.stack(losses).sum()

    return at_once if config.train.accumulate == 1 else in_pieces


def compile_anew(*functions: Callable) -> list[Callable]:
    """`torch.compile` of each that uses nothing it made before, so that its time can be measured."""
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    inductor.force_disable_caches = True
    return [torch.compile(function) for function in functions]


def make_step(config: ConfigDict, model: CDDPM, *, compiled: bool) -> Callable[[Given], Tensor]:
    """step(batch) -> loss: gradients, Adam, and the running average if asked."""
    settings, parameters = config.train, list(model.parameters())
    gradients = make_gradients(config, model, compiled)
    adam = torch.optim.AdamW if settings.weight_decay else torch.optim.Adam
    optimizer = adam(
        parameters, settings.lr, tuple(settings.betas), weight_decay=settings.weight_decay, fused=True
    )
    values = [parameter.detach() for parameter in parameters]
    average = [value.clone() for value in values] if settings.ema else []

    def step(batch: Given) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = gradients(batch)
        if settings.clip:
            nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        if average:
            torch._foreach_lerp_(average, values, 1 - settings.ema)
        return loss

    return step


def grad_norm(model: CDDPM) -> float:
    """Of all gradients as the last step left them."""
    return float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))


def on_device(arrays: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """[B,H,W,1] -> [B,1,H,W] on the device, without waiting for the copy where the arrays are pinned."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors(arrays, device).items()}


def tensors(arrays: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """The arrays as tensors on the host, images channels first, pinned where the device is a GPU."""
    found = {
        name: torch.from_numpy(array).movedim(-1, 1).contiguous()
        if array.ndim == 4
        else torch.from_numpy(array).long()
        for name, array in arrays.items()
    }
    return {name: tensor.pin_memory() for name, tensor in found.items()} if device.type == "cuda" else found
