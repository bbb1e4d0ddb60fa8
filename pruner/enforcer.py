"""Hold weights fixed during training, at zero or at the values they have, and check pruned weights afterwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pruner.masks import Mask
from utils.errors import RunError


class MaskEnforcer:
    """Holds the masked-out weights of one model at exactly zero, or at the values that they have now.

    It acts on the parameters of this model only: a deep copy of the model needs a ``MaskEnforcer`` of its own.

    Args:
        model: the model. With ``at_zero``, its masked-out weights become zero at once.
        mask: boolean tensors by parameter name, in the shapes of the parameters, True where a weight may change.
            Parameters that it does not name may change. May be empty.
        at_zero: False holds the masked-out weights at their present values instead of zero.
    Raises:
        KeyError: the model has no parameter of a name in ``mask``.
    """

    def __init__(self, model: nn.Module, mask: Mask, at_zero: bool = True):
        parameters = dict(model.named_parameters())
        self._weights: list[Tensor] = [parameters[name] for name in mask]
        self._keep = [
            m.to(device=w.device, dtype=w.dtype).contiguous(memory_format=_layout(w))
            for w, m in zip(self._weights, mask.values())
        ]
        self._values = [] if at_zero else [w.detach() * (1 - keep) for w, keep in zip(self._weights, self._keep)]
        self()

    @torch.no_grad()
    def __call__(self) -> None:
        """Reset every held weight to zero or to its value; call this after each change of the weights."""
        if self._weights:
            torch._foreach_mul_(self._weights, self._keep)
        if self._values:
            torch._foreach_add_(self._weights, self._values)

    @torch.no_grad()
    def gradients(self) -> None:
        """Multiply the gradient of every held weight by zero."""
        pairs = [(w.grad, keep) for w, keep in zip(self._weights, self._keep) if w.grad is not None]
        if pairs:
            torch._foreach_mul_([gradient for gradient, _ in pairs], [keep for _, keep in pairs])


def _layout(weight: Tensor) -> torch.memory_format:
    last = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def check_held(model: nn.Module, mask: Mask, who: str) -> None:
    """Raise if any pruned weight is not exactly zero.

    Raises:
        RunError: names ``who``, the first such parameter and how many of its weights came back.
    """
    parameters = dict(model.named_parameters())
    for name, kept in mask.items():
        revived = int(torch.count_nonzero(parameters[name].detach()[~kept.to(parameters[name].device)]))
        if revived:
            raise RunError(f"{who} revived {revived} pruned weights of {name}")
