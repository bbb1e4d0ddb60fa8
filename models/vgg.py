"""VGG-16 with batch normalisation (Simonyan & Zisserman, 2015), for 32x32 images, and torchvision's for ImageNet.

``vgg16_bn`` has bias-free convolutions and a three-layer classifier; ``vgg16_bn_lth`` has
convolution biases (never pruned) and one linear layer, as in the lottery-ticket literature.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architectures import architecture
from models.normalize import Normalize, normalize_first

PLAN = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)


def _features(bias: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for width in PLAN:
        if isinstance(width, str):  # "pool"
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=bias), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        inputs = width
    return nn.Sequential(*layers)


class EvenPool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` to ``size`` x ``size``, by plain pooling where ``size`` divides the sides of the maps.

    On CUDA the backward pass of adaptive pooling adds up in no fixed order, so ``--deterministic`` refuses it.
    """

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        return _even_pool(maps, self.size)


@torch.fx.wrap  # stays one operation when a model is traced, because it branches on shapes
def _even_pool(maps: Tensor, size: int) -> Tensor:
    height, width = maps.shape[2:]
    if size == 1 or height % size or width % size:
        return F.adaptive_avg_pool2d(maps, size)  # to 1 x 1, torch computes a mean, which --deterministic allows
    return maps if height == width == size else F.avg_pool2d(maps, (height // size, width // size))


class VGG(nn.Module):
    """Convolutions, adaptive average pooling to ``pool`` x ``pool``, classifier."""

    def __init__(self, bias: bool, pool: int, classifier: nn.Module):
        super().__init__()
        self.features = _features(bias)
        self.avgpool = EvenPool(pool)
        self.classifier = classifier
        self.normalize = Normalize()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(self.normalize(images))).flatten(1))


@architecture("vgg16_bn")
def vgg16_bn(classes: int) -> nn.Module:
    hidden = [nn.Linear(512 * 4, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
    return VGG(bias=False, pool=2, classifier=nn.Sequential(*hidden, nn.Linear(256, classes)))


@architecture("vgg16_bn_lth")
def vgg16_bn_lth(classes: int) -> nn.Module:
    return VGG(bias=True, pool=1, classifier=nn.Linear(512, classes))


@architecture("vgg16_bn", imagenet_stem=True)
def vgg16_bn_imagenet(classes: int) -> nn.Module:
    from torchvision.models import vgg16_bn as published  # here, because it takes a second

    model = published(num_classes=classes)
    model.avgpool = EvenPool(7)
    return normalize_first(model)
