"""How does the denoising UNet turn a noised image, its step and a condition into a prediction?"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cdm_jax.torch_reference.layers import (
    EmbeddingMLP,
    GroupNorm,
    ResidualBlock,
    SelfAttention,
    TimeEmbedding,
    conv3,
    float32,
    in_layout_of,
)
from cdm_jax.torch_reference.transformer import SpatialTransformer

CONDITIONING = {"scale_shift": (True, False), "cross_attention": (False, True), "both": (True, True)}
"""How the condition acts: (beside the time in scale and shift, as a token that all positions attend to)."""


class Stage(nn.Sequential):
    """Layers in a row, of which residual blocks see the embedding and transformers the tokens[B,1,E]."""

    def forward(self, h: Tensor, embedding: Tensor, tokens: Tensor | None = None) -> Tensor:
        for layer in self:
            if isinstance(layer, ResidualBlock):
                h = layer(h, embedding)
            elif isinstance(layer, SpatialTransformer):
                h = layer(h, tokens)
            else:
                h = layer(h)
        return h


class UNet(nn.Module):
    """UNet of the guided-diffusion family, one channel in and out; settings as in `cdm_jax.models.unet`.

    Args:
      base_channels: channels at full resolution; multipliers: of the channels, one a level.
      blocks: residual blocks a level; attention_levels: downsampling factors with attention after each block.
      head_channels: channels an attention head; cond_features: E, None for an unconditional model.
      conditioning: a key of `CONDITIONING`.

    Source: Dhariwal and Nichol 2021, section 3; condition as in Behrendt et al. 2025 (arXiv 2312.04215).
    """

    def __init__(
        self,
        base_channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 3,
        attention_levels: Sequence[int] = (3, 6, 12),
        head_channels: int = 64,
        cond_features: int | None = None,
        conditioning: str = "scale_shift",
    ):
        super().__init__()
        features = 4 * base_channels
        self.sinusoids = TimeEmbedding(base_channels)
        self.time_embed = EmbeddingMLP(base_channels, features)
        modulates, is_token = CONDITIONING[conditioning]
        self.label_emb = EmbeddingMLP(cond_features, features) if cond_features and modulates else None
        self._seen = features if self.label_emb is None else 2 * features
        self._cond_features = cond_features
        self._token_features = cond_features if is_token else None
        self._head_channels = head_channels
        self._attention_levels = tuple(attention_levels)

        widths = [base_channels * multiplier for multiplier in multipliers]
        self.input_blocks, skips = self._down(widths, blocks)
        width = widths[-1]
        self.middle_block = Stage(
            self._residual(width, width), self._attention(width), self._residual(width, width)
        )
        self.output_blocks = self._up(widths, blocks, skips)
        self.out = nn.Sequential(GroupNorm(widths[0]), nn.SiLU(inplace=True), conv3(widths[0], 1))

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x_t[B,1,H,W], t[B] (steps, from 0), cond[B,E] or None -> prediction[B,1,H,W], float32."""
        if (cond is None) != (self._cond_features is None):
            raise ValueError("UNet: the condition is missing, or not expected")
        embedding = self.time_embed(self.sinusoids(t))
        if self.label_emb is not None:
            embedding = torch.cat([embedding, self.label_emb(cond)], dim=1)
        tokens = cond[:, None] if cond is not None and self._token_features is not None else None
        h = in_layout_of(self.middle_block[0].in_layers[2].weight, x_t)
        skips = []
        for stage in self.input_blocks:
            h = stage(h, embedding, tokens)
            skips.append(h)
        h = self.middle_block(h, embedding, tokens)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, skips.pop()], dim=1), embedding, tokens)
        with float32(h):  # the anomaly map is a small difference of images
            return self.out(h.float())

    def _down(self, widths: list[int], blocks: int) -> tuple[nn.ModuleList, list[int]]:
        """The stages on the way down, and how many channels each leaves for the way up."""
        stages, skips = [Stage(conv3(1, widths[0]))], [widths[0]]
        for level, width in enumerate(widths):
            for _ in range(blocks):
                stages.append(Stage(self._residual(skips[-1], width), *self._attentions(level, width)))
                skips.append(width)
            if level < len(widths) - 1:
                stages.append(Stage(self._residual(width, width, nn.AvgPool2d(2))))
                skips.append(width)
        return nn.ModuleList(stages), skips

    def _up(self, widths: list[int], blocks: int, skips: list[int]) -> nn.ModuleList:
        """The stages on the way up; each also sees what one on the way down left, coarsest first."""
        stages, remaining, before = [], list(skips), widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            for block in range(blocks + 1):
                layers = [self._residual(before + remaining.pop(), width), *self._attentions(level, width)]
                if level > 0 and block == blocks:
                    layers.append(self._residual(width, width, nn.UpsamplingNearest2d(scale_factor=2)))
                stages.append(Stage(*layers))
                before = width
        return nn.ModuleList(stages)

    def _residual(self, inputs: int, outputs: int, resample: nn.Module | None = None) -> ResidualBlock:
        return ResidualBlock(inputs, outputs, self._seen, resample)

    def _attentions(self, level: int, width: int) -> list[nn.Module]:
        """The attention after a residual block, where the level has one."""
        return [self._attention(width)] if 2**level in self._attention_levels else []

    def _attention(self, width: int) -> nn.Module:
        if self._token_features is None:
            return SelfAttention(width, self._head_channels)
        return SpatialTransformer(width, self._token_features, self._head_channels)
