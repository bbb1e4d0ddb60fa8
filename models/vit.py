"""Vision transformers (Dosovitskiy et al., 2021): torchvision's class and keys, and a small one for 32x32 images.

``vit_tiny`` has the proportions of DeiT-Ti (Touvron et al., 2021, table 1: width 192, 12 blocks, 3 heads) with
patches of 4 pixels instead of 16, so that an image of 32x32 pixels makes 64 tokens. There is one position per patch,
so a model only takes images of the side that it was built for, which must be a multiple of the patch's.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from models.architectures import architecture
from models.normalize import normalize_first


def _transformer(classes: int, size: int, patch: int, width: int, depth: int, heads: int) -> nn.Module:
    from torchvision.models.vision_transformer import VisionTransformer  # here, because it takes a second

    return normalize_first(VisionTransformer(size, patch, depth, heads, width, 4 * width, num_classes=classes))


for _name, _size, _shape in (
    ("vit_tiny", 32, {"patch": 4, "width": 192, "depth": 12, "heads": 3}),
    ("vit_b_16", 224, {"patch": 16, "width": 768, "depth": 12, "heads": 12}),
    ("vit_b_32", 224, {"patch": 32, "width": 768, "depth": 12, "heads": 12}),
    ("vit_l_16", 224, {"patch": 16, "width": 1024, "depth": 24, "heads": 16}),
):
    architecture(_name)(partial(_transformer, size=_size, **_shape))
