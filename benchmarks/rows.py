"""The timed steps, each in the project's and in a plain version, with a measure of how much their results differ."""

from __future__ import annotations

import copy
import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import pruner
from benchmarks import baseline, data
from dataset.images import Augment, ImageSet
from evaluation import mia
from evaluation.predict import predict
from evaluation.run_scores import score
from models.parts import lay_out
from pruner import MaskEnforcer
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Classification
from trainer.together import Together
from unlearn import curvature
from unlearn.methods.influence import correction
from unlearn.slopes import AT_ONCE, slopes
from utils import lanes, seeds
from utils.device import half
from utils.plugins import Registry


@dataclass(frozen=True)
class Pair:
    """One step in two versions.

    Attributes:
        ours, plain: functions that do the step once and return the result, in the project's and in a plain way; None
            if there is no plain version.
        difference: says in words how much two results (ours, plain) differ.
    """

    ours: Callable[[], Any]
    plain: Callable[[], Any] | None
    difference: Callable[[Any, Any], str]


@dataclass(frozen=True)
class Row:
    """A row of the benchmarks' table.

    Attributes:
        title: the step in words.
        build: ``build(device, amp)`` prepares the step; with ``amp`` the project's version uses bfloat16.
        goal: least ratio of plain to the project's seconds that is asked for on two CPU cores.
        amp_goal: that with bfloat16; None if the step has no row for it.
        seconds: most seconds that are asked for on one H200 at full size; None if nothing is.
        repeats: how often both versions run, alternating.
        steady: whether each timed run follows an untimed one, so that it finds memory allocated as in a later epoch.
    """

    title: str
    build: Callable[[torch.device, bool], Pair]
    goal: float
    amp_goal: float | None = None
    seconds: float | None = None
    repeats: int = 3
    steady: bool = False


rows: Registry[Row] = Registry("ROW", "benchmark")


def row(name: str, title: str, goal: float, **more: Any) -> Callable:
    """Decorator that registers ``build(device, amp)`` as a ``Row`` under ``name``; ``more`` are further attributes."""

    def register(build: Callable[[torch.device, bool], Pair]) -> Callable[[torch.device, bool], Pair]:
        rows.add(name, Row(title, build, goal, **more))
        return build

    return register


def _size(device: torch.device, small: int, full: int) -> int:
    return full if device.type == "cuda" else small


def _plain(model: nn.Module) -> nn.Module:
    return lay_out(copy.deepcopy(model), torch.contiguous_format)


def relative(left: dict[str, Tensor], right: dict[str, Tensor]) -> str:
    """The L2 norm of ``left`` - ``right`` over all floating-point entries, divided by that of ``right``, as text."""
    pairs = [(left[key].double(), value.double()) for key, value in right.items() if value.is_floating_point()]
    apart = sum(float((a - b).square().sum()) for a, b in pairs) ** 0.5
    return f"{apart / sum(float(b.square().sum()) for _, b in pairs) ** 0.5:.1e} relative"


@row("epoch", "fine-tuning epoch, ResNet-18, 95 % masked", 1.4, amp_goal=2.5, seconds=0.6, repeats=5, steady=True)
def epoch(device: torch.device, amp: bool) -> Pair:
    """One epoch of fine-tuning, with equal order, crops and flips in both versions."""
    drawn = data.draw(_size(device, 256, 45_000))
    images = drawn.ours(device, Augment())
    model = data.model("resnet18", device)
    kept = data.mask(model)
    MaskEnforcer(model, kept)
    size, lr, seed = _size(device, 128, 256), 0.01, 1

    def ours() -> dict[str, Tensor]:
        trained = copy.deepcopy(model)
        recipe = Recipe(1, lr, schedule="constant", batch_size=size, amp=amp)
        list(Training(trained, recipe, kept).run(images, seed, Classification().mean))
        return trained.state_dict()

    shuffled = drawn.shuffled(images, seeds.derive(seed, "epoch", 0))
    reference = _plain(model)
    names = [name for name, _ in model.named_parameters()]
    return Pair(
        ours,
        lambda: baseline.epoch(reference, kept, shuffled, lr, size),
        lambda a, b: relative({n: a[n] for n in names}, {n: b[n] for n in names}),
    )


@row("data", "data path: crop, flip, scale", 20.0)
def data_path(device: torch.device, amp: bool) -> Pair:
    """All augmented batches of 100 images, in one shuffled order with equal crops and flips in both versions."""
    drawn = data.draw(_size(device, 8_000, 45_000))
    images = drawn.ours(device, Augment())
    shuffled = drawn.shuffled(images, 1)

    def last(batches: Any) -> Tensor:
        [(batch, _)] = deque(batches, maxlen=1)
        return batch

    return Pair(
        lambda: last(images.batches(100, 1)),
        lambda: last(baseline.loader(shuffled, 100)),
        lambda a, b: f"{float((a - b).abs().max()):.0e} in pixels",
    )


@row("fisher", "FF: curvature, ResNet-18", 1.1, amp_goal=1.8, seconds=10.0)
def fisher(device: torch.device, amp: bool) -> Pair:
    """FF's curvature on batches of 32 images without augmentation."""
    count = _size(device, 64, 45_000)
    drawn, model = data.draw(count), _settled("resnet18", device)
    images, plain, reference = drawn.ours(device), drawn.plain(), _plain(model)

    def ours() -> dict[str, Tensor]:
        with half(device, amp):
            return curvature.fisher_of_batches(model, images.batches(32), {})

    return Pair(ours, lambda: baseline.fisher(reference, plain, 32), relative)


def _influence(device: torch.device, amp: bool, forget: int, retain: int, samples: int) -> Pair:
    drawn, model = data.draw(forget + retain, noisier=retain), _settled("resnet18", device)
    sets = _Sets(drawn.ours(device, stop=forget), drawn.ours(device, start=forget))
    reference = _plain(model)

    def ours() -> dict[str, Tensor]:
        with half(device, amp):
            size = curvature.images_at_once(model, next(iter(sets.retain.batches(1)))[0][0], 256)
            step = curvature.influence_step(model, sets, lambda images: images.batches(size), {})
            return _recursion(model, step, sets.retain, samples)

    return Pair(
        ours,
        lambda: baseline.influence(reference, drawn.plain(stop=forget), drawn.plain(start=forget), 64, samples),
        relative,
    )


def _recursion(model: nn.Module, step: dict[str, Tensor], retain: Any, samples: int) -> dict[str, Tensor]:
    first = curvature.summed_gradient(model, curvature.single(retain.batches(1)), {})
    along = slopes(model, curvature.first_samples(retain.batches(AT_ONCE), samples), [step, first])
    factor = correction(*along)
    return {name: step[name] + factor * first[name] for name in step}


@dataclass(frozen=True)
class _Sets:
    forget: Any
    retain: Any


@row("influence", "IU: whole call, ResNet-18", 1.4, amp_goal=2.0, seconds=10.0)
def influence(device: torch.device, amp: bool) -> Pair:
    """IU's direction, where images of the recursion and images of the gradients are as 1,002 to 50,000."""
    return _influence(device, amp, _size(device, 64, 5_000), _size(device, 576, 45_000), _size(device, 13, 1_002))


@row("recursion", "IU: recursion alone", 3.0)
def recursion(device: torch.device, amp: bool) -> Pair:
    """IU's recursion through 1,002 images at full size, through 64 on the CPU."""
    samples = _size(device, 64, 1_002)
    drawn, model = data.draw(samples), _settled("resnet18", device)
    images, plain, reference = drawn.ours(device), drawn.plain(), _plain(model)
    step = {
        name: torch.randn_like(p, memory_format=torch.contiguous_format) * 1e-3 for name, p in model.named_parameters()
    }
    names = list(step)
    return Pair(
        lambda: _recursion(model, step, images, samples),
        lambda: dict(zip(names, baseline.recursion(reference, list(step.values()), plain, samples))),
        relative,
    )


@row("scores", "all scores of one run, resnet20s", 3.0, seconds=10.0)
def scores(device: torch.device, amp: bool) -> Pair:
    """All scores of a run. The project's version also computes threshold, entropy and logistic attacks.

    Validation and test images are noisier, so that the attacks can tell them from training images. If they could not,
    the answers of a support vector classifier would depend on the last digits.
    """
    counts = {
        "retain": _size(device, 3_000, 40_500),
        "forget": _size(device, 300, 4_500),
        "val": _size(device, 300, 5_000),
        "test": _size(device, 1_000, 10_000),
    }
    drawn = data.draw(sum(counts.values()), noisier=counts["val"] + counts["test"])
    model = _settled("resnet20s", device)
    bounds, start = {}, 0
    for name, count in counts.items():
        bounds[name] = (start, start + count)
        start += count
    images = drawn.ours(device)
    sets = {name: images.at(images.indices[first:last]) for name, (first, last) in bounds.items()}
    plain, reference = {name: drawn.plain(*limits) for name, limits in bounds.items()}, _plain(model)

    def difference(a: dict[str, Any], b: dict[str, Any]) -> str:
        attacks = [
            abs(a[kind][key] - b[kind][key])
            for kind in ("SVC_MIA_forget_efficacy", "SVC_MIA_training_privacy")
            for key in mia.KEYS
        ]
        accuracies = [abs(a["accuracy"][name] - b["accuracy"][name]) for name in b["accuracy"]]
        return f"{max(accuracies):.0e} in accuracies, {max(attacks):.0e} in attacks"

    return Pair(
        lambda: score(predict(model, sets), "fixed"), lambda: baseline.scores(reference, plain, 256), difference
    )


@row("together", "2 epochs of 8 models at once, resnet20s, 8 x 8 pixels, batches of 32", 1.2, steady=True)
def together(device: torch.device, amp: bool) -> Pair:
    """Eight trainings with seeds of their own, computed as one network, against the same one after the other."""
    labels = torch.arange(128, device=device) % data.CLASSES
    source = torch.randint(0, 256, (128, 8, 8, 3), dtype=torch.uint8, generator=seeds.generator(0, "images")).to(device)
    images = ImageSet(source.permute(0, 3, 1, 2), labels, augment=Augment(1))

    def trained(seed: int) -> nn.Module:
        model = data.model("resnet20s", device)
        list(Training(model, Recipe(2, 0.001, schedule="constant", batch_size=32), {}).run(images, seed))
        return model

    def ours() -> dict[str, Tensor]:
        found = [lanes.Lane(functools.partial(trained, seed)) for seed in range(8)]
        lanes.run(found, Together(8))
        return found[-1].result.state_dict()

    def plain() -> dict[str, Tensor]:
        return [trained(seed) for seed in range(8)][-1].state_dict()

    return Pair(ours, plain, relative)


@row("synflow", "SynFlow mask, ResNet-18", 2.0, seconds=5.0, repeats=2)
def synflow(device: torch.device, amp: bool) -> Pair:
    """SynFlow's mask in the usual 100 steps at full size, in 20 on the CPU."""
    model, steps = data.model("resnet18", device), _size(device, 20, 100)
    reference, sample = _plain(model), pruner.Sample(0, torch.ones(1, 3, data.SIDE, data.SIDE, device=device))

    def difference(a: pruner.Mask, b: pruner.Mask) -> str:
        return f"{sum(int((a[name] != b[name]).sum()) for name in b)} of {sum(m.numel() for m in b.values()):,} weights"

    return Pair(
        lambda: pruner.prune(model, "synflow", 0.95, sample, steps=steps),
        lambda: baseline.synflow(reference, 0.95, steps),
        difference,
    )


def _settled(arch: str, device: torch.device) -> nn.Module:
    """A model in eval mode after a few steps of training, so that its outputs are neither all equal nor certain."""
    model = data.model(arch, device)
    images = data.draw(256, seed=9).ours(device)
    recipe = Recipe(1 if arch == "resnet18" else 4, 0.02, schedule="constant", batch_size=32)
    list(Training(model, recipe, {}).run(images, 1, Classification().mean))
    return model.eval()
