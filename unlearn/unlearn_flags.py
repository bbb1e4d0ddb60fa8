"""Flags of the scripts that unlearn, beside those of the methods themselves. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from dataset.scenario import KINDS, Scenario
from trainer.training_flags import Arguments, Model, in_time, is_transformer, suited
from unlearn import registry
from unlearn.registry import Method
from utils.errors import UsageError
from utils.options import NO_IDENTITY, build, changed, file_option, option
from utils.run_flags import Apart


@dataclass(frozen=True)
class Unlearn:
    unlearn: str = option("retrain", "unlearning method, see below", common=True, metavar="NAME")
    preset: str | None = option(
        None,
        "another paper's variant, if the method has one: deepunlearn, sfron, supreme",
        common="another paper's variant: deepunlearn, sfron, supreme",
        metavar="NAME",
        identity=False,
    )
    mask: str | None = file_option(
        "checkpoint of the model to unlearn, dense or pruned (needed, but for retrain)",
        common=True,
        aliases=("model_path",),
    )
    resume: bool = option(
        False, "score METHODcheckpoint.pth.tar of --save_dir if it is there, and unlearn nothing", identity=False
    )
    allow_split_mismatch: bool = option(False, "go on although the model was trained on another split")
    reference_model: str | None = file_option(
        "the retrained checkpoint (retraincheckpoint.pth.tar): adds divergences from its outputs, and ToW",
        common="the retrained checkpoint to compare with",
    )
    verbose: bool = option(False, "print every attack's figures too; result.json always holds them", identity=False)


@dataclass(frozen=True)
class Further:
    """Flags of scores that need more than outputs. A finished run adds them, and they change no other number."""

    relearn_epochs: int = option(
        0,
        "count the epochs on the forget set after which the model knows it again, at most so many; Retrain's "
        "(--reference_model) too",
        low=0,
        identity=False,
    )
    relearn_lr: float = option(1e-3, "with --relearn_epochs: their step size", above=0, identity=False)
    cka: bool = option(
        False,
        "compare every block's features with those of the original and of --reference_model, by linear CKA",
        identity=False,
    )


@dataclass(frozen=True)
class Lora:
    """Flags of training adapters in place of a model's weights (``unlearn/lora.py``)."""

    lora: bool = option(
        False, "train adapters in place of the weights (needs peft), by gradient steps alone", common=True
    )
    lora_rank: int = option(8, "width of the adapters", low=1)
    lora_alpha: float = option(16.0, "the adapters count alpha / rank times", above=0)
    lora_dropout: float = option(0.1, "share of an adapter's inputs that is zero while training", low=0, below=1)
    lora_targets: tuple[str, ...] | None = option(
        None, "layers with adapters, by the ends of their names; without it all prunable ones", metavar="NAME,NAME"
    )
    lora_merge: str = option(
        "masked",
        "afterwards add the adapters to the weights and mask them (masked), or store them beside the model (none)",
        choices=("masked", "none"),
    )


@dataclass(frozen=True)
class Evaluation:
    mask: str | None = changed(
        Unlearn, "mask", None, help="checkpoint of the model to unlearn, dense or pruned (needed)"
    )
    allow_split_mismatch: bool = changed(Unlearn, "allow_split_mismatch", False)


@dataclass(frozen=True)
class Saliency:
    saliency: str = option(
        "gradient",
        "what makes a weight salient: the forget loss's gradient, or Fisher information on forget over retain set; SSD "
        "and LFSSD store these methods' importances over all images",
        common="what makes a weight salient",
        choices=("gradient", "fisher", "SSD", "LFSSD"),
    )
    batch_size: int = option(256, "images per gradient batch; matters with --compat reference only", low=1)
    no_aug: bool = option(False, "with --compat reference: take gradients without crop and flip")


@dataclass(frozen=True, kw_only=True)
class ForgetArguments(Arguments):
    """Arguments of ``main_forget.py`` and ``main_saliency.py``.

    Attributes:
        scenario: what is forgotten.
        hyper: the method's own configuration; a ``Saliency`` for ``main_saliency.py``, whose method is raw.
        lora: flags of adapters; None for a run without them.
        apart: seeds of the method and of scoring.
        further: costly scores that are asked for.
        typed: all typed flags, as words of a command line.
    """

    training: ClassVar[str] = "hyper"
    scenario: Scenario = field(metadata=NO_IDENTITY)  # a Setup adds it with its numbers resolved
    unlearn: Unlearn
    hyper: Any
    lora: Lora | None = field(default=None, metadata={"identity": "changed"})
    apart: Apart = field(default=Apart(), metadata={"identity": "changed"})
    further: Further = field(default=Further(), metadata=NO_IDENTITY)
    typed: tuple[str, ...] = field(default=(), metadata=NO_IDENTITY)


def hyper_parameters(typed: dict[str, Any], method: Method, model: Model, preset: str | None) -> Any:
    """The method's hyper-parameters: typed values, else those of the preset or, without one, of the architecture.

    Args:
        typed: values by name of the flags that were typed.
        preset: name of a preset; None for none.
    Returns:
        An instance of ``method.config``.
    Raises:
        UsageError: a value is out of range, or the method has no such preset.
    """
    if preset is not None:
        fitting = method.preset(preset)
    elif is_transformer(model.arch):
        fitting = suited(method.config)
    else:
        fitting = {"schedule": "cosine"} if model.imagenet_arch and method.fresh else {}
    hyper: Any = build(method.config, fitting | typed)
    return in_time(hyper, typed) if method.fresh else hyper


def adapters(typed: dict[str, Any], method: Method, hyper: Any) -> Lora | None:
    """The flags of adapters; None if ``--lora`` was not typed.

    Raises:
        UsageError: the method cannot train adapters, or ``--lora_targets`` is empty.
    """
    lora = build(Lora, typed)
    unfit = method.unfit_for_adapters(hyper) if lora.lora else ""
    if unfit:
        raise UsageError(
            f"--lora: {method.name} {unfit}; adapters need a method that trains by gradient steps alone, such as FT, "
            "GA or FT_prune"
        )
    if lora.lora_targets == ():
        raise UsageError("--lora_targets: must name at least one layer")
    return lora if lora.lora else None


def known_names() -> dict[str, list[str]]:
    """Names by which runs for classification can be selected: of the "method", its "flags", and the "scenario"."""
    configs = [registry.get(name).config for name in registry.names()]
    flags = sorted({each.name for config in (*configs, Lora) for each in fields(config)})
    return {"method": registry.table_names(), "flags": flags, "scenario": list(KINDS)}
