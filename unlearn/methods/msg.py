"""MSG (Masked Small Gradients): re-initialise the weights of small gradients, and train these most."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.benchmark import FRACTION, Entry, challenge_entry
from unlearn.registry import about
from unlearn.signature import Context, Sets, Tensor, nn
from utils.options import changed, option

REFERENCE_BATCH = 64  # retain images per gradient batch in the reference, whatever the size of forget batches
KEPT = 0.1  # factor of the gradients of weights that were not drawn anew


@dataclass(frozen=True)
class Config(Entry):
    unlearn_epochs: int = changed(Entry, "unlearn_epochs", 5)
    schedule: str = changed(Entry, "schedule", "triangle")
    init_rate: float = option(
        0.3, "fraction of every layer's weights that is drawn anew", low=0, high=1, search=FRACTION
    )


@challenge_entry("MSG", 2, config=Config, reads={"retain", "forget"}, reshapes="draws weights anew")
@about(
    "masked small gradients: renew the weights with the smallest gradient of retain minus forget loss, then fine-tune"
)
def masked_small_gradients(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Draw weights of small gradients anew, then descend the loss on the retain set.

    In every prunable layer (convolutions, in transformers linear layers) this is the fraction ``init_rate`` of the kept
    weights with the least |gradient|. The gradient is that of the loss on as many random retain images as there are
    forget images, minus that on the forget set. Other weights of these layers train with a tenth of their gradients.
    """
    import torch

    import pruner
    from unlearn import layers

    weights, scales = pruner.prunable(model), {}
    for name, gradient in contrast(model, sets, config, context).items():
        kept = {name: context.mask.get(name, torch.ones(gradient.shape, dtype=torch.bool)).cpu()}
        large = pruner.choose({name: gradient.abs()}, config.init_rate, kept)
        small = (kept[name] & ~large[name]).to(gradient.device)
        fresh = context.draws.weight(name, gradient, layers.kaiming_normal, "renewed")
        with torch.no_grad():
            weights[name].copy_(torch.where(small, fresh, weights[name]))
        scales[name] = torch.where(small, 1.0, KEPT)
    pruner.MaskEnforcer(model, context.mask)
    with layers.scaled_gradients(model, scales):
        context.fit(model, sets.retain, config)


def contrast(model: nn.Module, sets: Sets, config: Config, context: Context) -> dict[str, Tensor]:
    """Gradients of the summed mean losses of retain batches minus those of forget batches, by prunable parameter.

    They are computed in train mode, so batch norm's statistics change. With ``--compat reference`` retain batches have
    64 images.
    """
    import pruner
    from unlearn.curvature import gradient_of_means

    order = context.draws.order(len(sets.retain), "gradient sample").to(sets.retain.device)
    sample = sets.retain.at(sets.retain.indices[order[: len(sets.forget)]])
    size = REFERENCE_BATCH if context.compat == "reference" else config.batch_size
    model.train()
    batches = sample.batches(size), sets.forget.batches(config.batch_size)
    retain, forget = (gradient_of_means(model, each, list(pruner.prunable(model))) for each in batches)
    return {name: retain[name] - forget[name] for name in retain}
