"""Several models of one architecture as one network, each computing what it computes alone, within rounding.

Convolutions, batch norm and pooling see all models' channels side by side, [B, K * C, H, W]: a convolution has groups
of its own for every model, and batch norm, which treats each channel by itself, keeps every model's own statistics.
Linear layers are batched matrix products, [K, B, features]. On a GPU, K models thus need as many kernel launches as
one. On a CPU this pays where maps are small, so that calling a layer takes longer than computing it.
"""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from models.normalize import Normalize
from models.vgg import EvenPool
from utils.errors import UsageError

# These treat every channel or every number by itself, so they are the same for one model and for several.
ALIKE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, EvenPool)
ALIKE_FUNCTIONS: set[Any] = {operator.add, operator.iadd, torch.add, torch.relu, torch.relu_, F.relu, F.gelu, F.silu}
ALIKE_FUNCTIONS |= {F.adaptive_avg_pool2d, F.avg_pool2d, F.max_pool2d}


class Stack:
    """Models as parts of one network, with which they share their storage.

    Every parameter and buffer of a model is a view of a tensor of the network, and its gradient is a view of one tensor
    for all models. A change to a model is therefore a change to the network, and the other way round. Call ``begin``
    before and ``end`` after a backward pass.

    Args:
        models: of one architecture, on one device, with the same parameters training.
    Attributes:
        network: maps channels side by side, see ``side_by_side``, to logits [K, B, classes].
    Raises:
        UsageError: they are not alike, or the architecture has something that cannot be stacked.
    """

    def __init__(self, models: Sequence[nn.Module]):
        check_alike(models)
        self.models = list(models)
        self._trained: list[nn.Parameter] = []  # of the network
        self._whole: list[Tensor] = []  # their gradients
        self._parts: list[tuple[nn.Parameter, Tensor]] = []  # parameters of the models, with views on these
        graph = _trace(models[0])
        names = dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "call_module")
        layers = {name: [model.get_submodule(name) for model in models] for name in names}
        stacked = {name: _layer(own) for name, own in layers.items()}
        with torch.no_grad():
            for name, layer in stacked.items():
                self._share(layer, layers[name])
        self._modes = [(stacked[name], own[0]) for name, own in layers.items()]
        self.network = fx.GraphModule(stacked, _of_several(graph, len(models)))

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of every model on its own images: float [K, B, C, H, W] to [K, B, classes]."""
        return self.network(side_by_side(images))

    def begin(self) -> None:
        """Zero all gradients, and put the network's layers into train or eval mode as in the first model."""
        for stacked, layer in self._modes:
            stacked.training = layer.training
        for parameter, view in self._parts:
            if parameter.grad is not view:  # its model was trained by itself since
                parameter.grad = view
        torch._foreach_zero_(self._whole)

    def end(self) -> None:
        """Add the network's gradients of a backward pass to those of the models, for all models at once."""
        pairs = [(joined, p.grad) for joined, p in zip(self._whole, self._trained) if p.grad is not None]
        torch._foreach_add_([joined for joined, _ in pairs], [gradient for _, gradient in pairs])
        for parameter in self._trained:
            parameter.grad = None

    def release(self) -> None:
        """Give every model storage of its own again, and remove its gradients."""
        for model in self.models:
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.data = tensor.data.clone()
            for parameter in model.parameters():
                parameter.grad = None

    def _share(self, stacked: nn.Module, layers: list[nn.Module]) -> None:
        """Join the tensors of the models' layers into those of ``stacked``, and make them views of these."""
        joined = torch.stack if isinstance(stacked, Linear) else torch.cat
        for name, first in layers[0].named_parameters():
            own = [layer.get_parameter(name) for layer in layers]
            shared = nn.Parameter(_join(own, joined), first.requires_grad)
            setattr(stacked, name, shared)
            for parameter, part in zip(own, _parts(shared.data, own)):
                parameter.data = part
            if any(parameter._backward_hooks for parameter in own):
                shared.register_hook(functools.partial(_hooked, own, joined))
            if first.requires_grad:
                self._trained.append(shared)
                self._whole.append(torch.zeros_like(shared))
                self._parts += zip(own, _parts(self._whole[-1], own))
        for name, _ in layers[0].named_buffers():
            buffers = [layer.get_buffer(name) for layer in layers]
            stacked.register_buffer(name, _join(buffers, torch.cat if buffers[0].ndim else torch.stack))
            for buffer, part in zip(buffers, _parts(stacked.get_buffer(name), buffers)):
                buffer.data = part


class Linear(nn.Module):
    """A linear layer of each of K models: [K, B, inputs] to [K, B, outputs]; ``weight`` is [K, outputs, inputs]."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self) -> None:
        super().__init__()
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.transpose(1, 2)
        return x @ weight if self.bias is None else torch.baddbmm(self.bias[:, None], x, weight)


def check_alike(models: Sequence[nn.Module]) -> None:
    """Refuse models of unlike architectures.

    Raises:
        UsageError: says which differ.
    """
    first = signature(models[0])
    for number, other in enumerate(models[1:], start=2):
        if signature(other) != first:
            kinds = f"{type(models[0]).__name__} and {type(other).__name__}"
            raise UsageError(f"models 1 and {number} ({kinds}) differ in their layers, so they cannot be stacked")


def fits(model: nn.Module) -> bool:
    """Whether models of this architecture can be stacked; this one is left as it is."""
    try:
        Stack([copy.deepcopy(model), copy.deepcopy(model)])
    except UsageError:
        return False
    return True


def signature(model: nn.Module) -> tuple[Any, ...]:
    """What models must have in common to be stacked: layers, shapes, and which parameters train."""
    shapes = tuple(tensor.shape for tensor in model.state_dict().values())
    return type(model).__qualname__, str(model), shapes, tuple(p.requires_grad for p in model.parameters())


def side_by_side(images: Tensor) -> Tensor:
    """Every model's images, [K, B, C, H, W], with their channels side by side: [B, K * C, H, W], channels last."""
    count, batch, channels, height, width = images.shape
    lines = images.permute(1, 3, 4, 0, 2).reshape(batch, height, width, count * channels)
    return lines.permute(0, 3, 1, 2)


def _join(tensors: Sequence[Tensor], joined: Callable[..., Tensor]) -> Tensor:
    """One tensor of several, in their layout."""
    last = tensors[0].ndim == 4 and tensors[0].is_contiguous(memory_format=torch.channels_last)
    stacked = joined([tensor.detach() for tensor in tensors])
    return stacked.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _parts(whole: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Views of the result of ``_join``, one for each of the joined tensors, in its shape."""
    return [part.view(tensor.shape) for part, tensor in zip(whole.chunk(len(tensors)), tensors)]


def _hooked(parameters: Sequence[nn.Parameter], joined: Callable[..., Tensor], gradient: Tensor) -> Tensor:
    """The gradient of joined parameters, after the hooks of each parameter were applied to its part."""
    parts = _parts(gradient, parameters)
    for number, parameter in enumerate(parameters):
        for hook in (parameter._backward_hooks or {}).values():
            changed = hook(parts[number])
            parts[number] = parts[number] if changed is None else changed
    return _join(parts, joined)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return next(module.children(), None) is None


def _trace(model: nn.Module) -> fx.Graph:
    """The operations of one model.

    Raises:
        UsageError: the model cannot be traced, as its operations depend on values or shapes.
    """
    try:
        return _Tracer().trace(model)
    except Exception as error:  # noqa: BLE001  (a forward pass can fail in any way when traced)
        raise _unfit(model, "its operations depend on the images") from error


def _unfit(layer: nn.Module, why: str) -> UsageError:
    return UsageError(f"{type(layer).__name__} cannot be stacked: {why}")


def _layer(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer that stands for the corresponding layers of several models; ``Stack._share`` fills in its tensors.

    Raises:
        UsageError: layers of this type cannot be stacked.
    """
    first, count = layers[0], len(layers)
    kind = type(first)
    if kind is nn.Linear:
        return Linear()
    if kind is Normalize:
        return Normalize()
    if isinstance(first, nn.BatchNorm2d) and kind is nn.BatchNorm2d:
        settings = first.eps, first.momentum, first.affine, first.track_running_stats
        return nn.BatchNorm2d(count * first.num_features, *settings, device="meta")
    if isinstance(first, nn.Conv2d) and kind is nn.Conv2d:
        ends = count * first.in_channels, count * first.out_channels
        layer = nn.Conv2d(*ends, 1, groups=count * first.groups, bias=first.bias is not None, device="meta")
        for name in (
            "kernel_size",
            "stride",
            "padding",
            "dilation",
            "padding_mode",
            "_reversed_padding_repeated_twice",
        ):
            setattr(layer, name, getattr(first, name))
        return layer
    if kind in ALIKE or (isinstance(first, nn.Dropout) and first.p == 0):
        return first
    raise _unfit(first, "there is no such layer for several models")


def _of_several(graph: fx.Graph, count: int) -> fx.Graph:
    """Rewrite the operations of one model for ``count`` models, in place, and return them.

    Raises:
        UsageError: an operation has no form for several models.
    """
    for node in graph.nodes:
        target: Any = node.target
        if node.op == "get_attr":
            raise UsageError(f"{target} cannot be stacked: it is used outside of a layer")
        if node.op not in ("call_function", "call_method") or _is_alike(target, node.args):
            continue
        if target not in OF_SEVERAL:
            name = getattr(target, "__name__", target)
            raise UsageError(f"{name} cannot be stacked: there is no such operation for several models")
        node.op, node.target, node.args = "call_function", OF_SEVERAL[target], (count, *node.args)
    return graph


def _is_alike(target: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation is the same for one model and for several."""
    if target is operator.getitem:  # alike if it picks pixels, but not if it picks images or channels
        return isinstance(args[1], tuple) and all(part == slice(None) for part in args[1][:2])
    return target in ALIKE_FUNCTIONS


def pad(count: int, x: Tensor, widths: Sequence[int], **how: Any) -> Tensor:
    """``F.pad`` of pixels, and of every model's channels by themselves: [B, K * C, H, W] in channels-last layout."""
    lines = x.permute(0, 2, 3, 1).unflatten(3, (count, -1))
    sides, channels = list(widths[:4]), list(widths[4:6]) or [0, 0]
    sides += [0] * (4 - len(sides))
    return F.pad(lines, [*channels, 0, 0, *sides], **how).flatten(3).permute(0, 3, 1, 2)


def flatten(count: int, x: Tensor, first: int = 1) -> Tensor:
    """Every model's channels and pixels in one line: [B, K * C, H, W] to [K, B, C * H * W]; 3-D input is unchanged."""
    assert first == 1, "images stay apart"
    return x if x.ndim == 3 else x.unflatten(1, (count, -1)).flatten(2).transpose(0, 1)


def mean(count: int, x: Tensor, axes: Sequence[int], keepdim: bool = False) -> Tensor:
    """Every model's means over pixels: [B, K * C, H, W] to [K, B, C], or to [B, K * C, 1, 1] with ``keepdim``."""
    assert sorted(axis % 4 for axis in axes) == [2, 3], "channels stay apart"
    means = x.mean((2, 3), keepdim=keepdim)
    return means if keepdim else flatten(count, means)


OF_SEVERAL: dict[Any, Callable] = {F.pad: pad, torch.flatten: flatten, "flatten": flatten}
OF_SEVERAL |= {torch.mean: mean, "mean": mean}
