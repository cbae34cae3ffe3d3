"""Which layers is the UNet made of?"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def float32(x: Tensor) -> torch.autocast:
    """The context in which autocast leaves layers on x's device in float32."""
    return torch.autocast(x.device.type, enabled=False)


def in_layout_of(weight: Tensor, image: Tensor) -> Tensor:
    """A copy of image[B,1,H,W] in the memory format of a convolution's weight [O,I,h,w], I above 1.

    The strides of a single channel fit both formats, and all layers after it keep the one they are given.
    """
    channels_last = weight.is_contiguous(memory_format=torch.channels_last)
    return image.clone(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


class GroupNorm(nn.GroupNorm):
    """Group normalisation in 32 groups, or their largest common divisor with the channels: [B,C,H,W].

    It keeps the input's type, where autocast on a GPU would return float32 and double the memory traffic; the
    kernels take the statistics in float32 all the same.
    """

    def __init__(self, channels: int):
        super().__init__(math.gcd(32, channels), channels)

    def forward(self, x: Tensor) -> Tensor:
        with float32(x):
            return F.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class TimeEmbedding(nn.Module):
    """Sinusoids of the step, cos first: t[B] (steps, from 0) -> [B, features], float32."""

    def __init__(self, features: int):
        super().__init__()
        half = features // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        phases = t.float()[:, None] * self.frequencies
        return torch.cat([phases.cos(), phases.sin()], dim=1)


class EmbeddingMLP(nn.Sequential):
    """Linear, SiLU, linear: [B,F] -> [B,features]. Float32, as bfloat16 cannot tell 1000 steps apart."""

    def __init__(self, inputs: int, features: int):
        super().__init__(nn.Linear(inputs, features), nn.SiLU(inplace=True), nn.Linear(features, features))

    def forward(self, x: Tensor) -> Tensor:
        with float32(x):
            return super().forward(x.float())


class ResidualBlock(nn.Module):
    """Residual block whose second normalisation is scaled and shifted by the embedding.

    x[B,C,H,W], embedding[B,F] -> [B,outputs,H',W']; `resample` acts on both branches before the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, features: int, resample: nn.Module | None = None):
        super().__init__()
        self.resample = resample or nn.Identity()
        self.in_layers = nn.Sequential(GroupNorm(inputs), nn.SiLU(inplace=True), conv3(inputs, outputs))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(features, 2 * outputs))
        # Dropout is 0 as published; its place keeps the convolution's name.
        self.out_layers = nn.Sequential(
            GroupNorm(outputs), nn.SiLU(inplace=True), nn.Identity(), conv3(outputs, outputs)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        norm, activate, conv = self.in_layers
        h = conv(self.resample(activate(norm(x))))
        scale, shift = self.emb_layers(embedding)[:, :, None, None].chunk(2, dim=1)
        norm, *rest = self.out_layers
        h = torch.addcmul(shift, norm(h), 1 + scale)
        for layer in rest:
            h = layer(h)
        return h.add_(self.skip_connection(self.resample(x)))


class SelfAttention(nn.Module):
    """Residual self-attention over all positions: [B,C,H,W] -> [B,C,H,W].

    Heads of `head_channels`; narrower inputs get one head. The published weights are those of convolutions of
    width 1, applied here as the matrix products that they are.
    """

    def __init__(self, channels: int, head_channels: int):
        super().__init__()
        self.head_channels = min(head_channels, channels)
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        qkv = pointwise(self.qkv, tokens).unflatten(-1, (3, -1, self.head_channels))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + pointwise(self.proj_out, mixed).transpose(1, 2).unflatten(2, x.shape[2:])


def pointwise(conv: nn.Conv1d, tokens: Tensor) -> Tensor:
    """A convolution of width 1 on tokens[B,N,C]."""
    return F.linear(tokens, conv.weight[..., 0], conv.bias)


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
