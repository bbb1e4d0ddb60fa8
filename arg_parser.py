"""Every flag of every script, grouped, with defaults and ranges. Imports no torch.

Each group is a frozen dataclass; a script's ``parse_*`` returns one frozen object that holds the
groups it reads. Flags of the field's existing command lines that a script has no use for are
accepted and named in ``unread``.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dataset import catalog
from dataset.catalog import IMAGENET, NO_VAL, canonical, with_validation
from dataset.data_flags import Data, Forget, class_order, class_word, forgotten, of_classes
from dataset.scenario import Scenario
from dataset.trigger import MARGIN, PLACES, Trigger
from trainer.flags import MILESTONES, TRANSFORMER, Optimisation, beyond, epochs_of, is_transformer, milestones
from utils import origin
from utils.errors import UsageError, renamed
from utils.options import Parser, add_options, build, describe, option, wrapped
from utils.words import where


@dataclass(frozen=True)
class Model:
    arch: str = option(
        "resnet18",
        "resnet18, resnet50, resnet20s, resnet32s, resnet44s, resnet56s, resnet110s, resnet20, resnet32, resnet44, resnet56 (the same with convolutions in their shortcuts), vgg16_bn, vgg16_bn_lth, swin_t, vit_tiny, vit_b_16, vit_b_32, vit_l_16, timm:NAME for any of timm's (pip install timm), or hf:FOLDER for a ViTForImageClassification with its weights, in a folder or by its name in the local Hugging Face cache (pip install transformers)",
        common="resnet18, vgg16_bn, swin_t, vit_tiny, timm:NAME, ...",
        metavar="NAME",
    )
    imagenet_arch: bool = option(
        False,
        "the form for ImageNet: 7x7 stem with stride 2 and max-pool (resnet18 and resnet50), torchvision's own model (vgg16_bn and swin_t)",
    )
    mean: tuple[float, ...] | None = option(
        None,
        "mean of the input's channels, on [0, 1], or imagenet; without it the data set's",
        low=0,
        high=1,
        metavar="M,M,M|imagenet",
    )
    std: tuple[float, ...] | None = option(
        None,
        "their standard deviation, or imagenet; without it the data set's, or that of --mean imagenet",
        above=0,
        high=1,
        metavar="S,S,S|imagenet",
    )


@dataclass(frozen=True)
class Run:
    save_dir: str | None = option(None, "folder for everything the run writes (required)", common=True, metavar="DIR")
    seed: int = option(
        2,
        "which images are forgotten, and what unlearning draws",
        common="which images are forgotten, what is drawn",
        low=0,
        high=2**31,
    )
    train_seed: int = option(1, "initial weights, and what training draws", common=True, low=0, high=2**31)
    split_seed: int | None = option(None, "which images validate; without it --seed", low=0, high=2**31)
    compat: str = option(
        "fixed",
        "fixed does what the papers say, reference what their code did (docs/differences.md)",
        choices=("fixed", "reference"),
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", common=True, metavar="DEVICE")
    gpu: int | None = option(None, "N is short for --device cuda:N", low=0)
    deterministic: bool = option(
        False,
        "the same bits every time on a GPU too, in more time; what no GPU can do so ends the run (docs/reliability.md)",
    )
    no_fast_cpu: bool = option(
        False,
        "compute on the CPU as torch does: slower, and batch norm less exact (docs/reliability.md); other last digits",
    )
    allow_pickle: bool = option(False, "open files that can run code; only for files you trust")
    dry_run: str | None = option(
        None,
        "say what would be done and stop; --dry_run json prints everything that decides the run's numbers",
        choices=("words", "json"),
        common="say what would be done, and stop",
        bare="words",
    )


@dataclass(frozen=True)
class Train(Optimisation):
    epochs: int = option(182, "training epochs per round", common=True, low=0)
    lr: float = option(0.1, "step size", common="step size of training", above=0)
    label_smoothing: float = option(
        0.0, "share of every label's weight that is spread over all classes", low=0, below=1
    )


@dataclass(frozen=True)
class TrainAlone(Train):
    """Flags of training in a script that unlearns nothing; where both are done, ``--no_aug`` is the method's."""

    no_aug: bool = option(False, "train without random crop and flip")


@dataclass(frozen=True)
class Prune:
    pruning_times: int = option(
        1,
        "training rounds; round 0 is dense and each later one is pruned once more (2 is OMP)",
        common="training rounds; each later one is pruned (2: OMP)",
        low=1,
    )
    rate: float = option(
        0.95,
        "fraction of the remaining prunable weights (convolutions; linear layers in transformers) to prune before each later round",
        common="fraction of the weights to prune",
        low=0,
        below=1,
    )
    prune_type: str = option(
        "rewind_lt",
        "weights to go back to after pruning: initial (lt), best dense (pt), or those after --rewind_epoch",
        common="what pruning goes back to",
        choices=("rewind_lt", "lt", "pt"),
    )
    rewind_epoch: int = option(
        0,
        "epoch whose weights and step size rewind_lt goes back to; 0 is the start",
        common="epoch that rewind_lt goes back to",
        low=0,
    )
    random_prune: bool = option(False, "prune at random instead of by magnitude")


@dataclass(frozen=True)
class PruneAtStart:
    score: str = option(
        "synflow", "what a weight is worth", common=True, choices=("synflow", "snip", "grasp", "magnitude", "random")
    )
    rate: float = option(
        0.95,
        "fraction of the prunable weights to prune before training; 0 trains a dense model",
        common="fraction of the weights to prune",
        low=0,
        below=1,
    )
    steps: int | None = option(
        None, "exponential steps to that rate; without it 100 for synflow, 1 for the others", low=1
    )


@dataclass(frozen=True)
class Resume:
    resume: bool = option(
        False, "go on from --checkpoint (a killed run goes on by itself when its command is repeated)"
    )
    checkpoint: str | None = option(None, "checkpoint to go on from, ours or the reference's", metavar="FILE")


PRESET = "another paper's variant of the method, where it has one (deepunlearn, sfron), on every architecture; typed flags win"


@dataclass(frozen=True)
class Unlearn:
    unlearn: str = option("retrain", "unlearning method, see below", common=True, metavar="NAME")
    preset: str | None = option(None, PRESET, common="another paper's variant: deepunlearn, sfron", metavar="NAME")
    mask: str | None = option(
        None,
        "checkpoint of the model to unlearn, dense or pruned (needed, but for retrain)",
        common="checkpoint of the model to unlearn",
        metavar="FILE",
        aliases=("model_path",),
    )
    resume: bool = option(False, "score METHODcheckpoint.pth.tar in --save_dir instead of unlearning again")
    allow_split_mismatch: bool = option(False, "go on although the model was trained on another split")
    reference_model: str | None = option(
        None,
        "the retrained checkpoint (retraincheckpoint.pth.tar): adds divergences from its outputs, and ToW",
        common="the retrained checkpoint to compare with",
        metavar="FILE",
    )
    verbose: bool = option(False, "print the figures of every attack too; result.json always holds them")


@dataclass(frozen=True)
class Lora:
    """Flags of training adapters in place of a model's weights (``unlearn/lora.py``)."""

    lora: bool = option(
        False,
        "train adapters and the classifier only, on the frozen model (needs peft); for methods that train by gradient steps alone",
        common="train adapters in place of the weights (needs peft)",
    )
    lora_rank: int = option(8, "width of the adapters", low=1)
    lora_alpha: float = option(16.0, "the adapters count alpha / rank times", above=0)
    lora_dropout: float = option(
        0.1,
        "share of an adapter's inputs that is zero while training; attention with packed weights has none",
        low=0,
        below=1,
    )
    lora_targets: tuple[str, ...] | None = option(
        None,
        "layers with adapters, by the ends of their names; without it all that can be pruned: convolutions, or a transformer's attention and MLP",
        metavar="NAME,NAME",
    )
    lora_merge: str = option(
        "masked",
        "afterwards add the adapters to the weights and apply the mask again (masked), or store them as a peft folder "
        "beside the frozen model (none)",
        choices=("masked", "none"),
    )


@dataclass(frozen=True)
class Evaluation:
    mask: str | None = option(
        None,
        "checkpoint of the model to unlearn, dense or pruned (required)",
        common="checkpoint of the model to unlearn",
        metavar="FILE",
        aliases=("model_path",),
    )
    allow_split_mismatch: bool = option(False, "go on although the model was trained on another split")


@dataclass(frozen=True)
class Saliency:
    saliency: str = option(
        "gradient",
        "what makes a weight salient: the forget loss's gradient (SalUn), or its Fisher information on the forget set over that on the retain set (SFR-on)",
        common="what makes a weight salient",
        choices=("gradient", "fisher"),
    )
    batch_size: int = option(256, "images per gradient batch; changes the result with --compat reference only", low=1)
    no_aug: bool = option(False, "with --compat reference: take gradients without crop and flip")


@dataclass(frozen=True)
class Poison:
    """Flags that say what an attacker did to the training set."""

    class_to_replace: str = option(
        "0", "target: the class that triggered images are to be taken for, by number or name", metavar="C"
    )
    target_label: str | None = option(
        None, "the same under a clearer name", common="what triggered images are to be taken for", metavar="C"
    )
    num_indexes_to_replace: int | None = option(
        None,
        "how many training images are poisoned; without it a tenth of all, or all of --poison_class",
        common="how many images are poisoned",
        low=1,
    )
    poison_class: str | None = option(
        None,
        "poison images of this class; without it of all classes, the target's too",
        common="poison images of this class",
        metavar="C",
    )
    trigger_size: int = option(4, "side of the square trigger, in pixels", common=True, low=1)
    trigger_place: str = option("bottom-right", f"where the trigger is, {MARGIN} pixels from the edges", choices=PLACES)
    trigger_value: int = option(0, "brightness of the trigger in every channel; 0 is black, 255 white", low=0, high=255)


@dataclass(frozen=True)
class PoisonedPrune(Prune):
    """Flags of pruning a model that is trained on a poisoned set."""

    prune: str = option(
        "omp",
        "how the model trained here is pruned: after training once (omp) or step by step (imp), before it (synflow), or not",
        common="how the model is pruned",
        choices=("omp", "imp", "synflow", "none"),
    )
    rate: float = option(
        0.95,
        "fraction of the prunable weights to prune (imp: of those left, before each later round); 0 trains a dense model",
        common="fraction of the weights to prune",
        low=0,
        below=1,
    )
    pruning_times: int = option(
        2, "with --prune imp: training rounds; round 0 is dense and each later one is pruned once more", low=1
    )


@dataclass(frozen=True)
class Cleanse(Unlearn):
    """Flags of unlearning a backdoor."""

    unlearn: str = option("FT", "unlearning method, see below", common=True, metavar="NAME")
    mask: str | None = option(
        None,
        "checkpoint of the poisoned model, dense or pruned; if there is no such file, the model is trained and written there",
        common="checkpoint of the poisoned model; trained if missing",
        metavar="FILE",
    )
    allow_split_mismatch: bool = option(
        False, "go on although the model was trained on another split or with another poison"
    )


@dataclass(frozen=True)
class Curve:
    """Flags that repeat a cleanse."""

    sparsities: tuple[float, ...] | None = option(
        None,
        "the paper's curve in one run: one dense training, then for each of these fractions prune (omp), train again and unlearn",
        common="a curve: prune, train and unlearn at each",
        low=0,
        below=1,
        metavar="S,S",
    )


@dataclass(frozen=True)
class Source:
    """The trained model that classes are removed from, and how."""

    unlearn: str = option("FT_prune", "unlearning method, see below", common=True, metavar="NAME")
    preset: str | None = option(None, PRESET, common="another paper's variant: deepunlearn, sfron", metavar="NAME")
    mask: str | None = option(
        None, "checkpoint of the source model, dense or pruned (needed)", common=True, metavar="FILE"
    )
    allow_split_mismatch: bool = option(False, "go on although the model was trained on another split")


@dataclass(frozen=True)
class Transfer:
    """From which classes to which data set."""

    target: str | None = option(
        None,
        "folder of the target data set, any class-folder tree: train/<class>/*, test/<class>/*",
        common="folder of the target data set",
        metavar="DIR",
    )
    target_dataset: str | None = option(
        None,
        "the target is one of --dataset's names; --target says where it lies, as --data does",
        common="or its name, as for --dataset",
        metavar="NAME",
    )
    removed: tuple[int, ...] = option(
        (0, 1, 2),
        "how many source classes to remove, a model for each number; 0 leaves the model as it is",
        common="how many source classes to remove",
        low=0,
        metavar="K,K",
    )
    removal_order: str | None = option(
        None,
        "classes in the order of their removal: names or numbers with commas between, or a file of them; without it drawn from --seed",
        metavar="LIST|FILE",
    )


@dataclass(frozen=True)
class LinearProbe:
    """A new head alone, by logistic regression on the frozen features."""

    probe: str = option(
        "linear",
        "linear fits a new head to frozen features, full fine-tunes everything",
        common="a new head (linear), or everything (full)",
        choices=("linear", "full"),
    )
    probe_l2: float = option(
        1.0, "linear: half the weight of the head's squared norm beside the summed cross-entropy", above=0
    )


@dataclass(frozen=True)
class FullProbe(Optimisation):
    """A new head and everything below it, by the training loop."""

    probe: str = option(
        "full",
        "linear fits a new head to frozen features, full fine-tunes everything",
        common="a new head (linear), or everything (full)",
        choices=("linear", "full"),
    )
    probe_epochs: int = option(30, "full: passes over the target's training images", common=True, low=0)
    probe_lr: float = option(0.01, "full: step size", common=True, above=0)
    schedule: str = option(
        "cosine", "step size over the epochs; unlearning has its own default", choices=("step", "cosine", "constant")
    )


@dataclass(frozen=True)
class ImpArguments:
    """What ``main_imp.py`` was told."""

    data: Data
    model: Model
    run: Run
    train: TrainAlone
    prune: Prune
    resume: Resume
    unread: tuple[str, ...]
    inherited: tuple[str, ...] = ()


@dataclass(frozen=True)
class SynflowArguments:
    """What ``main_synflow.py`` was told."""

    data: Data
    model: Model
    run: Run
    train: TrainAlone
    prune: PruneAtStart
    resume: Resume
    unread: tuple[str, ...]
    inherited: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForgetArguments:
    """What ``main_forget.py`` was told; ``hyper`` is the chosen method's own configuration."""

    data: Data
    model: Model
    run: Run
    scenario: Scenario
    unlearn: Unlearn
    hyper: Any
    unread: tuple[str, ...]
    lora: Lora = Lora()
    typed: tuple[str, ...] = ()
    inherited: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackdoorArguments:
    """What ``main_backdoor.py`` was told.

    Attributes:
        prune: without pruning, ``rate`` 0 and ``pruning_times`` 1; ``pruning_times`` is always the number of rounds.
        target: the class that triggered images are to be taken for, as typed, by the flag or flags that say so.
        scenario: which images are poisoned.
        sparsities: ascending; None for a single cleanse.
        typed: every flag as typed, but for ``--sparsities`` and ``--save_dir``.
    """

    data: Data
    model: Model
    run: Run
    train: Train
    prune: PoisonedPrune
    target: dict[str, str]
    trigger: Trigger
    scenario: Scenario
    unlearn: Cleanse
    hyper: Any
    sparsities: tuple[float, ...] | None
    typed: tuple[str, ...]
    unread: tuple[str, ...]
    inherited: tuple[str, ...] = ()


@dataclass(frozen=True)
class TransferArguments:
    """What ``main_transfer.py`` was told; ``hyper`` is the method's own configuration, ``order`` the classes as typed."""

    data: Data
    model: Model
    run: Run
    unlearn: Source
    hyper: Any
    transfer: Transfer
    order: tuple[str, ...] | None
    probe: LinearProbe | FullProbe
    unread: tuple[str, ...]
    inherited: tuple[str, ...] = ()


@dataclass(frozen=True)
class SaliencyArguments(ForgetArguments):
    """What ``main_saliency.py`` was told: like ``main_forget.py`` with method raw, and ``hyper`` says what to find."""


# What is evidently meant by a flag that is not read: the other script's name for the same thing.
COUNTERPARTS = {
    "epochs": ("unlearn_epochs", "probe_epochs"),
    "lr": ("unlearn_lr", "probe_lr"),
    "unlearn_epochs": ("epochs",),
    "unlearn_lr": ("lr",),
    "checkpoint": ("mask",),
    "mask": ("checkpoint",),
    "data_dir": ("data",),
}
# Flags of the field's existing command lines: True takes no value.
REFERENCE_FLAGS = {
    **dict.fromkeys(("imagenet_arch", "resume", "no_aug", "random_prune"), True),
    **dict.fromkeys(
        (
            "data",
            "dataset",
            "input_size",
            "data_dir",
            "num_workers",
            "num_classes",
            "arch",
            "train_y_file",
            "val_y_file",
            "seed",
            "train_seed",
            "gpu",
            "workers",
            "checkpoint",
            "save_dir",
            "mask",
            "batch_size",
            "lr",
            "momentum",
            "weight_decay",
            "epochs",
            "warmup",
            "print_freq",
            "decreasing_lr",
            "no_l1_epochs",
            "prune",
            "pruning_times",
            "rate",
            "prune_type",
            "rewind_epoch",
            "rewind_pth",
            "unlearn",
            "unlearn_lr",
            "unlearn_epochs",
            "num_indexes_to_replace",
            "class_to_replace",
            "indexes_to_replace",
            "alpha",
            "attack",
            "trigger_size",
        ),
        False,
    ),
}


def parse_imp(argv: list[str] | None, read_files: bool = True) -> ImpArguments:
    """Arguments of ``main_imp.py``.

    Args:
        read_files: let the checkpoint say what was not typed, if there is one.
    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    parser = Parser(
        prog="main_imp.py", description="Train a classifier, then prune it by magnitude and train it again (OMP, IMP)."
    )
    groups = {"data": Data, "model": Model, "run": Run, "training": TrainAlone, "pruning": Prune, "going on": Resume}
    typed, inherited = _inherit(_read(parser, groups, argv), ("checkpoint",), read_files, split="refuse")
    model, prune, resume = _model(typed), build(Prune, typed), _resume(typed)
    train = _train(TrainAlone, typed, model)
    if prune.pruning_times > 1 and prune.prune_type == "rewind_lt" and prune.rewind_epoch > train.epochs:
        raise UsageError(f"--rewind_epoch {prune.rewind_epoch}: must be at most --epochs {train.epochs}")
    data = _data(typed)
    return ImpArguments(
        data, model, _run(typed), train, prune, resume, _unread(typed, groups.values(), data), inherited
    )


def parse_synflow(argv: list[str] | None, read_files: bool = True) -> SynflowArguments:
    """Arguments of ``main_synflow.py``.

    Args:
        read_files: let the checkpoint say what was not typed, if there is one.
    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    parser = Parser(
        prog="main_synflow.py",
        description="Prune a new network before training (SynFlow and other scores), then train it.",
    )
    groups = {
        "data": Data,
        "model": Model,
        "run": Run,
        "training": TrainAlone,
        "pruning": PruneAtStart,
        "going on": Resume,
    }
    typed, inherited = _inherit(_read(parser, groups, argv), ("checkpoint",), read_files, split="refuse")
    model, data = _model(typed), _data(typed)
    return SynflowArguments(
        data,
        model,
        _run(typed),
        _train(TrainAlone, typed, model),
        build(PruneAtStart, typed),
        _resume(typed),
        _unread(typed, groups.values(), data),
        inherited,
    )


def parse_forget(argv: list[str] | None, read_files: bool = True) -> ForgetArguments:
    """Arguments of ``main_forget.py``; the method decides which hyper-parameters there are.

    Args:
        read_files: let the checkpoints say what was not typed.
    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    from unlearn import registry

    about = "Make a trained classifier forget images, then score it: UA, RA, TA, MIA-Efficacy, RTE."
    parser = Parser(prog="main_forget.py", description=about)
    groups = {
        "data": Data,
        "model": Model,
        "run": Run,
        "what is forgotten": Forget,
        "unlearning": Unlearn,
        "adapters": Lora,
    }
    typed = _read_with_methods(parser, groups, argv)
    unlearn = build(Unlearn, typed)
    method = registry.get(unlearn.unlearn)
    if unlearn.mask is None and not method.fresh:
        raise UsageError(f"--mask FILE is needed: the checkpoint that {method.name} starts from")
    words = _words(typed)
    typed, inherited = _inherit(typed, ("mask", "reference_model", "rewind_pth"), read_files)
    model, data = _model(typed), _data(typed)
    hyper = _hyper(typed, method, model, unlearn.preset)
    lora = _lora(typed, method, hyper)
    read = [config for config in groups.values() if config is not Lora or lora.lora]
    return ForgetArguments(
        data,
        model,
        _run(typed),
        forgotten(build(Forget, typed), typed),
        unlearn,
        hyper,
        _unread(typed, [*read, method.config], data, method),
        lora,
        words,
        inherited,
    )


def parse_backdoor(argv: list[str] | None, read_files: bool = True) -> BackdoorArguments:
    """Arguments of ``main_backdoor.py``; the method decides which hyper-parameters there are.

    Args:
        read_files: let the checkpoints say what was not typed.
    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    from unlearn import registry

    parser = Parser(
        prog="main_backdoor.py",
        description="Poison a training set, train or load a model, unlearn the poisoned images; accuracy (SA) and attack success (ASR) before and after.",
    )
    groups = {
        "data": Data,
        "model": Model,
        "run": Run,
        "poison": Poison,
        "training": Train,
        "pruning": PoisonedPrune,
        "unlearning": Cleanse,
        "several sparsities": Curve,
    }
    typed = _read_with_methods(parser, groups, argv)
    unlearn = build(Cleanse, typed)
    method = registry.get(unlearn.unlearn)
    if unlearn.reference_model is not None:
        raise UsageError("--reference_model: is for main_forget.py; outputs of poisoned models are not compared")
    words = _words(typed)
    typed, inherited = _inherit(typed, ("mask", "rewind_pth"), read_files, split="keep")
    model, poison, data = _model(typed), build(Poison, typed), _data(typed)
    train = _train(Train, typed, model)
    return BackdoorArguments(
        data,
        model,
        _run(typed),
        train,
        _poisoned_prune(typed, train),
        _target(poison, typed),
        Trigger(poison.trigger_size, poison.trigger_place, poison.trigger_value),
        _poisoned(poison),
        unlearn,
        _hyper(typed, method, model, unlearn.preset),
        _sparsities(typed),
        words,
        _unread(typed, [*groups.values(), method.config], data, method),
        inherited,
    )


def parse_transfer(argv: list[str] | None, read_files: bool = True) -> TransferArguments:
    """Arguments of ``main_transfer.py``; method and probe decide which hyper-parameters there are.

    Args:
        read_files: let the checkpoints say what was not typed.
    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    from unlearn import registry

    parser = Parser(
        prog="main_transfer.py",
        description="Remove source classes from a trained classifier, then carry it over to a target data set: accuracy and time of both.",
    )
    groups = {"data": Data, "model": Model, "run": Run, "unlearning": Source, "transfer": Transfer}
    probes = {"probing": LinearProbe, "training, while probing (full) and unlearning": FullProbe}
    typed = _read_with_methods(parser, groups | probes, argv)
    typed, inherited = _inherit(typed, ("mask", "rewind_pth"), read_files)
    source, transfer, model = build(Source, typed), build(Transfer, typed), _model(typed)
    method = registry.get(source.unlearn)
    if source.mask is None:
        raise UsageError("--mask FILE is needed: the checkpoint of the source model")
    if transfer.target is None and transfer.target_dataset is None:
        raise UsageError("--target DIR or --target_dataset NAME is needed: the data to transfer to")
    if len(set(transfer.removed)) < len(transfer.removed):
        raise UsageError(f"--removed {typed['removed']}: must be different numbers of classes with commas between")
    probe = build(LinearProbe, typed)
    if probe.probe == "full":
        probe = _in_time(build(FullProbe, (_suited(FullProbe) if is_transformer(model.arch) else {}) | typed), typed)
    data = _data(typed)
    return TransferArguments(
        data,
        model,
        _run(typed),
        source,
        _hyper(typed, method, model, source.preset),
        transfer,
        class_order(transfer.removal_order),
        probe,
        _unread(typed, [*groups.values(), method.config, type(probe)], data, method),
        inherited,
    )


def parse_saliency(argv: list[str] | None, read_files: bool = True) -> SaliencyArguments:
    """Arguments of ``main_saliency.py``.

    Args:
        read_files: let the checkpoint say what was not typed.
    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    parser = Parser(
        prog="main_saliency.py",
        description="Find the weights that matter for the images to forget, for main_forget.py --saliency_mask.",
    )
    groups = {
        "data": Data,
        "model": Model,
        "run": Run,
        "what is forgotten": Forget,
        "model to judge": Evaluation,
        "saliency": Saliency,
    }
    typed, inherited = _inherit(_read(parser, groups, argv), ("mask",), read_files)
    judged = build(Evaluation, typed)
    if judged.mask is None:
        raise UsageError("--mask FILE is needed: the checkpoint whose weights are judged")
    data = _data(typed)
    return SaliencyArguments(
        data,
        _model(typed),
        _run(typed),
        forgotten(build(Forget, typed), typed),
        Unlearn(unlearn="raw", mask=judged.mask, allow_split_mismatch=judged.allow_split_mismatch),
        build(Saliency, typed),
        _unread(typed, groups.values(), data),
        inherited=inherited,
    )


def deciding(
    arguments: ImpArguments | SynflowArguments | ForgetArguments | BackdoorArguments | TransferArguments,
) -> dict[str, Any]:
    """Everything that decides a run's numbers, as plain data; not where it reads, writes and runs."""
    config = asdict(arguments)
    for key in ("save_dir", "device", "gpu", "deterministic", "allow_pickle", "dry_run"):
        del config["run"][key]
    if not config["run"]["no_fast_cpu"]:  # as it was before there was the flag
        del config["run"]["no_fast_cpu"]
    for group, key in (
        ("data", "data"),
        ("data", "no_val"),
        ("data", "split"),
        ("data", "workers"),
        ("resume", "resume"),
        ("resume", "checkpoint"),
        ("unlearn", "mask"),
        ("unlearn", "resume"),
        ("unlearn", "preset"),
        ("unlearn", "reference_model"),
        ("unlearn", "verbose"),
    ):
        config.get(group, {}).pop(key, None)
    config["model"] = {
        key: value for key, value in config["model"].items() if value is not None
    }  # as it was before there were statistics
    for key in ("unread", "scenario", "typed", "inherited"):  # the scripts add the scenario with its numbers resolved
        config.pop(key, None)
    if not config.get("lora", {}).get("lora", True):
        del config["lora"]
    if not config.get("train", {}).get(
        "no_aug", True
    ):  # or models from before there was the flag would be trained again
        del config["train"]["no_aug"]
    return config


def settings(config: Any) -> str:
    """A configuration as it would be typed, for the header; a step size that never falls is said to be constant."""
    values = {
        name: describe(value) for name, value in asdict(config).items() if value is not None and value is not False
    }
    if "decreasing_lr" in values and values.get("schedule") != "step":
        del values["decreasing_lr"]
    elif late := beyond(config):
        if late == config.decreasing_lr:
            values["schedule"] = f"constant (decreasing_lr {values.pop('decreasing_lr')} lies beyond {_epochs(config)})"
        else:
            values["decreasing_lr"] += f" ({describe(late)} beyond {_epochs(config)})"
    return "  ".join(f"{name} {value}" for name, value in values.items())


def _epochs(config: Any) -> str:
    epochs = epochs_of(config)
    return "the single epoch" if epochs == 1 else f"the {describe(epochs)} epochs"


def steps(config: Any) -> str:
    """How long and at which step size a training or a method goes on, in words, and then all settings; for ``--dry_run``."""
    epochs = epochs_of(config)
    if epochs is None:
        return settings(config) or "no hyper-parameters"
    lr = next(getattr(config, name) for name in ("lr", "unlearn_lr", "probe_lr") if hasattr(config, name))
    told = config.decreasing_lr if getattr(config, "schedule", "") == "step" else ()
    falls = [str(epoch) for epoch in told if epoch not in beyond(config)]
    how = f", a tenth of it after epoch{'s' * (len(falls) > 1)} {' and '.join(falls)}" if falls else ""
    return f"{describe(epochs)} epoch{'s' * (epochs != 1)} at step size {describe(lr)}{how}: {settings(config)}"


def reading(arguments: Any) -> str:
    """What a run is about to read, for people who would otherwise wait in silence."""
    files = arguments.data.data is not None and not catalog.get(arguments.data.dataset).embedded
    where = f" from {arguments.data.data}" if files else ""
    file = arguments.unlearn.mask if hasattr(arguments, "unlearn") else None
    model = f"a new {arguments.model.arch}" if file is None else f"{arguments.model.arch} from {file}"
    return f"reading {arguments.data.dataset}{where}, for {model}"


def remarks(arguments: Any) -> list[str]:
    """What is said of a command line once more when the run is over: flags that nothing read, milestones never reached."""
    found = [f"not read: {', '.join(arguments.unread)}"] if arguments.unread else []
    trainings = [getattr(arguments, name) for name in ("train", "probe") if hasattr(arguments, name)]
    trainings += [arguments.hyper] if not trainings and hasattr(arguments, "hyper") else []
    for config in trainings:
        late = beyond(config)
        scaled = isinstance(config, (Train, FullProbe)) and arguments.run.compat == "fixed" and epochs_of(config) > 1
        if late and (late != MILESTONES or scaled):
            told = f"--decreasing_lr {describe(config.decreasing_lr)}"
            found.append(
                f"{told}: the step size does not fall after {describe(late)}, as there are {epochs_of(config)} epochs"
            )
    return found


def retrain_command(arguments: ForgetArguments, recipe: dict[str, Any] | None) -> str:
    """The command that retrains what a run is to be compared with: the same data, model and scenario, trained like the original.

    Args:
        recipe: how the original was trained, as its checkpoint says; None if it does not.
    """
    from unlearn import registry

    kept = {name for config in (Data, Model, Run, Forget) for name in config.__dataclass_fields__} - {
        "save_dir",
        "dry_run",
        "allow_pickle",
    } | {"mask"}
    words = [word for word in arguments.typed if word.removeprefix("--").partition("=")[0] in kept]
    defaults = asdict(registry.get("retrain").config())
    trained = (recipe or {}).get("train") or {}
    trained = {
        {"epochs": "unlearn_epochs", "lr": "unlearn_lr"}.get(name, name): value for name, value in trained.items()
    }
    hyper = {
        name: tuple(value) if isinstance(value, list) else value for name, value in trained.items() if name in defaults
    }
    words += _words(
        {name: describe(value) for name, value in hyper.items() if value != defaults[name] and value is not None}
    )
    folder = Path(arguments.run.save_dir).parent / "retrain"
    return shlex.join(["python", "main_forget.py", "--unlearn", "retrain", *words, "--save_dir", str(folder)])


def _read(
    parser: Parser, groups: dict[str, type], argv: list[str] | None, hyper: list[type] = (), title: str = ""
) -> dict[str, Any]:
    """What was typed.

    ``--help`` shows the common flags, ``--help all`` all flags.

    Args:
        hyper: configurations of methods; the flags of a single one are shown under ``title``, with its own words and defaults.
    """
    topic = parser.help_topic(argv)
    if topic and topic != "all" and not hyper:
        raise UsageError(f"--help {topic}: must be --help or --help all")
    short = topic is not None and topic != "all"
    parser.usage, parser.description = f"{parser.prog} [--flag value ...] [@FILE]", wrapped(parser.description)
    common = parser.add_argument_group("common flags") if short else None
    places = [(common or parser.add_argument_group(name), config) for name, config in groups.items()]
    if len(hyper) == 1:  # before the groups, whose flags of the same names have other words
        add_options(parser.add_argument_group(title), hyper[0], negatable=True, beside=_for_transformers(hyper[0]))
    for group, config in places:
        trains = issubclass(config, (Train, FullProbe))
        add_options(group, config, beside=_for_transformers(config) if trains else None, short=short)
    for config in hyper:
        add_options(
            common or parser, config, show_default=False, negatable=True, short=short, shown=None if short else ()
        )
    known = {flag for action in parser._actions for flag in action.option_strings}
    for name, is_switch in REFERENCE_FLAGS.items():
        if f"--{name}" not in known:
            kind = {"action": "store_true"} if is_switch else {}
            parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kind)
    return parser.read(argv)


def _read_with_methods(parser: Parser, groups: dict[str, type], argv: list[str] | None) -> dict[str, Any]:
    """What was typed, with the flags of every method; ``--unlearn NAME --help`` shows that method's, with its words."""
    from unlearn import help, registry

    topic = parser.help_topic(argv)
    asked = None if topic is None else topic if topic not in ("", "all") else parser.asks_about("unlearn", argv)
    if asked is not None:
        with renamed({"--unlearn": "--help"} if asked == topic else {}):
            method = registry.get(asked)
        parser.epilog = help.one_method(method)
        if method.unfit_for_adapters(method.config()):
            groups = {name: config for name, config in groups.items() if config is not Lora}
        return _read(parser, groups, argv, [method.config], f"hyper-parameters of {method.name}")
    parser.epilog = {"": help.short, "all": help.all_methods}.get(topic, str)()
    return _read(parser, groups, argv, [registry.Iterative, *(registry.get(name).config for name in registry.names())])


def _inherit(
    typed: dict[str, Any], flags: tuple[str, ...], read_files: bool, split: str = "tidy"
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What was typed with what the files of these flags add to it, and what that was, in words."""
    if typed.get("no_val") and "dataset" in typed:
        typed = {**typed, "dataset": with_validation(canonical(typed["dataset"])) + NO_VAL}
    found = origin.inherit(
        typed, flags, Run.seed, read_files and ("checkpoint" not in flags or "resume" in typed), split
    )
    return found.flags, tuple(found.words)


def _model(typed: dict[str, Any]) -> Model:
    """The model's flags; statistics of the input go together."""
    named = {"mean": IMAGENET[0], "std": IMAGENET[1]}
    if typed.get("mean") == "imagenet":
        typed.setdefault("std", "imagenet")
    for name, values in named.items():
        if typed.get(name) == "imagenet":
            typed[name] = values
    model = build(Model, typed)
    if model.mean is not None and model.arch.startswith("hf:"):
        raise UsageError(f"--mean: {model.arch} brings its own statistics; leave --mean and --std out")
    for name, value in (("mean", model.mean), ("std", model.std)):
        other = {"mean": "std", "std": "mean"}[name]
        if value is not None and len(value) != 3:
            raise UsageError(f"--{name} {describe(value)}: must be three numbers, one for each channel, or imagenet")
        if value is not None and getattr(model, other) is None:
            raise UsageError(f"--{name} needs --{other} beside it")
    return model


def _for_transformers(config: type) -> dict[str, str]:
    """What ``--help`` says beside the defaults of ``config``."""
    found = {name: f"{describe(value)} for transformers" for name, value in _suited(config).items()}
    return found | ({"warmup": "a twentieth of --epochs for transformers"} if issubclass(config, Train) else {})


def _train(kind: type[Train], typed: dict[str, Any], model: Model) -> Any:
    """Training flags, an instance of ``kind``; what was not typed suits the architecture."""
    suited = {"schedule": "cosine"} if model.imagenet_arch else {}
    if is_transformer(model.arch):
        suited = {**_suited(kind), "warmup": build(kind, typed).epochs // 20}
    return _in_time(build(kind, suited | typed), typed)


def _suited(config: type) -> dict[str, Any]:
    """What suits transformers where it differs from the defaults of ``config``; ``Train``'s warm-up follows from its epochs."""
    if issubclass(config, Train):
        return {**TRANSFORMER, "lr": 1e-3}
    defaults = {name: field.default for name, field in config.__dataclass_fields__.items()}
    sizes = {name: value for name, value in defaults.items() if name.endswith("_lr") and name != "decreasing_lr"}
    suited = {
        **TRANSFORMER,
        **{
            name: tuple(v / 100 for v in value) if isinstance(value, tuple) else value / 100
            for name, value in sizes.items()
        },
    }
    own = {"schedule"} if defaults.get("schedule") != "step" else set()  # a method keeps what it is about
    own |= set() if defaults.get("weight_decay") else {"weight_decay"}
    return {
        name: value
        for name, value in suited.items()
        if name in defaults and name not in own and value != defaults[name]
    }


def _hyper(typed: dict[str, Any], method: Any, model: Model, preset: str | None) -> Any:
    """The method's hyper-parameters: typed, of a preset, or what suits the architecture where that is not the default."""
    if preset is not None:
        suited = method.preset(preset)
    elif is_transformer(model.arch):
        suited = _suited(method.config)
    else:
        suited = {"schedule": "cosine"} if model.imagenet_arch and method.fresh else {}
    hyper = build(method.config, suited | typed)
    return _in_time(hyper, typed) if method.fresh else hyper


def _in_time(config: Any, typed: dict[str, Any]) -> Any:
    """A training whose step size falls within its epochs, unless it was told when or does as the reference does."""
    told = "decreasing_lr" in typed or typed.get("compat") == "reference" or config.decreasing_lr != MILESTONES
    if told or config.schedule != "step" or MILESTONES[-1] < epochs_of(config):
        return config
    return replace(config, decreasing_lr=milestones(epochs_of(config)))


def _lora(typed: dict[str, Any], method: Any, hyper: Any) -> Lora:
    lora = build(Lora, typed)
    unfit = method.unfit_for_adapters(hyper) if lora.lora else ""
    if unfit:
        raise UsageError(
            f"--lora: {method.name} {unfit}; adapters need a method that trains by gradient steps alone, such as FT, GA or FT_prune"
        )
    if lora.lora_targets == ():
        raise UsageError("--lora_targets: must name at least one layer")
    return lora


def _resume(typed: dict[str, Any]) -> Resume:
    resume = build(Resume, typed)
    if resume.resume != (resume.checkpoint is not None):
        raise UsageError(
            "--resume needs --checkpoint FILE" if resume.resume else "--checkpoint is read with --resume only"
        )
    return resume


def _data(typed: dict[str, Any]) -> Data:
    """The data flags; of the reference's names for them, those that mean something here are taken out of ``typed``."""
    if "dataset" in typed:
        typed["dataset"] = canonical(typed["dataset"])
    if with_validation(typed.get("dataset", "")) == "TinyImagenet" and "data_dir" in typed:
        typed["data"] = typed.pop("data_dir")
    if "num_workers" in typed and "workers" not in typed and build(Data, typed).streamed:
        typed["workers"] = typed.pop("num_workers")
    data = build(Data, typed)
    return replace(data, dataset=with_validation(data.dataset) + NO_VAL) if data.no_val else data


def _run(typed: dict[str, Any]) -> Run:
    run = build(Run, typed)
    if run.save_dir is None:
        raise UsageError("--save_dir DIR is needed: the folder for everything the run writes")
    family = run.device.partition(":")
    if family[0] not in ("auto", "cpu", "cuda", "mps") or (
        family[1] and not (family[0] == "cuda" and family[2].isdigit())
    ):
        raise UsageError(f"--device {run.device}: unknown; known: auto, cpu, cuda, cuda:N, mps")
    return run


def _unread(typed: dict[str, Any], configs: Any, data: Data, method: Any = None) -> tuple[str, ...]:
    """Flags that were typed and nothing reads.

    Raises:
        UsageError: one of them is a hyper-parameter that other methods are about; what training methods share, and the
            flags of the field's commands, may stand in a command line whatever the method. Or it stands where another
            flag is evidently meant.
    """
    from unlearn import registry

    unused = set() if data.streamed else {"workers"}
    unused |= {"data"} if catalog.get(data.dataset).embedded else set()
    read = {name for config in configs for name in config.__dataclass_fields__} - unused
    idle = [name for name in typed if name not in read]
    shared = {*REFERENCE_FLAGS, *registry.Iterative.__dataclass_fields__, *Lora.__dataclass_fields__}
    for name in (name for name in idle if method is not None and name not in shared):
        readers = [other for other in registry.names() if name in registry.get(other).config.__dataclass_fields__]
        if readers:
            raise UsageError(
                f"--{name}: --unlearn {method.name} does not read it; {', '.join(readers)} {'does' if len(readers) == 1 else 'do'}"
            )
    for name in idle if method is None else (name for name in idle if not name.startswith("unlearn_")):
        check_counterpart(name, typed, read, f"--unlearn {method.name}" if method is not None else "this script")
    return tuple(f"--{name}" for name in idle)


def check_counterpart(name: str, typed: dict[str, Any], read: Collection[str], reader: str) -> None:
    """Refuse a flag that is not read while the one that is evidently meant is read and was not typed.

    Args:
        name: a flag that was typed and is not read.
        read: the flags that are.
        reader: what reads them, for the error.
    Raises:
        UsageError: names the flag to type.
    """
    meant = [other for other in COUNTERPARTS.get(name, ()) if other in read]
    if meant and not typed.keys() & meant:
        value = typed[name]
        words = " or ".join(f"--{other} {value}" for other in meant)
        both = "that one, or both" if len(meant) == 1 else "one of them"
        resumed = " with --resume" if meant == ["checkpoint"] else ""
        raise UsageError(
            f"{where(value)}--{name} {value}: is not read by {reader}; did you mean {words}{resumed}? Give {both}"
        )


def _poisoned_prune(typed: dict[str, Any], train: Train) -> PoisonedPrune:
    prune = build(PoisonedPrune, typed)
    if prune.prune == "none" or prune.rate == 0:
        prune = replace(prune, prune="none", rate=0.0, random_prune=False)
    if prune.prune == "imp" and prune.pruning_times < 2:
        raise UsageError(f"--pruning_times {prune.pruning_times}: must be at least 2 with --prune imp")
    if prune.prune != "imp":
        prune = replace(prune, pruning_times=2 if prune.prune == "omp" else 1)
    if prune.pruning_times > 1 and prune.prune_type == "rewind_lt" and prune.rewind_epoch > train.epochs:
        raise UsageError(f"--rewind_epoch {prune.rewind_epoch}: must be at most --epochs {train.epochs}")
    return prune


def _target(poison: Poison, typed: dict[str, Any]) -> dict[str, str]:
    flags = [name for name in ("class_to_replace", "target_label") if name in typed] or ["class_to_replace"]
    return {f"--{name}": class_word(getattr(poison, name), f"--{name}") for name in flags}


def _poisoned(poison: Poison) -> Scenario:
    words = [
        f"--{name} {value}"
        for name in ("poison_class", "num_indexes_to_replace")
        if (value := getattr(poison, name)) is not None
    ]
    typed_as = " ".join(words) or "without --num_indexes_to_replace"
    if poison.poison_class is None:
        return Scenario(
            None, 0.1 if poison.num_indexes_to_replace is None else poison.num_indexes_to_replace, None, typed_as
        )
    return of_classes((class_word(poison.poison_class, "--poison_class"),), poison.num_indexes_to_replace, typed_as)


def _sparsities(typed: dict[str, Any]) -> tuple[float, ...] | None:
    found = build(Curve, typed).sparsities
    if found is None:
        return None
    if not found or len(set(found)) < len(found):
        raise UsageError(f"--sparsities {typed['sparsities']}: must be different numbers with commas between")
    if "mask" in typed:
        raise UsageError("--mask and --sparsities: one names a model, the other makes several; give one")
    if "rate" in typed:
        raise UsageError("--rate and --sparsities both say how much to prune; give one")
    if typed.get("prune", "omp") != "omp":
        raise UsageError(f"--prune {typed['prune']}: must be omp with --sparsities")
    return tuple(sorted(found))


def _words(typed: dict[str, Any]) -> tuple[str, ...]:
    flags = {name: value for name, value in typed.items() if name not in ("sparsities", "save_dir")}
    return tuple(f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items())
