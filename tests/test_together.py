"""Several models computed as one: each ends where it ends alone, and none feels what befalls another."""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import DIGITS, Killed
from torch import Tensor, nn

import models
import pruner
from dataset.images import Augment, ImageSet
from dataset.scenario import Scenario
from models.stacked import Stack, side_by_side
from trainer import groups, together
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Classification
from unlearn import registry
from unlearn.apply import apply
from unlearn.context import Context
from utils import lanes, preempt
from utils.errors import DivergedError, UsageError
from utils.lanes import Lane
from utils.log import Log

pytestmark = pytest.mark.numeric

CLASSES, SIDE, IMAGES = 4, 8, 90
IDENTICAL = 2e-5  # of how far training moved a model; float32 knows the weights themselves to 1e-7


class Small(nn.Module):
    """Two convolutions, batch norm, a shortcut that pads channels and a head of two layers.

    Its activations have no kink, at which the last digit of a number decides on which side a gradient is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.last = nn.Conv2d(6, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12)
        self.hidden, self.fc = nn.Linear(12 * 4 * 4, 8), nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = F.silu(self.norm(self.first(images)))
        x = F.silu(self.last(self.second(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3)))
        return self.fc(F.silu(self.hidden(x.flatten(1))))


def small(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = Small()
    for norm in (model.norm, model.last):  # running statistics that differ from model to model
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    return models.parts.lay_out(model)


def images(seed: int, count: int, augment: Augment | None = None) -> ImageSet:
    """Some of the same source: each seed takes others."""
    random = np.random.default_rng(0)
    source = torch.from_numpy(random.integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(random.integers(0, CLASSES, IMAGES))
    return ImageSet(source, labels, np.random.default_rng(seed).permutation(IMAGES)[:count], augment)


def in_lanes(works: list[Callable], most: int = 16) -> list[Lane]:
    found = [Lane(work) for work in works]
    lanes.run(found, together.Together(most))
    return found


def apart(left: nn.Module, right: nn.Module, start: nn.Module) -> float:
    """How far two models are apart over how far the first one moved: of parameters or of buffers, whichever is more."""

    def length(one: nn.Module, other: nn.Module, kind: str) -> float:
        pairs = zip(getattr(one, kind)(), getattr(other, kind)())
        return math.sqrt(sum(float((a.detach() - b.detach()).double().square().sum()) for a, b in pairs))

    return max(length(left, right, kind) / max(length(left, start, kind), 1e-3) for kind in ("parameters", "buffers"))


@pytest.mark.parametrize(("arch", "side"), [("resnet18", 8), ("resnet20s", 16), ("resnet20", 8), ("vgg16_bn", 32)])
def test_a_stack_gives_what_its_models_give(arch, side):
    """Logits, gradients and batch norm's statistics, in training and in eval mode."""
    singles = []
    for seed in range(2):
        torch.manual_seed(seed)
        singles.append(models.build(arch, CLASSES, ((0.1 * seed, 0.2, 0.3), (0.5, 0.4 + 0.1 * seed, 0.6))))
    joined = copy.deepcopy(singles)
    stack = Stack(joined)
    x = torch.rand(2, 6, 3, side, side)
    for mode in (True, False):
        for model in (*singles, *joined):
            model.train(mode)
        stack.begin()
        logits = stack(x)
        logits.square().mean((1, 2)).sum().backward()
        for own, single, part in zip(logits, singles, x):
            single.zero_grad()
            alone = single(part)
            alone.square().mean().backward()
            torch.testing.assert_close(own, alone, rtol=1e-4, atol=1e-5)
    for model, single in zip(joined, singles):
        for (name, left), right in zip(model.named_parameters(), single.parameters()):
            error = (left.grad - right.grad).norm() / right.grad.norm()
            assert error < 1e-4, name
        for (name, left), right in zip(model.named_buffers(), single.buffers()):
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6, msg=name)
    state = [copy.deepcopy(model.state_dict()) for model in joined]
    stack.release()
    for model, before in zip(joined, state):
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(p.grad is None and p.untyped_storage().nbytes() == 4 * p.numel() for p in model.parameters())


def test_channels_lie_side_by_side():
    x = torch.arange(2 * 3 * 3 * 2 * 2, dtype=torch.float32).view(2, 3, 3, 2, 2)
    found = side_by_side(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, torch.cat([x[0], x[1]], 1))


def test_unlike_models_are_refused_in_one_line():
    with pytest.raises(UsageError, match=r"^models 1 and 2 \(ResNet and SmallResNet\) differ in their layers[^\n]*$"):
        Stack([models.build("resnet18", 3), models.build("resnet20s", 3)])
    with pytest.raises(UsageError, match="^Swin cannot be stacked: its operations depend on the images$"):
        Stack([models.build("swin_t", 3, size=32)] * 2)
    dropping = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 3))
    with pytest.raises(UsageError, match="^Flatten cannot be stacked: there is no such layer for several models$"):
        Stack([dropping, copy.deepcopy(dropping)])


def trained(seed: int, model: nn.Module, log: list | None = None) -> nn.Module:
    """Two epochs with augmentation, each seed with a split, a mask, a step size and a number of steps of its own."""
    mask = pruner.prune(model, "magnitude", 0.9, pruner.Sample(0)) if seed % 2 else {}
    recipe = Recipe(2 + seed // 3, 0.004 * (seed + 1), weight_decay=0.001 * seed, milestones=(1,), batch_size=16)
    training = Training(model, recipe, mask)
    seen = images(seed, 60 + 5 * seed, Augment(1))
    found = list(training.run(seen, seed, Classification().mean))
    pruner.check_held(model, mask, "training")
    if log is not None:
        log += found
    return model


def test_models_trained_at_once_end_where_they_end_alone(monkeypatch):
    """Own splits, masks, orders, crops, step sizes, numbers of epochs and of images in the last batch."""
    steps: list[int] = []
    original = together.take
    monkeypatch.setattr(together, "take", lambda stack, asked: steps.append(len(asked)) or original(stack, asked))
    alone, joined = [[], [], [], []], [[], [], [], []]
    singles = [trained(seed, small(seed), alone[seed]) for seed in range(4)]
    lanes_ = in_lanes([lambda seed=seed: trained(seed, small(seed), joined[seed]) for seed in range(4)])
    for seed, (lane, single) in enumerate(zip(lanes_, singles)):
        assert lane.error is None
        assert apart(single, lane.result, small(seed)) < IDENTICAL
        for one, other in zip(alone[seed], joined[seed], strict=True):
            assert one.loss == pytest.approx(other.loss, rel=1e-5)
            assert one.figures == other.figures and one.lr == other.lr
    assert steps.count(4) == 6, "full batches are taken by all at once"


@pytest.mark.parametrize("name", ["FT", "GA", "FT_prune", "RL", "NG+", "SalUn", "SFRon", "SCRUB", "MSG", "CT", "retrain"])
def test_unlearning_at_once_ends_where_it_ends_alone(name, monkeypatch):
    method = registry.get(name)
    numbers = {"unlearn_epochs": 2, "batch_size": 16}
    joint: list[int] = []
    original = together.take
    monkeypatch.setattr(together, "take", lambda stack, asked: joint.append(len(asked)) or original(stack, asked))

    def work(seed: int) -> Callable[[], nn.Module]:
        config = method.config(**numbers, unlearn_lr=0.002 * (1 + seed))
        model, forget = small(seed), images(seed, 70, Augment(1))
        mask = pruner.prune(model, "magnitude", 0.9, pruner.Sample(0)) if seed else {}
        sets = {"forget": forget.first(22), "retain": forget.first(48, torch.arange(22, 70)), "val": forget.first(5)}
        about = (Scenario(None, 22), (), Log(None, quiet=True))
        handed = Context(mask, torch.device("cpu"), seed, "fixed", "drawn", CLASSES, *about)
        return lambda: apply(method, model, sets, config, handed).model

    singles = [work(seed)() for seed in range(3)]
    found = in_lanes([work(seed) for seed in range(3)])
    for seed, (lane, single) in enumerate(zip(found, singles)):
        assert lane.error is None
        assert apart(single, lane.result, small(seed)) < IDENTICAL
    assert joint.count(3) > 1
