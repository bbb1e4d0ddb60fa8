"""The small ResNets for 32x32 images (He et al., 2016, section 4.2): depth 6n + 2, widths 16, 32, 64.

``resnet20s`` and its like have shortcuts without parameters, ``resnet20`` and its like 1x1 convolutions with batch norm
where the shape changes (the paper's options A and B). Published checkpoints come in both forms.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from models.architectures import architecture
from models.normalize import Normalize


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut around them.

    Where the shape changes, the shortcut subsamples pixels and zero-pads channels, or with ``projects`` is a 1x1
    convolution with batch norm.
    """

    def __init__(self, inputs: int, width: int, stride: int, projects: bool = False):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.grows = stride != 1 or inputs != width
        self.channel_pad = width // 4
        self.downsample = None
        if projects and self.grows:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.downsample is not None:
            shortcut = self.downsample(x)
        elif self.grows:
            shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.channel_pad, self.channel_pad))
        x = F.relu_(self.bn1(self.conv1(x)))
        return F.relu_(self.bn2(self.conv2(x)) + shortcut)


class SmallResNet(nn.Module):
    """Stem, three stages of ``depth`` blocks, global average pooling and a linear head."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(self, depth: int, classes: int, projects: bool = False):
        super().__init__()
        self.normalize = Normalize()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        inputs = 16
        for stage, width in enumerate((16, 32, 64), start=1):
            blocks = []
            for index in range(depth):
                blocks.append(Block(inputs, width, stride=2 if stage > 1 and index == 0 else 1, projects=projects))
                inputs = width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu_(self.bn1(self.conv1(self.normalize(images))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


for _depth in (3, 5, 7, 9, 18):
    architecture(f"resnet{6 * _depth + 2}s")(partial(SmallResNet, _depth))
for _depth in (3, 5, 7, 9):
    architecture(f"resnet{6 * _depth + 2}")(partial(SmallResNet, _depth, projects=True))
