"""Pruning scores against slow and obvious versions, and the schedule by which they prune."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from test_transformers import tiny_swin
from torch import nn

import models
import pruner
from pruner import Sample
from utils.errors import UsageError

pytestmark = pytest.mark.numeric


class Chain(nn.Module):
    """Two 1x1 convolutions without biases: for an all-ones pixel R = sum over paths of |w| * |v|."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([2.0, -3.0]).view(2, 1, 1, 1))
            self.second.weight.copy_(torch.tensor([-5.0, 0.5]).view(1, 2, 1, 1))

    def forward(self, x):
        return self.second(self.first(x)).flatten(1)


def one_pixel(seed=0):
    return Sample(seed, torch.zeros(1, 1, 1, 1))


def test_synflow_by_hand():
    model = Chain()
    found = pruner.scores.get("synflow").run(model, one_pixel())
    # two paths: 2 * 5 = 10 and 3 * 0.5 = 1.5; every weight of a path carries the whole path
    assert found["first.weight"].flatten().tolist() == [10.0, 1.5]
    assert found["second.weight"].flatten().tolist() == [10.0, 1.5]
    assert model.first.weight.flatten().tolist() == [2.0, -3.0], "signs are back"


def test_synflow_keeps_one_path_where_magnitude_breaks_both():
    # half of four weights: the strong path survives whole; by magnitude 3 and 5 would, which do not meet
    synflow = pruner.prune(Chain(), "synflow", 0.5, one_pixel())
    assert [m.flatten().tolist() for m in synflow.values()] == [[True, False], [True, False]]
    magnitude = pruner.prune(Chain(), "magnitude", 0.5, one_pixel())
    assert [m.flatten().tolist() for m in magnitude.values()] == [[False, True], [True, False]]


def slow_synflow(model, rate, shape):
    """The reference's loop: 100 rounds on one float64 model with zeroed weights."""
    model = copy.deepcopy(model).double().eval()
    for tensor in model.state_dict().values():
        tensor.abs_()
    weights = pruner.prunable(model)
    total = sum(w.numel() for w in weights.values())
    keep = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    left = total
    for step in range(1, 101):
        model.zero_grad()
        model(torch.ones(shape, dtype=torch.float64)).sum().backward()
        score = torch.cat([(w.grad * w).flatten() for w in weights.values()])
        score[~torch.cat([k.flatten() for k in keep.values()])] = -1
        left = left - round((1 - (1 - rate) ** 0.01) * left) if step < 100 else total - round(rate * total)
        best = torch.zeros(total, dtype=torch.bool)
        best[score.argsort(descending=True)[:left]] = True
        for (name, w), part in zip(weights.items(), best.split([w.numel() for w in weights.values()])):
            keep[name] = part.view(w.shape)
            w.data.mul_(keep[name])
    return keep


def test_synflow_on_a_residual_network():
    torch.manual_seed(1)
    model = models.build("resnet20s", 10, ((0.5,) * 3, (0.25,) * 3))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = pruner.prune(model, "synflow", 0.9, Sample(0, torch.zeros(1, 3, 8, 8)))
    expected = slow_synflow(model, 0.9, (1, 3, 8, 8))
    wrong = sum(int((found[name] != expected[name]).sum()) for name in found)
    # float32 against float64: a near tie that rounding decides otherwise changes what flows through its neighbours
    assert wrong <= 0.01 * 267_696
    assert sum(int(m.sum()) for m in found.values()) == 267_696 - round(0.9 * 267_696)
    assert pruner.empty_layers(found) == []
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_synflow_is_finite_where_float32_is_not():
    torch.manual_seed(1)
    model = models.build("resnet56s", 10)
    with torch.no_grad():
        for weight in pruner.prunable(model).values():
            weight.mul_(4)
    found = pruner.scores.get("synflow").run(model, Sample(0, torch.zeros(1, 3, 8, 8)))
    values = torch.cat([value.flatten() for value in found.values()])
    assert bool(torch.isfinite(values).all()) and float(values.max()) > torch.finfo(torch.float32).max


def test_synflow_leaves_a_swins_masks_of_minus_infinity_alone_and_every_layers_mode():
    torch.manual_seed(0)
    model = tiny_swin().train()
    model.get_submodule(next(name for name, part in model.named_modules() if isinstance(part, nn.LayerNorm))).eval()
    modes, before = [module.training for module in model.modules()], copy.deepcopy(model.state_dict())
    found = pruner.scores.get("synflow").run(model, Sample(0, torch.zeros(1, 3, 32, 32)))
    values = torch.cat([value.flatten() for value in found.values()])
    assert found.keys() == pruner.prunable(model).keys()
    assert bool(torch.isfinite(values).all()) and float(values.max()) > 0
    assert modes == [module.training for module in model.modules()] and True in modes and False in modes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("steps, rate", [(1, 0.37), (3, 0.5), (100, 0.95)])
def test_the_pruned_fraction_is_exact(steps, rate):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 17, 3), nn.Conv2d(17, 11, 3))
    total = 3 * 17 * 9 + 17 * 11 * 9
    mask = pruner.prune(model, "magnitude", rate, Sample(0), steps=steps)
    assert total - sum(int(m.sum()) for m in mask.values()) == round(rate * total)
    # magnitude scores do not change, so steps lead to the one-shot mask
    once = pruner.prune(model, "magnitude", rate, Sample(0))
    assert all(torch.equal(mask[name], once[name]) for name in mask)
    # of an earlier mask, the rate is taken of what it keeps
    again = pruner.prune(model, "random", 0.5, Sample(0), mask, steps)
    left = sum(int(m.sum()) for m in mask.values())
    assert sum(int(m.sum()) for m in again.values()) == left - round(0.5 * left)
    assert all(bool((mask[name] | ~again[name]).all()) for name in mask)


class Smooth(nn.Module):
    """No kinks, so that finite differences are a fair judge."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.norm, self.second = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1)

    def forward(self, x):
        return self.second(torch.tanh(self.norm(self.first(x)))).mean((2, 3))


def smooth_case():
    random = torch.Generator().manual_seed(5)
    images = torch.rand(12, 1, 4, 4, generator=random, dtype=torch.float64)
    return Smooth().double(), Sample(0, images, torch.arange(12) % 3)


def test_snip_is_the_change_of_loss_when_a_weight_shrinks():
    model, sample = smooth_case()
    found = pruner.scores.get("snip").run(model, sample)
    model.train()
    for name, weight in pruner.prunable(model).items():
        for index in range(weight.numel()):
            losses = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                changed = copy.deepcopy(model)
                pruner.prunable(changed)[name].data.view(-1)[index] *= factor
                losses.append(F.cross_entropy(changed(sample.images), sample.labels).item())
            assert float(found[name].view(-1)[index]) == pytest.approx(
                abs(losses[0] - losses[1]) / 2e-5, rel=1e-4, abs=1e-8
            )


def test_grasp_is_the_signed_change_of_the_squared_gradient():
    model, sample = smooth_case()
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    found = pruner.scores.get("grasp").run(model, sample)
    assert all(torch.equal(statistics[name], value) for name, value in model.named_buffers())

    def flow(changed):
        changed.train()
        loss = F.cross_entropy(changed(sample.images) / 200, sample.labels)
        return sum(float((g**2).sum()) for g in torch.autograd.grad(loss, list(pruner.prunable(changed).values())))

    signs = set()
    for name, weight in pruner.prunable(model).items():
        for index in range(0, weight.numel(), 3):
            flows = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                changed = copy.deepcopy(model)
                pruner.prunable(changed)[name].data.view(-1)[index] *= factor
                flows.append(flow(changed))
            expected = (flows[0] - flows[1]) / 2e-5 / 2  # d|g|^2 = 2 g'H dw; the score is w * (H g)
            assert float(found[name].view(-1)[index]) == pytest.approx(expected, rel=1e-3, abs=1e-10)
            signs.add(expected > 0)
    assert signs == {True, False}, "the sign counts: weights of both signs of score were compared"


def test_unknown_scores_are_answered():
    with pytest.raises(UsageError, match=r"--score synflw: unknown \(did you mean synflow\?\)"):
        pruner.scores.get("synflw")
