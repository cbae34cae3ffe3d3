"""How does a residual network turn an image into one vector?"""

import torch.nn.functional as F
from torch import Tensor, nn

from cdm_jax.torch_reference.layers import float32, in_layout_of

# Blocks a stage, and whether a block has three convolutions: He et al. 2016, table 1.
DEPTHS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}


class Block(nn.Module):
    """Residual block of 3x3 3x3 or 1x1 3x3 1x1: [B,C,H,W] -> [B,width or 4 width,H/stride,W/stride]."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        # (kernel, stride, channels) of each convolution
        convs = [(3, stride, width), (3, 1, width)]
        if bottleneck:
            convs = [(1, 1, width), (3, stride, width), (1, 1, outputs)]
        self.convs, channels = len(convs), inputs
        for i, (kernel, step, width) in enumerate(convs, start=1):
            self.add_module(f"conv{i}", conv(channels, width, kernel, step))
            self.add_module(f"bn{i}", nn.BatchNorm2d(width))
            channels = width
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for i in range(1, self.convs + 1):
            h = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(h))
            h = F.relu(h, inplace=True) if i < self.convs else h
        return F.relu(h + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet(nn.Module):
    """ResNet of one input channel with a linear head on the global average.

    Args:
      name: a key of `DEPTHS`; features: E, length of the output; width: channels of the first stage.

    Source: He et al. 2016, table 1, with the stride of a bottleneck in its 3x3 convolution.
    """

    def __init__(self, name: str, features: int, width: int = 64):
        super().__init__()
        depths, bottleneck = DEPTHS[name]
        self.conv1 = conv(1, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        channels, stages = width, []
        for stage, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(Block(channels, width * 2**stage, stride, bottleneck))
                channels = width * 2**stage * (4 if bottleneck else 1)
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(channels, features)

    def forward(self, image: Tensor) -> Tensor:
        """image[B,1,H,W] in [0, 1] -> cond[B,E], float32."""
        h = in_layout_of(self.layer1[0].conv2.weight, image)
        h = F.relu(self.bn1(self.conv1(h)), inplace=True)
        h = F.max_pool2d(h, 3, stride=2, padding=1)
        h = self.layer4(self.layer3(self.layer2(self.layer1(h))))
        with float32(h):
            return self.fc(h.float().mean(dim=(2, 3)))


def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
