"""Winograd's convolution against torch's, and when it is taken."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.parts import lay_out
from trainer.cpu_arithmetic import cpu_arithmetic, winograd
from trainer.cpu_arithmetic.convolutions import convolve
from trainer.cpu_arithmetic.winograd import conv2d
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.steps import Step
from trainer.task import Batch, Classification

pytestmark = pytest.mark.numeric


def layer(inputs: int = 128, outputs: int = 128, **more) -> nn.Conv2d:
    return lay_out(nn.Conv2d(inputs, outputs, 3, **{"padding": 1, "bias": False} | more))


def images(count: int = 8, channels: int = 128, height: int = 8, width: int | None = None) -> torch.Tensor:
    drawn = torch.randn(count, channels, height, width or height, generator=torch.Generator().manual_seed(1))
    return drawn.contiguous(memory_format=torch.channels_last)


def taken(monkeypatch) -> list:
    calls = []
    monkeypatch.setattr(winograd, "conv2d", lambda *given: calls.append(given[0].shape) or conv2d(*given))
    return calls


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (5, 7), (1, 1), (3, 10), (16, 2)])
def test_outputs_and_gradients_are_those_of_a_direct_sum(size):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, *size, generator=random, requires_grad=True)
    weight = torch.randn(7, 5, 3, 3, generator=random, requires_grad=True)
    bias = torch.randn(7, generator=random, requires_grad=True)
    above = torch.randn(3, 7, *size, generator=random)
    exact = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    expected = F.conv2d(*exact, padding=1)
    found = conv2d(x, weight, bias)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    assert found.is_contiguous(memory_format=torch.channels_last) and not found._is_view()
    assert conv2d(x, weight).is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(
        torch.autograd.grad(found, (x, weight, bias), above), torch.autograd.grad(expected, exact, above.double())
    ):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("few", [1, 64])
@pytest.mark.parametrize("wanted", ["x", "weight"])
def test_gradients_one_at_a_time_with_and_without_what_is_kept(monkeypatch, few, wanted):
    monkeypatch.setattr(winograd, "FEW", few)
    monkeypatch.setattr(winograd, "AT_ONCE", 1)
    random = torch.Generator().manual_seed(4)
    given = {"x": torch.randn(3, 3, 6, 9, generator=random), "weight": torch.randn(4, 3, 3, 3, generator=random)}
    given[wanted].requires_grad_()
    above = torch.randn(3, 4, 6, 9, generator=random)
    found, expected = (
        torch.autograd.grad(run(), given[wanted], above)[0]
        for run in (lambda: conv2d(**given), lambda: F.conv2d(*given.values(), padding=1))
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_many_images_keep_their_input_alone():
    x, weight, found = torch.randn(65, 8, 8, 8, requires_grad=True), torch.randn(8, 8, 3, 3, requires_grad=True), []
    for images, expected in ((x, 2), (x[:64], 4)):
        found.clear()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: found.append(tensor.shape) or tensor, lambda tensor: tensor
        ):
            kept = conv2d(images, weight)
        del kept
        assert len(found) == expected


def test_a_second_derivative_is_refused():
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    (first,) = torch.autograd.grad(conv2d(torch.randn(2, 3, 4, 4), weight).square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(first.sum(), weight)


def test_one_tile_worked_by_hand():
    """A single bright pixel gives the filter turned by half a turn; whole numbers come out whole but for rounding."""
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 2] = 1
    found = conv2d(x, torch.arange(1.0, 10.0).view(1, 1, 3, 3))
    expected = torch.tensor([[0, 9, 8, 7], [0, 6, 5, 4], [0, 3, 2, 1], [0, 0, 0, 0.0]])
    torch.testing.assert_close(found[0, 0], expected, atol=3e-5, rtol=0)


def test_a_wide_layer_is_within_its_stated_error():
    x, conv = images(32, 512, 4), layer(512, 512)
    exact = F.conv2d(x.double(), conv.weight.double(), padding=1)
    assert (conv2d(x, conv.weight).double() - exact).norm() / exact.norm() < 6e-6


def test_inside_the_context_a_wide_layer_takes_it_and_afterwards_torch_does(monkeypatch):
    calls, model = taken(monkeypatch), nn.Sequential(layer(), layer())
    with cpu_arithmetic(model):
        fast = model(images())
    assert len(calls) == 2 and not any("forward" in vars(module) for module in model)
    torch.testing.assert_close(fast, model(images()), rtol=1e-4, atol=1e-4)  # a wrong tile would be off by tenths
    assert len(calls) == 2


def test_layers_compute_as_torch_does_afterwards_also_where_something_was_raised_or_contexts_are_nested():
    model = layer()
    with pytest.raises(ZeroDivisionError), cpu_arithmetic(model):
        with cpu_arithmetic(model):
            pass
        assert "forward" in vars(model)
        _ = 1 / 0
    assert "forward" not in vars(model)


def test_switched_off_outputs_gradients_and_statistics_are_torchs_to_the_bit(monkeypatch):
    monkeypatch.setattr("utils.device._Arithmetic.fast", False)
    ours = lay_out(nn.Sequential(layer(), nn.BatchNorm2d(128), nn.ReLU(), layer(bias=True)))
    plain, x = copy.deepcopy(ours), images()
    with cpu_arithmetic(ours):
        found = ours(x)
        found.square().sum().backward()
    expected = plain(x)
    expected.square().sum().backward()
    assert torch.equal(found, expected) and torch.equal(ours[1].running_var, plain[1].running_var)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours.parameters(), plain.parameters()))
    weight = ours[0].weight.detach()
    assert torch.equal(convolve(ours[0], x, weight, None), F.conv2d(x, weight, padding=1))
    monkeypatch.undo()
    with cpu_arithmetic(ours):
        assert not torch.equal(ours(x), expected)


def test_a_module_with_a_forward_of_its_own_keeps_it(monkeypatch):
    calls, conv = taken(monkeypatch), layer()
    conv.forward = lambda x: x
    with cpu_arithmetic(conv):
        assert conv(3) == 3
    assert conv(3) == 3 and not calls


def test_training_steps_and_batch_norm_in_the_context(monkeypatch):
    """A step calls it once per pass, twice where SAM climbs first; its outputs suit the exact batch norm."""
    model = lay_out(nn.Sequential(layer(), nn.BatchNorm2d(128), nn.ReLU(), nn.Flatten(), nn.Linear(128 * 64, 3)))
    monkeypatch.setattr(
        nn.modules.batchnorm._BatchNorm, "forward", lambda *_: pytest.fail("torch's batch norm was called")
    )
    for rho, expected in ((0.0, 1), (0.5, 2)):
        calls = taken(monkeypatch)
        Training(model, Recipe(1, 0.01, schedule="constant", sam_rho=rho), {}).gradients(
            Step(Batch(images(), torch.arange(8) % 3), 8, Classification().mean)
        )
        assert len(calls) == expected


@pytest.mark.parametrize("side, expected", [(5, 0), (6, 1), (7, 1)])
def test_tiles_must_be_half_full_at_least(monkeypatch, side, expected):
    calls, conv = taken(monkeypatch), layer(padding="same")
    with cpu_arithmetic(conv):
        conv(images(16, height=side))
    assert len(calls) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": 64},
        {"outputs": 64},
        {"stride": 2},
        {"dilation": 2},
        {"padding": 0},
        {"groups": 2},
        {"padding_mode": "reflect"},
    ],
)
def test_other_layers_are_left_to_torch(monkeypatch, change):
    calls, conv = taken(monkeypatch), layer(**change)
    x = images(channels=conv.in_channels)
    with cpu_arithmetic(conv):
        torch.testing.assert_close(
            conv(x),
            F.conv2d(x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
            if conv.padding_mode == "zeros"
            else conv(x),
        )
    assert not calls


@pytest.mark.parametrize(
    "x",
    [images(4, height=8), images(32, height=5), images(1, height=32), images(8).double()],
    ids=["few", "empty", "large", "double"],
)
def test_other_images_are_left_to_torch(monkeypatch, x):
    """Fewer than 32 tiles; tiles mostly empty; sides of more than an eighth of the channels; another dtype."""
    calls, conv = taken(monkeypatch), layer()
    with cpu_arithmetic(conv):
        if x.dtype == torch.float64:
            with pytest.raises(RuntimeError):  # torch's own answer to two dtypes
                conv(x)
        else:
            torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, padding=1))
    assert not calls


def test_bfloat16_stays_with_torch(monkeypatch):
    calls, conv = taken(monkeypatch), layer()
    with cpu_arithmetic(conv), torch.autocast("cpu", torch.bfloat16):
        assert conv(images()).dtype == torch.bfloat16
    assert not calls


def test_a_layer_of_another_layout_or_class_is_left_alone():
    class Own(nn.Conv2d):
        pass

    for conv in (nn.Conv2d(128, 128, 3, padding=1), lay_out(Own(128, 128, 3, padding=1))):
        with cpu_arithmetic(conv):
            assert "forward" not in vars(conv)


def test_other_weights_and_twice_the_outputs(monkeypatch):
    calls, conv, x = taken(monkeypatch), layer(bias=True), images()
    weight, bias = torch.randn(256, 128, 3, 3).contiguous(memory_format=torch.channels_last), torch.randn(256)
    torch.testing.assert_close(
        convolve(conv, x, weight, bias), F.conv2d(x, weight, bias, padding=1), rtol=1e-3, atol=1e-2
    )  # of sums of about 30
    assert len(calls) == 1


def test_what_was_kept_without_gradients_serves_with_them():
    winograd._overlaps.cache_clear(), winograd._both_ways.cache_clear()
    with torch.inference_mode():
        conv2d(images(1, 8, 8), torch.randn(8, 8, 3, 3))
    weight = torch.randn(8, 8, 3, 3, requires_grad=True)
    conv2d(images(1, 8, 8), weight).sum().backward()
    assert weight.grad.abs().sum() > 0
