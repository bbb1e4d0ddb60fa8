"""SalUn-soft: random labels, while weights that changed little return to their starting values."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.methods import relabel
from unlearn.registry import about, method
from unlearn.signature import Context, Sets, nn
from utils.options import option


@dataclass(frozen=True)
class Config(relabel.Config):
    mask_ratio: float = option(
        0.5, "share of the weights that each step takes back to their start; falls to 0 step by step", low=0, high=1
    )


@method("SalUn_soft", config=Config, reads={"retain", "forget"}, paper="SalUn-soft", aliases=("RL_proximal",))
@about("random labels, with soft thresholds in place of a mask", source="Fan et al. 2024 (SalUn), appendix")
def salun_soft(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """RL, with a soft threshold on each weight's distance from its start after every step (``SoftThreshold``).

    With ``--compat reference`` the threshold falls as if each retain batch took a step of its own, too.
    """
    from unlearn.proximal import SoftThreshold
    from unlearn.wrong_targets import of_epochs, train

    forget, retain = (len(images.sizes(config.batch_size)) for images in (sets.forget, sets.retain))
    stretch = 1.0 if context.compat == "fixed" else (forget + retain) / forget
    shrink = SoftThreshold(model, context, config.mask_ratio, stretch)
    train(model, sets, config, context, of_epochs(sets, config, context), shrink)
