"""Gradients, squared gradients and products of gradients over whole sets, as FF, IU and other methods need them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pruner import Mask
from trainer.cpu_arithmetic import cpu_arithmetic
from trainer.task import Batch, Classification
from utils.device import free_memory

Tensors = dict[str, Tensor]
Losses = Callable[[nn.Module, Tensor, Tensor], Tensor]  # maps model, inputs and targets to every sample's loss [B]
Expected = Callable[[nn.Module, Tensor, Tensor], Iterable[tuple[Tensor | float, Tensor]]]  # see ``Task.expected``


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """A classifier's loss on every image in nats, float [B]."""
    return F.cross_entropy(model(images), labels, reduction="none")


def by_belief(model: nn.Module, images: Tensor, labels: Tensor) -> Iterable[tuple[Tensor | float, Tensor]]:
    """Pairs for every class: the mean probability that the classifier gives it, and the mean loss for this class."""
    return Classification().expected(model, Batch(images, labels))


def fisher_of_batches(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], mask: Mask, expected: Expected = by_belief
) -> Tensors:
    """Squared gradients of batch means, averaged over possible targets.

    With the weights w and mean losses l that ``expected`` gives for each of T batches b:
        h = 1/T sum_b sum_y w_by * (d/dtheta l_by) ** 2
    For a classifier y runs over the classes, weighted by the model's own mean probabilities.

    Args:
        model: in eval mode.
        batches: inputs and targets; gradients are of batch means, so the batch size matters.
        mask: boolean tensors by parameter name; pruned weights (False) get 0.
        expected: maps model, inputs and targets to pairs of weight and mean loss, see ``Task.expected``.
    Returns:
        h by parameter name, in the parameter's shape.
    Source: Golatkar et al. 2020 (Fisher forgetting), as Jia et al. 2023 estimate it.
    """
    parameters = dict(model.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    count = 0
    with cpu_arithmetic(model):
        for inputs, targets in batches:
            terms = list(expected(model, inputs, targets))
            for number, (weight, loss) in enumerate(terms, 1):
                grads = torch.autograd.grad(loss, list(parameters.values()), retain_graph=number < len(terms))
                torch._foreach_addcmul_(list(total.values()), torch._foreach_mul(list(grads), weight), list(grads))
            count += 1
    torch._foreach_div_(list(total.values()), max(count, 1))
    return masked(total, mask)


def summed_gradient(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], mask: Mask, losses: Losses = cross_entropy
) -> Tensors:
    """Gradient of the summed losses over all batches, by parameter name; pruned weights get 0."""
    return masked(gradients(model, (losses(model, *batch).sum() for batch in batches)), mask)


def gradient_of_means(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], names: list[str]) -> Tensors:
    """Gradient of the summed mean cross-entropies of batches, for the parameters ``names``, in the model's mode."""
    return gradients(model, (cross_entropy(model, *batch).mean() for batch in batches), names)


def gradients(
    model: nn.Module,
    losses: Iterable[Tensor],
    names: Iterable[str] | None = None,
    change: Callable[[Tensor], Tensor] | None = None,
    longest: float = 0.0,
) -> Tensors:
    """Sum of the gradients of several losses by parameter name.

    Args:
        losses: scalars; an iterator computes each only when it is needed.
        names: names of the parameters; None for all.
        change: applied to the gradients of each loss before they are added; None for nothing.
        longest: length over all parameters to which the gradients of each loss are scaled down before that, if they
            are longer; 0 does not scale.
    """
    parameters = {name: p for name, p in model.named_parameters() if names is None or name in names}
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    with cpu_arithmetic(model):
        for loss in losses:
            grads = torch.autograd.grad(loss, list(parameters.values()))
            if longest:
                norm = nn.utils.get_total_norm(grads)
                torch._foreach_mul_(grads, (longest / (norm + 1e-6)).clamp(max=1))
            torch._foreach_add_(list(total.values()), [change(each) for each in grads] if change else list(grads))
    return total


def images_at_once(model: nn.Module, image: Tensor, max_images: int, memory: int | None = None) -> int:
    """Batch size for which a forward pass keeps at most ``memory`` bytes for its backward pass, 1 to ``max_images``.

    It is computed from what autograd keeps for one and for two images.

    Args:
        image: float [C, H, W], on the model's device.
        memory: bytes; None for 1 GiB on the CPU, and a quarter of the free memory on a GPU.
    """
    memory = memory or _quarter(image.device, 2**30)
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}

    def held(count: int) -> int:
        sizes: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with cpu_arithmetic(model, tiles=0), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = model(torch.stack([image] * count)).sum()  # kept while counting, so that no address is used twice
        del output
        return sum(sizes.values())

    first, both = held(1), held(2)
    each = max(both - first, 1)
    return max(1, min(max_images, (memory - max(first - each, 0)) // each))


def _quarter(device: torch.device, otherwise: int) -> int:
    """Bytes: a quarter of a GPU's free memory, or ``otherwise`` on other devices."""
    free = free_memory(device)
    return otherwise if free is None else free // 4


def influence_step(
    model: nn.Module, sets: Any, batches: Callable[[Any], Iterable[tuple[Tensor, Tensor]]], mask: Mask
) -> Tensors:
    """n_f / N times the mean gradient on the forget set minus that on the retain set: IU's step before any inverse.

    Args:
        sets: has attributes ``forget`` and ``retain``.
        batches: maps a set to its batches.
        mask: boolean tensors by parameter name; pruned weights (False) get 0.
    Returns:
        Tensors by parameter name, in the parameters' shapes.
    """
    forget = summed_gradient(model, batches(sets.forget), mask)
    retain = summed_gradient(model, batches(sets.retain), mask)
    total = len(sets.forget) + len(sets.retain)
    ratio = len(sets.forget) / (total * len(sets.retain))
    return {name: forget[name] / total - retain[name] * ratio for name in forget}


def weighted_gradient(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], weights: Tensor, mask: Mask
) -> Tensors:
    """Sum over samples of ``weights[n]``, [N] in the order of the batches, times the gradient of the cross-entropy.

    Returns:
        Tensors by parameter name; pruned weights get 0.
    """

    def weighted() -> Iterator[Tensor]:
        start = 0
        for batch in batches:
            losses = cross_entropy(model, *batch)
            yield (losses * weights[start : start + len(losses)].to(losses)).sum()
            start += len(losses)

    return masked(gradients(model, weighted()), mask)


def mean_squared_gradient(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], mask: Mask, losses: Losses = cross_entropy
) -> Tensors:
    """Mean over samples of (1e-8 - gradient of the loss) ** 2, by parameter name; pruned weights get 0."""
    return mean_of_gradients(model, batches, lambda gradients: (1e-8 - gradients).square_(), mask, losses)


def mean_of_gradients(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    change: Callable[[Tensor], Tensor],
    mask: Mask,
    losses: Losses = cross_entropy,
) -> Tensors:
    """Mean over samples of ``change`` of the gradient of the sample's loss, by parameter name; pruned weights get 0.

    A batch is divided if a GPU's free memory cannot hold the gradients of all its samples.

    Args:
        change: maps gradients [B, *shape] to numbers of this shape.
    """
    parameters = dict(model.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    count, each = 0, 2 * sum(p.numel() * p.element_size() for p in parameters.values())  # bytes, with the changed ones
    for inputs, targets in batches:
        size = max(1, min(len(targets), _quarter(targets.device, len(targets) * each) // each))
        for part, part_targets in zip(inputs.split(size), targets.split(size)):
            for name, gradients in _per_sample(model, part, part_targets, list(parameters), losses).items():
                total[name] += change(gradients).sum(0)
        count += len(targets)
    return masked({name: value / count for name, value in total.items()}, mask)


def gram(
    model: nn.Module,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    direction: Tensors,
    mask: Mask,
    memory: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Inner products of the gradients of single samples' cross-entropies with each other and with a direction.

    The gradients of all samples need not fit into memory: columns are computed in turns, with one pass over the samples
    for each turn.

    Args:
        batches: starts a pass over the samples, in the same order every time.
        direction: tensors by parameter name, in the parameters' shapes.
        mask: boolean tensors by parameter name; pruned weights (False) count as 0.
        memory: bytes of gradients to keep at once; None for 2 GiB on the CPU, and a quarter of the free memory on a
            GPU.
    Returns:
        float64 [N, N] and [N], on the CPU.
    """
    parameters = dict(model.named_parameters())
    count = sum(len(labels) for _, labels in batches())
    products, along = torch.zeros(count, count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    memory = memory or _quarter(next(model.parameters()).device, 2 * 2**30)
    for start, turn in _turns(parameters, memory // (4 * count)):
        rows = []
        for images, labels in batches():
            found = masked(_per_sample(model, images, labels, list(turn)), mask)
            rows.append(torch.cat([found[name].flatten(1)[:, start[name] : stop] for name, stop in turn.items()], 1))
        columns = torch.cat(rows)
        part = torch.cat([direction[name].flatten()[start[name] : stop] for name, stop in turn.items()])
        products += (columns @ columns.T).cpu().double()
        along += (columns @ part).cpu().double()
    return products, along


def _turns(parameters: dict[str, nn.Parameter], width: int) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Cut all parameters, flattened, into turns of at most ``width`` numbers: start and end positions by name."""
    start, stop, room = {}, {}, max(width, 1)
    for name, parameter in parameters.items():
        position = 0
        while position < parameter.numel():
            taken = min(room, parameter.numel() - position)
            start[name], stop[name] = position, position + taken
            position, room = position + taken, room - taken
            if room == 0:
                yield start, stop
                start, stop, room = {}, {}, max(width, 1)
    if stop:
        yield start, stop


def _per_sample(
    model: nn.Module, inputs: Tensor, targets: Tensor, names: list[str], losses: Losses = cross_entropy
) -> Tensors:
    """Gradients of every sample's loss with respect to the named parameters: [B, *shape] by name."""
    state = {name: p.detach() for name, p in model.named_parameters()} | dict(model.named_buffers())
    differentiated = {name: state.pop(name) for name in names}

    def loss(weights: Tensors, image: Tensor, target: Tensor) -> Tensor:
        def replaced(*arguments: Tensor) -> Tensor:
            return torch.func.functional_call(model, (weights, state), arguments)

        return losses(replaced, image[None], target[None]).sum()  # type: ignore[arg-type]  # is called, nothing else

    with plain_attention():
        gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), randomness="different")
        return gradients(differentiated, inputs, targets)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Context without PyTorch's fused attention, which lacks forward-mode derivatives and batching rules."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def first_samples(batches: Iterator[tuple[Tensor, Tensor]], count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches that hold the first ``count`` samples; the last one is cut short."""
    for images, labels in batches:
        if count <= 0:
            return
        yield images[:count], labels[:count]
        count -= len(labels)


def single(batches: Iterator[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The first sample alone, as a batch of one."""
    return [(images[:1], labels[:1]) for images, labels in islice(batches, 1)]


def masked(tensors: Tensors, mask: Mask) -> Tensors:
    """The tensors, by parameter name, with 0 for pruned weights."""
    return {name: t * mask[name].to(t) if name in mask else t for name, t in tensors.items()}
