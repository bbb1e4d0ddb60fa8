"""CT (Convolution Transpose): swap height and width of every kernel, then fine-tune."""

from __future__ import annotations

from unlearn.benchmark import Entry, challenge_entry
from unlearn.registry import about
from unlearn.signature import Context, Sets, nn


@challenge_entry("CT", 5, tasks=None, config=Entry, reads={"retain"}, reshapes="transposes kernels")
@about("convolution transpose: swap height and width of every kernel, then fine-tune")
def transpose(model: nn.Module, sets: Sets, config: Entry, context: Context) -> None:
    """Transpose every square kernel, then descend the cross-entropy on the retain set.

    The mask is not transposed, so a weight that moves to a pruned position is lost, and a kept position may start from
    zero. A model without convolutions is only fine-tuned.
    """
    import torch
    from torch import nn

    from pruner import MaskEnforcer

    kernels = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
    if not kernels:
        context.log.line("CT: this model has no convolution to transpose; it is only fine-tuned")
    with torch.no_grad():
        for kernel in kernels:
            if kernel.shape[2] == kernel.shape[3]:
                kernel.copy_(kernel.transpose(2, 3).clone())
    MaskEnforcer(model, context.mask)
    context.fit(model, sets.retain, config)
