"""Convolutions with small outputs against torch's, and when they are taken."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.parts import lay_out
from trainer.cpu_arithmetic import cpu_arithmetic, small_maps
from trainer.cpu_arithmetic.small_maps import conv2d

pytestmark = pytest.mark.numeric


def taken(monkeypatch) -> list:
    calls = []
    monkeypatch.setattr(small_maps, "conv2d", lambda *given: calls.append(given[0].shape) or conv2d(*given))
    return calls


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (1, 3), (4, 4), (5, 6)])
def test_outputs_and_gradients_are_those_of_a_direct_sum(size, stride):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, *size, generator=random, requires_grad=True)
    weight = torch.randn(7, 5, 3, 3, generator=random, requires_grad=True)
    bias = torch.randn(7, generator=random, requires_grad=True)
    exact = [tensor.detach().double().requires_grad_() for tensor in (x, weight, bias)]
    expected = F.conv2d(*exact, stride=stride, padding=1)
    found = conv2d(x, weight, bias, stride)
    above = torch.randn(expected.shape, generator=random)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, weight, bias), above), torch.autograd.grad(expected, exact, above.double())
    ):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_one_pixel_worked_by_hand():
    """A lone pixel meets the middle tap alone: the others, and their gradients, play no part."""
    x, weight = torch.full((1, 1, 1, 1), 2.0), torch.arange(1.0, 10.0).view(1, 1, 3, 3).requires_grad_()
    found = conv2d(x, weight)
    assert found.item() == 10
    (by_weight,) = torch.autograd.grad(found, weight, torch.full((1, 1, 1, 1), 3.0))
    assert by_weight.flatten().tolist() == [0, 0, 0, 0, 6, 0, 0, 0, 0]


@pytest.mark.parametrize("wanted", ["x", "weight"])
def test_gradients_one_at_a_time(wanted):
    random = torch.Generator().manual_seed(4)
    given = {"x": torch.randn(3, 3, 2, 2, generator=random), "weight": torch.randn(4, 3, 3, 3, generator=random)}
    given[wanted].requires_grad_()
    found, expected = (
        torch.autograd.grad(run().square().sum(), given[wanted])[0]
        for run in (lambda: conv2d(**given), lambda: F.conv2d(*given.values(), padding=1))
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "side, stride, channels, expected",
    [(2, 1, 128, 1), (3, 1, 128, 1), (4, 1, 128, 0), (6, 2, 128, 1), (7, 2, 128, 0), (2, 1, 64, 0)],
)
def test_taken_where_channels_are_many_and_the_output_small(monkeypatch, side, stride, channels, expected):
    layer = lay_out(nn.Conv2d(channels, 128, 3, stride, padding=1, bias=False))
    x = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))
    calls = taken(monkeypatch)
    with cpu_arithmetic(layer):
        found = layer(x)
    assert len(calls) == expected
    torch.testing.assert_close(found, layer(x), rtol=1e-4, atol=1e-4)
    assert len(calls) == expected
