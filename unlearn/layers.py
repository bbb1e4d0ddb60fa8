"""Find, freeze and re-initialise parts of a model, for any architecture."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.parts import head, head_name
from utils.errors import UsageError

Initialise = Callable[[Tensor, torch.Generator], object]  # fills a new weight in place
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def matching(model: nn.Module, pattern: str, flag: str) -> dict[str, Tensor]:
    """A mask of the parameters whose names match: boolean tensors by parameter name, all True or all False.

    Args:
        pattern: a regular expression that is searched for in the names.
        flag: the beginning of the error message.
    Raises:
        UsageError: no name matches.
    """
    named = [(name, value.shape, re.search(pattern, name) is not None) for name, value in model.named_parameters()]
    if not any(matches for *_, matches in named):
        raise UsageError(f"{flag}: this model has no such layer; give full")
    return {name: torch.full(shape, matches) for name, shape, matches in named}


def blocks(model: nn.Module) -> list[str]:
    """Names of the modules that begin a block each, in order.

    Blocks are siblings whose names differ only in a number (``layer1`` ... ``layer4`` of a ResNet, ``stage1`` ... of
    Swin, the encoder layers of a ViT), at the highest level that has such siblings. Siblings of which one holds the
    head do not count. If the siblings are single layers, as in VGG, every convolution or linear layer begins a block.
    In a model without such siblings, every convolution or linear layer but the head does.
    """
    classifier = head(model)
    level = {"": model}
    while level:
        members: dict[str, list[str]] = {}
        for parent, module in level.items():
            for name, child in module.named_children():
                if any(True for _ in child.parameters()):
                    path = f"{parent}.{name}".removeprefix(".")
                    kind = f"{parent}/{re.sub('[0-9]+', '', name)}" if re.search("[0-9]", name) else path
                    members.setdefault(kind, []).append(path)
        several = [group for group in members.values() if len(group) > 1]
        groups = [group for group in several if not any(_holds(model, path, classifier) for path in group)]
        if groups:
            largest = max(groups, key=lambda group: sum(_size(model.get_submodule(path)) for path in group))
            modules = [path for path in largest if any(True for _ in model.get_submodule(path).children())]
            return modules or [path for path in largest if _begins(model.get_submodule(path))]
        level = {
            f"{parent}.{name}".removeprefix("."): child
            for parent, module in level.items()
            for name, child in module.named_children()
        }
    return [name for name, module in model.named_modules() if _begins(module) and module is not classifier]


def _holds(model: nn.Module, path: str, module: nn.Module | None) -> bool:
    return any(each is module for each in model.get_submodule(path).modules())


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _begins(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.Linear))


def tail(model: nn.Module, count: int) -> dict[str, nn.Module]:
    """All modules from the ``count``-th last block to the end, by name, the head included; at most all blocks.

    Modules before the first block, such as the stem, are never included.
    """
    names, groups = list(dict(model.named_modules())), blocks(model)
    if not groups:
        return {name: module for name, module in model.named_modules() if name == head_name(model)}
    start = names.index(groups[max(len(groups) - count, 0)])
    return {name: model.get_submodule(name) for name in names[start:]}


def outside(model: nn.Module, modules: dict[str, nn.Module]) -> list[nn.Module]:
    """All modules that are not among ``modules`` and hold none of them."""
    holders = tuple(f"{name}." for name in modules)
    return [m for path, m in model.named_modules() if path and not any(n.startswith(f"{path}.") for n in holders)]


def stem(model: nn.Module) -> tuple[str, nn.Conv2d | nn.Linear]:
    """Name and module of the first convolution, or of the first linear layer if there is no convolution.

    Raises:
        LookupError: the model has neither.
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    if not layers:
        raise LookupError("the model has neither a convolution nor a linear layer")
    return next((each for each in layers if isinstance(each[1], nn.Conv2d)), layers[0])


def parameter_names(modules: dict[str, nn.Module]) -> list[str]:
    """Full names of the parameters that belong to ``modules`` directly, not to their sub-modules."""
    return [f"{name}.{own}" for name, module in modules.items() for own, _ in module.named_parameters(recurse=False)]


def norm_parameters(model: nn.Module, by_name: bool = False) -> set[str]:
    """Full names of the parameters of all norms; with ``by_name`` those of parameters with "bn" in their name."""
    if by_name:
        return {name for name, _ in model.named_parameters() if "bn" in name}
    return set(parameter_names({name: module for name, module in model.named_modules() if isinstance(module, NORMS)}))


@contextmanager
def train_only(model: nn.Module, names: set[str]) -> Iterator[None]:
    """Context in which only the parameters ``names`` require gradients; the others do not change."""
    frozen = [p for name, p in model.named_parameters() if name not in names and p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


@contextmanager
def scaled_gradients(model: nn.Module, scales: dict[str, Tensor]) -> Iterator[None]:
    """Context in which gradients are multiplied by ``scales``: tensors by parameter name, in the parameters' shapes."""
    parameters = dict(model.named_parameters())
    handles = [
        parameters[name].register_hook(lambda gradient, scale=scale: gradient * scale) for name, scale in scales.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def affine(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights and biases of all convolutions and linear layers, attention's packed ones included, by name."""
    kinds = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)
    names = parameter_names({name: module for name, module in model.named_modules() if isinstance(module, kinds)})
    return {name: model.get_parameter(name) for name in names}


def kaiming_normal(weight: Tensor, random: torch.Generator) -> None:
    """Fill a weight with N(0, 2 / fan-out)."""
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=random)


def kaiming_uniform(weight: Tensor, random: torch.Generator) -> None:
    """Fill a weight with U(-b, b), b = sqrt(6 / fan-out)."""
    nn.init.kaiming_uniform_(weight, mode="fan_out", nonlinearity="relu", generator=random)


def xavier_uniform(weight: Tensor, random: torch.Generator) -> None:
    """Fill a weight with U(-b, b), b = sqrt(6 / (fan-in + fan-out))."""
    nn.init.xavier_uniform_(weight, generator=random)


def new_weight(weight: Tensor, random: torch.Generator) -> None:
    """Fill a weight as PyTorch initialises convolutions and linear layers: U(-b, b) with b = 1 / sqrt(fan-in)."""
    _uniform(weight, weight[0].numel(), random)


def new_bias(weight: Tensor) -> Initialise:
    """A function that fills the bias of the layer with this weight as PyTorch does: U(-b, b), b = 1 / sqrt(fan-in)."""
    return lambda bias, random: _uniform(bias, weight[0].numel(), random)


def _uniform(tensor: Tensor, fan_in: int, random: torch.Generator) -> None:
    bound = fan_in**-0.5
    with torch.no_grad():
        tensor.uniform_(-bound, bound, generator=random)


@torch.no_grad()
def renew(model: nn.Module, seed: int) -> None:
    """Re-initialise all layers of a model on the CPU as PyTorch does; other parameters become N(0, 0.02^2)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            begin = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if begin is not None:
                begin()
            else:
                for parameter in module.parameters(recurse=False):
                    parameter.normal_(0, 0.02)


@torch.no_grad()
def quantise(model: nn.Module) -> None:
    """Round parameters and norms' statistics to half precision; they stay float32."""
    largest = torch.finfo(torch.half).max
    buffers = [number for module in model.modules() if isinstance(module, NORMS) for number in module.buffers()]
    for number in (*model.parameters(), *(number for number in buffers if number.is_floating_point())):
        number.copy_(number.clamp(-largest, largest).half())
