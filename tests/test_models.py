"""Architectures: parameter counts, initial weights and keys that the field's checkpoints have."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.profiler import profile

import models
from models.vgg import EvenPool
from utils.errors import UsageError

pytestmark = pytest.mark.numeric

PARAMETERS = {  # at 10 classes, CIFAR stem
    "resnet18": 11_173_962,
    "resnet50": 23_520_842,
    "resnet20s": 269_722,
    "resnet44s": 658_586,
    "resnet56s": 853_018,
    "resnet20": 272_474,
    "resnet32": 466_906,
    "resnet44": 661_338,
    "resnet56": 855_770,
    "resnet32s": 464_154,
    "resnet110s": 1_727_962,
    "vgg16_bn": 15_311_818,
    "vgg16_bn_lth": 14_728_266,
}
FIRST_ROW = {  # of the first convolution, after torch.manual_seed(1)
    "resnet18": (-0.1012930, -0.0597542, 0.0532933),
    "resnet20s": (0.1305602, 0.0451970, 0.2275396),
    "vgg16_bn": (-0.0834126, 0.0537820, 0.1536960),
}


def test_names():
    assert sorted(models.names()) == sorted(
        [*PARAMETERS, "swin_t", "vit_tiny", "vit_b_16", "vit_b_32", "vit_l_16", "tinyvit_11m"]
    )  # see test_transformers.py, test_tinyvit.py


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    with torch.device("meta"):
        assert sum(p.numel() for p in models.build(name, 10).parameters()) == PARAMETERS[name]


def test_parameter_counts_of_other_heads_and_stems():
    count = lambda *given, **more: sum(p.numel() for p in models.build(*given, **more).parameters())  # noqa: E731
    assert count("resnet18", 100) == 11_220_132 and count("resnet20s", 100) == 275_572
    assert count("resnet18", 1000, imagenet_stem=True) == 11_689_512
    assert count("resnet50", 1000, imagenet_stem=True) == 25_557_032


@pytest.mark.parametrize("name", FIRST_ROW)
def test_a_seed_gives_the_fields_initial_weights(name):
    torch.manual_seed(1)
    model = models.build(name, 10)
    first = next(p for p in model.parameters() if p.ndim == 4)
    assert first[0, 0, 0].tolist() == pytest.approx(FIRST_ROW[name], abs=1e-6)
    if name == "resnet18":
        assert model.fc.bias[:3].tolist() == pytest.approx((0.0146641, -0.0201454, -0.0177506), abs=1e-6)


@pytest.mark.parametrize("name", PARAMETERS)
def test_outputs_and_position_of_the_normalisation(name):
    model = models.build(name, 7).eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    keys = list(model.state_dict())
    assert (keys[-2:] if name.startswith("vgg") else keys[:2]) == ["normalize.mean", "normalize.std"]


def test_the_model_normalises_its_own_input():
    torch.manual_seed(0)
    plain = models.build("resnet20s", 10).eval()
    scaled = models.build("resnet20s", 10, ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))).eval()
    scaled.load_state_dict({k: v for k, v in plain.state_dict().items() if "normalize" not in k}, strict=False)
    images = torch.rand(2, 3, 32, 32)
    by_hand = torch.stack(
        [(images[:, c] - m) / s for c, (m, s) in enumerate(zip((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))], 1
    )
    assert torch.allclose(scaled(images), plain(by_hand), atol=1e-5)
    assert not torch.allclose(scaled(images), plain(images), atol=1e-2)


def test_unknown_names_and_stems():
    with pytest.raises(UsageError, match=r"--arch resnet19: unknown \(did you mean resnet18\?\)"):
        models.build("resnet19", 10)
    with pytest.raises(
        UsageError,
        match="--imagenet_arch: vgg16_bn_lth has no ImageNet stem; only resnet18, resnet50, swin_t, vgg16_bn have one",
    ):
        models.build("vgg16_bn_lth", 10, imagenet_stem=True)


def test_a_state_dict_tells_its_architecture():
    assert models.guess(models.build("vgg16_bn_lth", 100).state_dict()) == "vgg16_bn_lth"
    assert (
        models.guess(models.build("resnet18", 10, imagenet_stem=True).state_dict()) == "resnet18 with the ImageNet stem"
    )
    assert models.guess({"weight": torch.zeros(1)}) is None


POOLED = [(2, 2), (4, 2), (8, 2), (6, 2), (3, 2), (5, 2), (1, 7), (7, 7), (14, 7), (21, 7), (2, 1), (1, 1)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side, size", POOLED)
def test_even_pooling_is_adaptive_pooling(side, size, layout):
    maps = torch.randn(3, 5, side, side).contiguous(memory_format=layout)
    above, found = torch.randn(3, 5, size, size), []
    for pool in (nn.AdaptiveAvgPool2d(size), EvenPool(size)):
        x = maps.detach().requires_grad_()
        pooled = pool(x)
        found.append((pooled.detach(), *torch.autograd.grad(pooled, x, above)))
    for expected, own in zip(*found):
        if side in (6, 21):  # windows of 9 pixels: the last digit differs
            torch.testing.assert_close(own, expected, rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(own, expected)


@pytest.mark.parametrize("name", ["vgg16_bn", "vgg16_bn_lth"])
def test_no_vgg_has_adaptive_poolings_backward_pass_which_gpus_refuse_under_deterministic(name):
    model = models.build(name, 3).eval()
    with profile() as seen:
        model(torch.rand(2, 3, 32, 32)).sum().backward()
    names = {event.key for event in seen.key_averages()}
    assert "aten::convolution_backward" in names and "aten::_adaptive_avg_pool2d_backward" not in names
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fuse(model).modules()), "it can be traced"


def test_the_published_vgg_pools_evenly_too():
    with torch.device("meta"):
        model = models.build("vgg16_bn", 3, imagenet_stem=True)
    assert [module.size for module in model.modules() if isinstance(module, EvenPool)] == [7]
    assert not any(isinstance(module, nn.AdaptiveAvgPool2d) for module in model.modules())
