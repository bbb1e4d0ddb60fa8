"""SSD, LFSSD and ASSD: make those weights smaller that matter more for the forget set than for all images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unlearn.registry import ALPHA, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import changed, option

RESHAPES = "makes single weights smaller"


@dataclass(frozen=True)
class _Adaptive:
    kind: ClassVar[str] = "SSD"  # of the importances
    dampening: float = option(1.0, "a smaller one changes the selected weights more", above=0, search=(0.1, 5.0, "log"))
    importance: str | None = option(
        None, "by gradients of images, or of batches (with --compat reference)", choices=("images", "batches")
    )
    importances: str | None = option(
        None, "file of main_saliency.py --saliency SSD or LFSSD: importances over all images", metavar="FILE"
    )
    batch_size: int = option(64, "images per batch of --importance batches", low=1)


@dataclass(frozen=True)
class Config(_Adaptive):
    alpha: float = option(
        3.0,
        "a weight is selected that matters so many times more for the forget set than for all images",
        common=ALPHA,
        above=0,
        search=(1.0, 100.0, "log"),
    )


@dataclass(frozen=True)
class _LossFree(Config):
    kind: ClassVar[str] = "LFSSD"
    alpha: float = changed(Config, "alpha", 2.0)


@method("SSD", config=Config, reads={"retain", "forget"}, reshapes=RESHAPES)
@about("dampen weights that matter more for the forget set than for all", source="Foster et al. 2024 (SSD), section 3")
def selective(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Multiply weights with I_f > alpha I by min(1, dampening I / I_f), without training.

    I and I_f are the means of squared gradients of the loss over all training images and over the forget set.
    """
    from unlearn import dampening

    dampening.run("SSD", model, sets, config, context)


@method("LFSSD", config=_LossFree, reads={"retain", "forget"}, reshapes=RESHAPES, tasks={"classification"})
@about("SSD without a loss: by the length of the logits", source="Foster et al. 2024 (Loss-Free SSD)")
def loss_free(model: nn.Module, sets: Sets, config: _LossFree, context: Context) -> None:
    """SSD with I the mean absolute gradient of the logits' squared length."""
    from unlearn import dampening

    dampening.run("LFSSD", model, sets, config, context)


@method("ASSD", config=_Adaptive, reads={"retain", "forget"}, reshapes=RESHAPES)
@about("SSD with its threshold taken from the data", source="Schoepf et al. 2024 (Adaptive SSD)")
def adaptive(model: nn.Module, sets: Sets, config: _Adaptive, context: Context) -> None:
    """SSD with alpha at the percentile 100 - ln(1 + 100 n_f / n) of I_f / I over all weights."""
    from unlearn import dampening

    dampening.run("ASSD", model, sets, config, context)
