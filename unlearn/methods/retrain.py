"""Retrain: exact unlearning by a new model that never saw the forget set; plain, label-smoothed, sharpness-aware."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.registry import Iterative, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Iterative):
    unlearn_epochs: int = option(160, "passes over the retain set", low=0)
    unlearn_lr: float = option(0.1, "step size", above=0)
    label_smoothing: float = option(
        0.0, "share of every label's weight that is spread over all classes", low=0, below=1
    )


@dataclass(frozen=True)
class SmoothedConfig(Config):
    label_smoothing: float = changed(Config, "label_smoothing", 0.1)


@dataclass(frozen=True)
class SharpnessConfig(Config):
    sam_rho: float = changed(Config, "sam_rho", 2.0, help="radius of adaptive sharpness-aware minimisation")


@method("retrain", config=Config, reads={"retain"}, fresh=True, paper="Retrain", aliases=("naive", "Retrain"))
@about("train new weights on the retain set only, under the same mask", source="Jia et al. 2023, section 2")
@method(
    "retrain_ls", config=SmoothedConfig, reads={"retain"}, fresh=True, tasks={"classification"}, paper="Retrain + LS"
)
@about("retrain with label smoothing", source="Szegedy et al. 2016, section 7; Jia et al. 2023, released code")
@method("retrain_sam", config=SharpnessConfig, reads={"retain"}, fresh=True, paper="Retrain + SAM")
@about(
    "retrain with adaptive sharpness-aware minimisation",
    source="Foret et al. 2021; Kwon et al. 2021; Jia et al. 2023, released code",
)
def retrain(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the loss on the retain set; ``model`` comes with new, masked weights."""
    from trainer.task import Classification

    smoothed = Classification(context.classes, config.label_smoothing)
    context.fit(model, sets.retain, config, smoothed.mean if config.label_smoothing else None)
