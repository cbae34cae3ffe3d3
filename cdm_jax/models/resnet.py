"""How does a residual network turn an image into one vector?"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cdm_jax.models.batch_norm import BatchNorm, hide
from cdm_jax.models.layers import uniform_init

SMALL = 6  # pixels on a side
kaiming_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def stochastic_depth(residual: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """Drop the residual of a sample with probability `rate`, divide the kept ones by 1 - rate: [B,H,W,C].

    Source: Huang et al. 2016 section 3, normalised so that the expectation stays.
    """
    kept = jax.random.bernoulli(key, 1 - rate, (residual.shape[0], 1, 1, 1))
    return jnp.where(kept, residual / (1 - rate), 0)


class Block(nn.Module):
    """Residual block of 3x3 3x3 or 1x1 3x3 1x1: [B,H,W,C] -> [B,H/stride,W/stride,width or 4 width].

    What the convolutions smear into hidden patches, the normalisation after each of them removes again.
    """

    width: int
    stride: int
    bottleneck: bool
    drop_path: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, active: jax.Array | None = None) -> jax.Array:
        # (kernel, stride, channels) of each convolution
        convs = [(3, self.stride, self.width), (3, 1, self.width)]
        if self.bottleneck:
            convs = [(1, 1, self.width), (3, self.stride, self.width), (1, 1, 4 * self.width)]

        h = x
        for i, (kernel, stride, channels) in enumerate(convs, start=1):
            h = conv(channels, kernel, stride, self.dtype, name=f"conv{i}")(h)
            last = i == len(convs)
            scale_init = nn.initializers.zeros_init() if last else nn.initializers.ones_init()
            h = BatchNorm(scale_init, self.dtype, name=f"bn{i}")(h, train, active)
            h = h if last else nn.relu(h)

        if train and self.drop_path > 0:
            h = stochastic_depth(h, self.drop_path, self.make_rng("drop_path"))
        if x.shape != h.shape:
            x = conv(h.shape[-1], 1, self.stride, self.dtype, name="downsample_conv")(x)
            x = BatchNorm(dtype=self.dtype, name="downsample_bn")(x, train, active)
        return nn.relu(x + h)


class ResNet(nn.Module):
    """ResNet of one input channel with a linear head on the global average.

    Of a partly hidden image it sees the visible patches alone: the sparse convolutions of SparK, written as
    dense ones followed by the mask.

    Attributes:
      features: E, length of the output; None: no head, the output is the pyramid of all stages.
      depths: blocks of each stage; every stage but the first begins by halving the resolution.
      bottleneck: blocks of three convolutions in place of two.
      width: channels of the first stage, doubled at every further one; 64 in the paper.
      drop_path: stochastic depth of the last block, growing linearly from 0 at the first; needs the rng
        "drop_path" in training when above 0.
      remat: keep only what enters each block, and compute its inside again on the way back (Chen et al. 2016).
      dtype: of the computation; parameters are float32, statistics and the output too or, if that is wider, dtype.

    Source: He et al. 2016, table 1; the last BatchNorm scale of each block starts at 0 (Goyal et al. 2017);
    Tian et al. 2023, section 3 (hidden patches).
    """

    features: int | None
    depths: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True
    width: int = 64
    drop_path: float = 0.0
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, image: jax.Array, train: bool = False, active: jax.Array | None = None
    ) -> jax.Array | list[jax.Array]:
        """image[B,H,W,1] in [0, 1] -> cond[B,E], float32; without a head the stages' outputs, finest first.

        `active` bool [B,H/32,W/32] or [B,H/32,W/32,1] marks the visible patches, None all; H and W are then
        multiples of 32, and hidden positions are 0 in the pyramid.
        """
        h = self._stem(hide(image, active), train, active)
        pyramid = []
        for stage in range(len(self.depths)):
            h = self._stage(h, stage, train, active)
            pyramid.append(h)
        if self.features is None:
            return pyramid
        wide = jnp.promote_types(self.dtype, jnp.float32)
        pooled = jnp.mean(h, axis=(1, 2), dtype=wide)
        return nn.Dense(self.features, kernel_init=uniform_init, dtype=wide, name="fc")(pooled)

    def _stem(self, image: jax.Array, train: bool, active: jax.Array | None) -> jax.Array:
        """[B,H,W,1] -> [B,H/4,W/4,width]."""
        h = conv(self.width, 7, 2, self.dtype, name="conv1")(image)
        h = nn.relu(BatchNorm(dtype=self.dtype, name="bn1")(h, train, active))
        return hide(nn.max_pool(h, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1))), active)

    def _stage(self, h: jax.Array, stage: int, train: bool, active: jax.Array | None) -> jax.Array:
        """All blocks of one stage, named layer1_0, layer1_1, ..."""
        before, last = sum(self.depths[:stage]), max(sum(self.depths) - 1, 1)
        for i in range(self.depths[stage]):
            stride = 2 if stage > 0 and i == 0 else 1
            rate = self.drop_path * (before + i) / last
            kind = nn.remat(Block, static_argnums=(2,)) if self.remat else Block  # 2: train
            block = kind(self.width * 2**stage, stride, self.bottleneck, rate, self.dtype,
                         name=f"layer{stage + 1}_{i}")  # fmt: skip
            h = block(h, train, active)
        return h


def conv(
    channels: int,
    kernel: int,
    stride: int,
    dtype: jnp.dtype,
    name: str,
    kernel_init: nn.initializers.Initializer = kaiming_init,
    use_bias: bool = False,
) -> nn.Conv:
    """Convolution padded by kernel // 2 on every side ("SAME" pads strided ones unevenly)."""
    return nn.Conv(
        channels,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        use_bias=use_bias,
        kernel_init=kernel_init,
        conv_general_dilated=convolve,
        dtype=dtype,
        name=name,
    )


def convolve(image, kernel, strides, padding, **settings) -> jax.Array:
    """`lax.conv_general_dilated`, as one matrix product where the image is small.

    XLA turns a 3x3 convolution of a 2x2 image around, kernel over image, for which its CPU backend has only
    a scalar loop, a hundred times slower; up to 6x6 the product is 1.5 to 2 times faster with its gradients.
    """
    height, width = image.shape[1:3]
    if max(height, width) > SMALL or kernel.shape[0] == 1:
        return jax.lax.conv_general_dilated(image, kernel, strides, padding, **settings)
    padded = jnp.pad(image, ((0, 0), *padding, (0, 0)))
    (rows, columns), (down, right) = kernel.shape[:2], strides
    patches = [
        padded[
            :,
            i : i + height + sum(padding[0]) - rows + 1 : down,
            j : j + width + sum(padding[1]) - columns + 1 : right,
        ]
        for i in range(rows)
        for j in range(columns)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])
