"""Pruning scores, one function each, and the schedule by which they prune."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parts import lay_out
from pruner.enforcer import MaskEnforcer
from pruner.masks import Mask, Scores, kept, on_cpu, remove
from pruner.prunable_weights import prunable
from utils import seeds
from utils.plugins import Registry

GRASP_TEMPERATURE = 200.0


@dataclass(frozen=True)
class Sample:
    """What a score may look at besides the model.

    Attributes:
        seed: seeds the random numbers of the score.
        images: float [N, C, H, W] in [0, 1], on the model's device; empty for scores that need none. SynFlow reads
            only their shape and device.
        labels: int64 [N].
    """

    seed: int
    images: Tensor = torch.empty(0)
    labels: Tensor = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class Score:
    """A pruning score: the weights of the lowest score go first.

    Attributes:
        run: ``run(model, sample)`` returns one float tensor per prunable parameter and leaves the model as it was.
        steps: in how many exponential steps it prunes unless told otherwise; 1 is one-shot.
        data: whether it looks at images and labels.
    """

    run: Callable[[nn.Module, Sample], Scores]
    steps: int
    data: bool


scores: Registry[Score] = Registry("--score", "pruning score")


def score(name: str, steps: int = 1, data: bool = False, aliases: tuple[str, ...] = ()) -> Callable:
    """Decorator that registers a function as the pruning score ``name``."""

    def register(run: Callable[[nn.Module, Sample], Scores]) -> Callable[[nn.Module, Sample], Scores]:
        scores.add(name, Score(run, steps, data), aliases)
        return run

    return register


def prune(
    model: nn.Module, name: str, rate: float, sample: Sample, mask: Mask | None = None, steps: int | None = None
) -> Mask:
    """Prune ``rate`` of the weights that ``mask`` keeps, by the score ``name``.

    With n steps, each prunes ``1 - (1 - rate) ** (1 / n)`` of what is left, rounded, by scores computed
    anew; the last one is exact: ``round(rate * kept)`` weights are gone.

    Args:
        model: not changed.
        name: name of the score.
        rate: fraction of the remaining weights to prune, in [0, 1).
        sample: what the score may look at.
        mask: boolean tensors by parameter name, True where a weight is kept so far; None keeps all.
        steps: None for the score's own number.
    Returns:
        A new mask on the CPU, for all prunable parameters.
    Raises:
        UsageError: no score has this name.
    """
    kind = scores.get(name)
    steps = steps or kind.steps
    pruned, left = copy.deepcopy(model), dict(mask or {})
    remaining = start = kept(prunable(model), left)
    share, goal = 1 - (1 - rate) ** (1 / steps), start - round(rate * start)
    for step in range(1, steps + 1):
        MaskEnforcer(pruned, left)
        count = round(share * remaining) if step < steps else remaining - goal
        left = remove(kind.run(pruned, sample), max(count, 0), left)
        remaining -= max(count, 0)
    return on_cpu(left)


@score("magnitude", aliases=("l1", "mp"))
def magnitude(model: nn.Module, sample: Sample | None = None) -> Scores:
    """Absolute value of the weight, globally ("global l1"; Han et al. 2015)."""
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}


@score("random")
def uniform(model: nn.Module, sample: Sample) -> Scores:
    """A uniform random number per weight."""
    random = seeds.generator(sample.seed, "random pruning")
    return {name: torch.rand(weight.shape, generator=random) for name, weight in prunable(model).items()}


@score("synflow", steps=100)
def synflow(model: nn.Module, sample: Sample) -> Scores:
    """|w * dR/dw|, where R is the summed output for an all-ones image with every weight made positive.

    R overflows float32 in deep networks (ResNet-50); the scores are then computed in float64.
    Source: Tanaka et al. 2020, algorithm 1.
    """
    device, training = sample.images.device, [module for module in model.modules() if module.training]
    persistent = model.state_dict().keys()
    model.eval()
    for dtype in (torch.float32, torch.float64):
        if dtype == torch.float64 and device.type == "mps":
            device = torch.device("cpu")  # MPS has no such numbers
        positive = {}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            moved = tensor.detach().to(device, dtype if tensor.is_floating_point() else None).contiguous()
            # Swin's attention masks hold 0 and -inf. Their names tell: looking at values would wait for the GPU.
            positive[name] = moved.abs() if name in persistent and not name.endswith("mask") else moved
        weights = {name: positive[name].requires_grad_() for name in prunable(model)}
        ones = torch.ones((1, *sample.images.shape[1:]), dtype=dtype, device=device)
        flow = torch.func.functional_call(model, positive, (ones,)).sum()
        gradients = torch.autograd.grad(flow, list(weights.values()))
        scores = {
            name: (weight.detach() * gradient).abs() for (name, weight), gradient in zip(weights.items(), gradients)
        }
        if bool(torch.stack([value.max() for value in scores.values()]).isfinite().all()):
            break
    for module in training:
        module.training = True
    return scores


@score("snip", data=True)
def snip(model: nn.Module, sample: Sample) -> Scores:
    """|w * dL/dw|: by how much the loss would change without the weight, to first order.

    Source: Lee et al. 2019, equation 6.
    """
    copied = _for_training(model)
    weights = prunable(copied)
    loss = F.cross_entropy(copied(sample.images), sample.labels)
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return {name: (weight.detach() * gradient).abs() for (name, weight), gradient in zip(weights.items(), gradients)}


def _for_training(model: nn.Module) -> nn.Module:
    """A copy in train mode, in the layout in which torch's batch norm rounds least."""
    return lay_out(copy.deepcopy(model), torch.contiguous_format).train()


@score("grasp", data=True)
def grasp(model: nn.Module, sample: Sample) -> Scores:
    """w * (H g), signed: the weights whose removal lowers the flow of gradients least are pruned.

    g and H are the gradient and the Hessian of the cross-entropy of the logits divided by 200. The paper removes the
    weights of the highest -w * (H g). Here the lowest score is pruned first, so the score is the negative of that.
    Source: Wang et al. 2020, equation 8 and algorithm 2.
    """
    copied = _for_training(model)
    weights = prunable(copied)
    loss = F.cross_entropy(copied(sample.images) / GRASP_TEMPERATURE, sample.labels)
    gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    along = sum(((gradient.detach() * gradient).sum() for gradient in gradients), start=torch.zeros(()))
    curved = torch.autograd.grad(along, list(weights.values()))
    return {name: weight.detach() * product for (name, weight), product in zip(weights.items(), curved)}
