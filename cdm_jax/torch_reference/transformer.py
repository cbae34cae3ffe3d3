"""How do positions of an image attend to each other, then to the condition?"""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of x[B,N,C] to tokens[B,M,E]: -> [B,N,C]; heads of `head_channels`, or one if C is less."""

    def __init__(self, channels: int, token_features: int, head_channels: int):
        super().__init__()
        self.head_channels = min(head_channels, channels)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(token_features, channels, bias=False)
        self.to_v = nn.Linear(token_features, channels, bias=False)
        # Dropout is 0 as published; its place keeps the linear layer's name.
        self.to_out = nn.Sequential(nn.Linear(channels, channels), nn.Identity())

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        projected = self.to_q(x), self.to_k(tokens), self.to_v(tokens)
        q, k, v = (y.unflatten(-1, (-1, self.head_channels)).transpose(1, 2) for y in projected)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    """a * GELU(b) with (a, b) = proj(x): [B,N,C] -> [B,N,width] (Shazeer 2020, equation 6)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.proj = nn.Linear(channels, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        values, gates = self.proj(x).chunk(2, dim=-1)
        return values * F.gelu(gates)


class FeedForward(nn.Module):
    """Gated feed-forward layer, four times as wide inside: [B,N,C] -> [B,N,C]."""

    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(
            GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, attention to tokens[B,M,E], feed-forward, each residual: x[B,N,C] -> [B,N,C]."""

    def __init__(self, channels: int, token_features: int, head_channels: int):
        super().__init__()
        self.attn1 = Attention(channels, channels, head_channels)
        self.attn2 = Attention(channels, token_features, head_channels)
        self.ff = FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.attn1(h, h)
        x = x + self.attn2(self.norm2(x), tokens)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Residual transformer block over all positions: x[B,C,H,W], tokens[B,M,E] -> [B,C,H,W].

    Source: Rombach et al. 2022, section 3.3 and appendix E.2.1.
    """

    def __init__(self, channels: int, token_features: int, head_channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, token_features, head_channels)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        h = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            h = block(h, tokens)
        return x + self.proj_out(h.transpose(1, 2).unflatten(2, x.shape[2:]))
