"""The flags of everything that trains. Imports no torch, because ``--help`` needs it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from dataset import catalog
from dataset.data_flags import Data
from utils.errors import UsageError
from utils.options import NO_IDENTITY, build, describe, file_option, option
from utils.run_flags import Keep, Run
from utils.words import source_of

# Defaults for training transformers (Dosovitskiy et al. 2021; Liu et al. 2021).
TRANSFORMER = {"optimizer": "adamw", "schedule": "cosine", "weight_decay": 0.05}
MILESTONES = (91, 136)  # the reference's, of 182 epochs
MEAN = "mean of the input's channels, on [0, 1], or imagenet; without it the data set's"


@dataclass(frozen=True)
class Stepping:
    """Flags of a single optimiser step, shared by everything that trains."""

    batch_size: int = option(256, "images per step", common=True, low=1, search=[64, 128, 256])
    optimizer: str = option("sgd", "how to step", choices=("sgd", "adam", "adamw"))
    momentum: float = option(0.9, "SGD momentum", low=0, below=1)
    weight_decay: float = option(5e-4, "weight decay", low=0, search=(1e-5, 1e-1, "log"))
    amp: bool = option(False, "forward passes in bfloat16")


@dataclass(frozen=True)
class Optimisation(Stepping):
    """Flags that training and all iterative unlearning methods share; epochs and step size have flags of their own."""

    schedule: str = option(
        "step",
        "step size over the epochs: a tenth of it after --decreasing_lr (step), or after 50, 80, 90 % (drops)",
        choices=("step", "cosine", "constant", "triangle", "drops"),
    )
    decreasing_lr: tuple[int, ...] = option(
        MILESTONES,
        "epochs after which schedule step falls to a tenth; training new weights for fewer epochs scales them",
        common="epochs after which the step size falls",
        low=0,
        metavar="N,N",
    )
    warmup: int = option(0, "first epochs over which the step size grows linearly", low=0)
    sam_rho: float = option(0.0, "radius of adaptive sharpness-aware minimisation (2 in the field's code)", low=0)


@dataclass(frozen=True)
class Model:
    arch: str = option(
        "resnet18",
        "resnet18, resnet50, resnet{20,32,44,56,110}s, resnet{20,32,44,56} (with convolutions in the shortcuts), "
        "vgg16_bn, vgg16_bn_lth, swin_t, vit_tiny, vit_b_16, vit_b_32, vit_l_16, tinyvit_11m, timm:NAME for any of "
        "timm's, or "
        "hf:FOLDER for a ViTForImageClassification with its weights, in a folder or the local Hugging Face cache",
        common="resnet18, vgg16_bn, swin_t, timm:NAME, ...",
        metavar="NAME",
    )
    imagenet_arch: bool = option(False, "the form for ImageNet (resnet18, resnet50, vgg16_bn, swin_t)")
    mean: tuple[float, ...] | None = option(None, MEAN, low=0, high=1, metavar="M,M,M|imagenet", identity="changed")
    std: tuple[float, ...] | None = option(
        None, "their standard deviation, likewise", above=0, high=1, metavar="S,S,S|imagenet", identity="changed"
    )


@dataclass(frozen=True)
class Train(Optimisation):
    epochs: int = option(182, "training epochs per round", common=True, low=0)
    lr: float = option(0.1, "step size", common="step size of training", above=0)
    label_smoothing: float = option(0.0, "share of every label's weight, spread over all classes", low=0, below=1)


@dataclass(frozen=True)
class TrainAlone(Train):
    """Flags of training in a script that does not unlearn; in the others ``--no_aug`` is a flag of the method."""

    no_aug: bool = option(False, "train without random crop and flip", identity="changed")


@dataclass(frozen=True)
class Prune:
    pruning_times: int = option(1, "training rounds; each later one is pruned once more (2: OMP)", common=True, low=1)
    rate: float = option(
        0.95,
        "fraction of the remaining weights (of convolutions, or a transformer's linear layers) to prune each time",
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
        0, "epoch whose weights and step size rewind_lt goes back to", common="epoch that rewind_lt goes back to", low=0
    )
    random_prune: bool = option(False, "prune at random instead of by magnitude")

    @property
    def back_to(self) -> int | None:
        """The epoch to whose weights pruning rewinds, 0 for the initial weights; None for the best dense weights."""
        if self.prune_type == "pt":
            return None
        return self.rewind_epoch if self.prune_type == "rewind_lt" else 0


@dataclass(frozen=True)
class PruneAtStart:
    score: str = option(
        "synflow", "what a weight is worth", common=True, choices=("synflow", "snip", "grasp", "magnitude", "random")
    )
    rate: float = option(
        0.95, "fraction of the weights to prune before training; 0 trains a dense model", common=True, low=0, below=1
    )
    steps: int | None = option(None, "exponential steps to that rate; 100 for synflow, else 1 without it", low=1)


@dataclass(frozen=True)
class Resume:
    resume: bool = option(False, "go on from --checkpoint (a killed run goes on by itself)", identity=False)
    checkpoint: str | None = file_option("what to go on from, ours or the reference's")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments that every script has.

    Attributes:
        training: name of the field whose step-size schedule is checked, for the remark that it never falls.
        unread: flags that were typed but that nothing reads.
        inherited: values that were taken from checkpoints, a phrase each.
    """

    training: ClassVar[str] = "train"
    data: Data
    model: Model
    run: Run
    keep: Keep = field(default=Keep(), metadata=NO_IDENTITY)
    unread: tuple[str, ...] = field(default=(), metadata=NO_IDENTITY)
    inherited: tuple[str, ...] = field(default=(), metadata=NO_IDENTITY)

    @property
    def start(self) -> str | None:
        """The file of the model that the run starts from; None for a new model."""
        return getattr(getattr(self, "unlearn", None), "mask", None)

    def reading(self) -> str:
        """A line that says what the run is about to read, since reading can take long."""
        files = self.data.data is not None and not catalog.get(self.data.dataset).embedded
        place = f" from {self.data.data}" if files else ""
        model = f"a new {self.model.arch}" if self.start is None else f"{self.model.arch} from {self.start}"
        return f"reading {self.data.dataset}{place}, for {model}"

    def remarks(self) -> list[str]:
        """Lines to print when the run is over: flags that nothing reads, and milestones that are never reached."""
        remarks = [f"not read: {', '.join(self.unread)}"] if self.unread else []
        config = getattr(self, self.training)
        late, epochs = beyond(config), epochs_of(config) or 0
        scaled = not hasattr(config, "unlearn_epochs") and self.run.compat == "fixed" and epochs > 1
        if late and (late != MILESTONES or scaled):
            falls = f"does not fall after {describe(late)}, as there are {epochs} epochs"
            remarks.append(f"--decreasing_lr {describe(config.decreasing_lr)}: the step size {falls}")
        return remarks


@dataclass(frozen=True, kw_only=True)
class TrainingArguments(Arguments):
    """Arguments of ``main_imp.py``, whose ``prune`` is a ``Prune``, and of ``main_synflow.py``."""

    train: TrainAlone
    prune: Prune | PruneAtStart
    resume: Resume


def is_transformer(arch: str) -> bool:
    """Whether an architecture's name is that of a transformer, which has the defaults ``TRANSFORMER``."""
    return any(word in arch.lower() for word in ("vit", "swin", "deit", "beit", "hf:"))


def epochs_of(config: Any) -> float | None:
    """The number of epochs in the flags of a training or a method; None if they have none."""
    names = ("epochs", "unlearn_epochs", "probe_epochs")
    return next((getattr(config, name) for name in names if hasattr(config, name)), None)


def milestones(epochs: int) -> tuple[int, ...]:
    """``MILESTONES`` scaled from 182 to ``epochs`` epochs: different epochs below ``epochs``, at 1/2 and 3/4.

    For two epochs there is only one. For fewer there is none, and ``MILESTONES`` are returned, which are not reached.
    """
    first = epochs // 2
    second = max(first + 1, (2 * MILESTONES[1] * epochs + 182) // 364)
    return tuple(epoch for epoch in (first, second) if 0 < epoch < epochs) or MILESTONES


def beyond(config: Any) -> tuple[int, ...]:
    """The milestones of schedule "step" that a training or a method never reaches."""
    epochs = epochs_of(config)
    if not epochs or getattr(config, "schedule", None) != "step":
        return ()
    ahead = getattr(config, "rewind_epoch", 0) if getattr(config, "rewind_pth", None) else 0
    return tuple(epoch for epoch in config.decreasing_lr if epoch - ahead >= epochs)


def suited(config: type) -> dict[str, Any]:
    """Defaults for transformers, by flag, that differ from the defaults of ``config``; without ``Train``'s warm-up."""
    if issubclass(config, Train):
        return {**TRANSFORMER, "lr": 1e-3}
    defaults = vars(config())
    sizes = {name: value for name, value in defaults.items() if name.endswith("_lr") and name != "decreasing_lr"}
    smaller = {
        name: tuple(v / 100 for v in value) if isinstance(value, tuple) else value / 100
        for name, value in sizes.items()
    }
    own = {"schedule"} if defaults.get("schedule") != "step" else set()  # a method keeps a schedule of its own
    own |= set() if defaults.get("weight_decay") else {"weight_decay"}
    return {
        name: value
        for name, value in {**TRANSFORMER, **smaller}.items()
        if name in defaults and name not in own and value != defaults[name]
    }


def in_time(config: Any, typed: dict[str, Any]) -> Any:
    """``config`` with milestones scaled to its epochs, unless these were typed or ``--compat reference`` is set."""
    chosen = "decreasing_lr" in typed or typed.get("compat") == "reference" or config.decreasing_lr != MILESTONES
    epochs = int(epochs_of(config) or 0)
    if chosen or config.schedule != "step" or MILESTONES[-1] < epochs:
        return config
    return replace(config, decreasing_lr=milestones(epochs))


def training(kind: type[Train], typed: dict[str, Any], model: Model) -> Any:
    """Training flags, an instance of ``kind``, with defaults that suit the architecture."""
    fitting: dict[str, Any] = {"schedule": "cosine"} if model.imagenet_arch else {}
    if is_transformer(model.arch):
        fitting = {**suited(kind), "warmup": build(kind, typed).epochs // 20}
    return in_time(build(kind, fitting | typed), typed)


def check_rewind(prune: Prune, train: Train) -> None:
    """Refuse to rewind to an epoch that training does not reach. Raises UsageError: names both flags."""
    if prune.pruning_times > 1 and prune.prune_type == "rewind_lt" and prune.rewind_epoch > train.epochs:
        raise UsageError(f"--rewind_epoch {prune.rewind_epoch}: must be at most --epochs {train.epochs}")


# Flags that are evidently meant by a flag that is not read: other scripts' names for the same thing.
COUNTERPARTS: dict[str, tuple[str, ...]] = {"epochs": ("unlearn_epochs", "probe_epochs")}
COUNTERPARTS |= {"unlearn_epochs": ("epochs",), "unlearn_lr": ("lr",), "data_dir": ("data",)}
COUNTERPARTS |= {"lr": ("unlearn_lr", "probe_lr"), "checkpoint": ("mask",), "mask": ("checkpoint",)}


def check_counterpart(name: str, typed: dict[str, Any], read: Collection[str], reader: str) -> None:
    """Refuse an unread flag if another flag is evidently meant, which is read but was not typed.

    Args:
        name: a flag that was typed and is not read.
        typed: values by name of the flags that were typed.
        read: the flags that are read.
        reader: what reads them, in words, for the error.
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
            f"{source_of(value)}--{name} {value}: is not read by {reader}; did you mean {words}{resumed}? Give {both}"
        )
