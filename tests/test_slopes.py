"""Slopes of single samples' losses: the two ways agree with each other and with plain gradients; chunks fit their
memory.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import models
from models.parts import lay_out
from trainer.cpu_arithmetic import winograd
from unlearn import curvature, slopes

pytestmark = pytest.mark.numeric


class Small(nn.Module):
    """A convolution with stride, dilation and bias, both batch norms, and a linear layer that is used twice."""

    def __init__(self, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=2, dilation=2, groups=groups)
        self.norm, self.last = nn.BatchNorm2d(6), nn.BatchNorm1d(6)
        self.twice, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.head(self.last(self.twice(torch.relu(self.twice(x)))))


def dot(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    """Inner product over all parameters, summed in float64."""
    return sum(float((left[name].double() * right[name].double()).sum()) for name in left)


def _moving(model: nn.Module) -> nn.Module:
    torch.manual_seed(2)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.double().eval()


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(Small, id="small"),
        pytest.param(lambda: models.build("resnet20s", 4), id="resnet20s"),
        pytest.param(lambda: models.build("vgg16_bn", 4), id="vgg16_bn", marks=pytest.mark.torture),
    ],
)
def test_backward_and_forward_slopes_are_products_with_gradients(build):
    model = _moving(build())
    torch.manual_seed(1)
    batches = [(torch.rand(n, 3, 32, 32).double(), torch.randint(0, 4, (n,))) for n in (2, 1)]
    directions = [{name: torch.randn_like(p) for name, p in model.named_parameters()} for _ in range(2)]
    assert slopes._is_simple(model)
    backward, forward = (run(model, batches, directions) for run in (slopes.slopes, slopes._slopes_forward))
    for index, direction in enumerate(directions):
        plain = torch.tensor(
            [
                dot(curvature.summed_gradient(model, [(x[i : i + 1], y[i : i + 1])], {}), direction)
                for x, y in batches
                for i in range(len(y))
            ],
            dtype=torch.float64,
        )
        assert backward[index].dtype == torch.float64
        assert torch.allclose(backward[index], plain, rtol=1e-9, atol=1e-9) and torch.allclose(
            forward[index], plain, rtol=1e-9, atol=1e-9
        )
    assert all(p.requires_grad and p.grad is None for p in model.parameters()) and not any(
        m._forward_hooks for m in model.modules()
    )


def test_wide_convolutions_and_activations_in_place(monkeypatch):
    """In float32 the wide layers go by Winograd's tiles; what ReLU writes in place must not undo the hooks on their
    outputs.
    """
    calls = []
    monkeypatch.setattr(
        winograd, "conv2d", lambda *given, plain=winograd.conv2d: calls.append(given[1].shape[0]) or plain(*given)
    )
    torch.manual_seed(3)
    relu = [nn.ReLU(inplace=True) for _ in range(3)]
    model = nn.Sequential(
        nn.Conv2d(3, 128, 3, padding=1),
        relu[0],
        nn.Conv2d(128, 128, 3, padding=1),
        relu[1],
        nn.Conv2d(128, 128, 3, padding=1),
        relu[2],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 4),
    )
    lay_out(model).eval()
    batches = [(torch.rand(16, 3, 8, 8), torch.arange(16) % 4)]
    directions = [{name: torch.randn_like(p) for name, p in model.named_parameters()} for _ in range(2)]
    backward, forward = (run(model, batches, directions) for run in (slopes._slopes_backward, slopes._slopes_forward))
    for ours, theirs in zip(backward, forward):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert calls == [128, 128, 256, 256]  # the layers, then what both directions make of their inputs


def test_layers_of_other_kinds_go_forward():
    assert not slopes._is_simple(Small(groups=3)) and not slopes._is_simple(models.build("vit_tiny", 4, size=32))


def test_images_at_once_counts_what_autograd_keeps():
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    image = torch.zeros(10)
    # kept for one row: the input (10 numbers) and the activations (20), which ReLU and the second layer share
    assert curvature.images_at_once(model, image, 1000, memory=4 * 30 * 7) == 7
    assert curvature.images_at_once(model, image, 3, memory=4 * 30 * 7) == 3
    assert curvature.images_at_once(model, image, 1000, memory=1) == 1


def test_images_at_once_knows_what_does_not_grow_with_them():
    """Each of two wide layers keeps its input and 4 tiles of 36 numbers for an image, and 36 factors of every filter
    for all.
    """
    model = lay_out(nn.Sequential(*(nn.Conv2d(128, 128, 3, padding=1, bias=False) for _ in range(2))))
    fixed, each = 2 * 4 * 36 * 128 * 128, 2 * 4 * 128 * (8 * 8 + 4 * 36)
    assert curvature.images_at_once(model, torch.zeros(128, 8, 8), 1000, memory=fixed + int(7.5 * each)) == 7
