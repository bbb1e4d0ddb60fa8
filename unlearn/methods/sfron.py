"""SFR-on: climb the forget loss of weighted images along salient weights, and repair on the retain set."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.training_flags import Stepping
from unlearn.registry import Counted, Salient, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Stepping):
    batch_size: int = option(128, "images per step", low=1)
    unlearn_epochs: int = option(4, "passes over the retain set", low=0, search=(1, 37, "linear"))
    iterations: int | None = option(None, "steps on the retain set in place of --unlearn_epochs (paper: 1500)", low=0)
    unlearn_lr: float = option(0.01, "step size", above=0, search=(1e-5, 1e-1, "log"))
    schedule: str = option("cosine", "step size over the steps", choices=("cosine", "constant"))
    no_aug: bool = option(False, "train without random crop and flip")
    forget_freq: int = option(5, "steps on the retain set for each ascent", low=1, search=(1, 20, "linear"))
    forget_alpha: float = option(25.0, "weight of the forget loss at the start", low=0, search=(1.0, 500.0, "log"))
    forget_decay: str | None = option(
        None,
        "that weight over the steps (linear; cosine with --compat reference)",
        choices=("linear", "cosine", "quadratic", "none"),
    )
    remain_alpha: float = option(1.0, "weight of the retain loss", low=0, identity="changed")
    unlearn_loss: str | None = option(
        None,
        "forgetting climbs, images weighted (adaga) or not (ga, as --no_adaptive), or teaches wrong targets (rl)",
        choices=("adaga", "ga", "rl"),
        identity="changed",
    )
    max_norm: float = option(7.0, "longest forget gradient that is not scaled down to this; 0 is off", low=0)
    retain_max_norm: float = option(0.0, "longest retain gradient left as it is; 0 is off", low=0, identity="changed")
    adaptive_power: float = option(
        0.5, "lambda: forget images count by their loss to the power of minus this", low=0, search=(0.0, 1.0, "linear")
    )
    fisher_ratio: float = option(
        1.0, "gamma: least Fisher ratio, forget to retain set, of changed weights", low=0, search=(0.1, 10.0, "log")
    )
    saliency_mask: str | None = changed(
        Salient, "saliency_mask", None, help="forgetting changes only the weights of this file, see main_saliency.py"
    )
    fisher_dir: str | None = option(
        None, "or those by --fisher_ratio and this folder's Fisher information", metavar="DIR", identity="changed"
    )
    retain_subset: int | None = option(
        None,
        "repair, and count passes, on only so many retain images, drawn once; 0 for as many as there are to forget",
        low=0,
    )
    slow_rate: float = option(1.0, "alpha: how far the weights follow each round of both", low=0, high=1)
    ema_decay: float = changed(Counted, "ema_decay", 0.0)
    no_saliency: bool = option(False, "without S: forgetting changes all weights")
    no_adaptive: bool = option(False, "without F: all forget images count alike")
    no_fast_slow: bool = option(False, "without R-on: forget and retain gradients are added and stepped along at once")


@method(
    "SFRon",
    config=Config,
    reads={"retain", "forget"},
    paper="SFR-on",
    aliases=("SFR-on",),
    reshapes="chooses single weights to change",
)
@about("adaptive ascent on salient weights with fast-slow repair", source="Huang et al. 2024 (SFR-on)")
def sfron(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Choose salient weights by Fisher ratio, then run ``FastSlow``; each part can be switched off by a flag."""
    from unlearn.fast_slow import FastSlow, ascent, fisher_mask

    forget, retain = (images.plain() if config.no_aug else images for images in (sets.forget, sets.retain))
    if config.retain_subset is not None:
        retain = retain.first(config.retain_subset or len(forget), context.draws.order(len(retain), "retain subset"))
    mask = None if config.no_saliency else context.update_mask or fisher_mask(model, sets, config, context)
    plan = FastSlow(model, ascent(model, forget, config, context), retain, mask, config, context)
    context.phase(plan.training, plan)
