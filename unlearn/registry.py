"""The list of unlearning methods, and what each declares about itself.

A method is one file in ``unlearn/methods``, found automatically, or a module of another package (``docs/adding.md``).
Importing this module must stay fast, because ``--help`` needs it, so method files import torch inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from trainer.training_flags import Optimisation
from unlearn import presets
from utils.errors import UsageError
from utils.names import lookup
from utils.options import option
from utils.plugins import Registry

ALPHA = "weight or strength, another one in each method"  # what the short help says of --alpha


@dataclass(frozen=True)
class NoOptions:
    """Configuration of a method that reads no flags."""


@dataclass(frozen=True)
class Iterative(Optimisation):
    """Flags of every method that trains by steps. A method's own configuration derives from it."""

    unlearn_epochs: int = option(
        10, "passes over the data that the method trains on", common=True, low=0, search=(1, 37, "linear")
    )
    unlearn_lr: float = option(0.01, "step size", common="step size of unlearning", above=0, search=(1e-5, 1e-1, "log"))
    no_aug: bool = option(False, "train without random crop and flip", common=True)
    max_norm: float = option(
        0.0, "longest gradient, over all weights, that is not scaled down to this; 0 is off", low=0
    )
    eval_mode: bool = option(False, "batch norm uses its running statistics and leaves them alone")
    rewind_pth: str | None = option(None, "start from these dense weights, under the model's mask", metavar="FILE")
    rewind_epoch: int = option(0, "with --rewind_pth: epochs by which the step-size schedule is ahead", low=0)


@dataclass(frozen=True)
class Salient(Iterative):
    """Flags of every method that can be confined to salient weights (``unlearn/saliency.py``)."""

    saliency_mask: str | None = option(
        None,
        "change only the weights that this file names, see main_saliency.py",
        metavar="FILE",
        aliases=("mask_path",),
    )
    saliency_threshold: float | None = option(
        None,
        "without a file: change only this fraction of the weights, those with the largest gradients on the forget set",
        above=0,
        high=1,
    )
    saliency_outside: str | None = option(
        None,
        "the other weights are held, or drift by momentum and weight decay (held; drift with --compat reference)",
        choices=("held", "drift"),
    )


@dataclass(frozen=True)
class Counted(Salient):
    """Flags of methods that only take gradient steps along losses, and so fit every task."""

    iterations: int | None = option(None, "steps in all, in place of --unlearn_epochs", low=0, identity="changed")
    ema_decay: float = option(
        0.0,
        "share that a moving average of the weights keeps at every step; the average is the result; 0 is off",
        low=0,
        below=1,
        identity="changed",
    )


@dataclass(frozen=True)
class Method:
    """What the project knows about an unlearning method.

    Attributes:
        name: what is typed after ``--unlearn``, and the beginning of file names.
        run: ``run(model, sets, config, context)`` changes the model in place and returns nothing.
        reads: the image sets that it may see: "retain", "forget", "val".
        summary: one phrase for the header and ``--help``.
        source: the paper, with its section if one describes the method.
        config: frozen dataclass of the flags that it reads.
        paper: its name in the papers' tables; ``name`` unless given.
        fresh: whether it starts from new random weights instead of the trained ones.
        aliases: other names that ``--unlearn`` takes.
        presets: for each preset the values of flags that differ from the defaults, as in another paper.
        tasks: names of the tasks that it can unlearn; None for all, if it only needs losses.
        whole_classes: whether it can only forget whole classes.
        trains_on_val: whether it trains on validation images, which then must not be the test images that attacks
            use as non-members.
        pixels: whether it changes pixels, so that images must be in [0, 1] and the model must normalise them.
        reshapes: what it does to single weights besides gradient steps, in words; empty if nothing.
    """

    name: str
    run: Callable[..., None]
    reads: Collection[str]
    summary: str
    source: str
    config: type = NoOptions
    paper: str = ""
    fresh: bool = False
    aliases: tuple[str, ...] = ()
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: Collection[str] | None = None
    whole_classes: bool = False
    trains_on_val: bool = False
    pixels: bool = False
    reshapes: str = ""

    def check_task(self, name: str) -> None:
        """Refuse a task that the method cannot unlearn.

        Raises:
            UsageError: names the method, the task and those that it has.
        """
        if self.tasks is not None and name not in self.tasks:
            raise UsageError(f"--unlearn {self.name}: is for {', '.join(sorted(self.tasks))} alone, not for {name}")

    def check_classes(self, whole: bool | None) -> None:
        """Refuse to forget anything but whole classes if the method cannot.

        Args:
            whole: whether whole classes are forgotten; None if that is not known yet, which is accepted.
        Raises:
            UsageError: names the method and the flag.
        """
        if self.whole_classes and whole is False:
            raise UsageError(f"--unlearn {self.name}: forgets whole classes alone; give --forget class:C or subclass:C")

    @property
    def outputs(self) -> list[str]:
        """Names of a run's files: model, scores, progress (only while it runs), frozen model and adapters.

        The last two take the place of the model if adapters are stored separately.
        """
        kinds = ("checkpoint", "eval_result", "progress", "base")
        return [*(f"{self.name}{kind}.pth.tar" for kind in kinds), f"{self.name}adapter"]

    def unfit_for_adapters(self, config: Any) -> str:
        """Why the method cannot train adapters instead of the weights, in words; empty if it can.

        Args:
            config: an instance of ``self.config``.
        """
        if self.fresh:
            return "trains new weights"
        if self.reshapes:
            return self.reshapes
        if isinstance(config, Salient) and (config.saliency_mask is not None or config.saliency_threshold is not None):
            return "is told to change salient weights only"
        return "" if issubclass(self.config, Iterative) else "does not train by gradient steps"

    def preset(self, name: str | None) -> dict[str, Any]:
        """The values of the preset ``name``, by flag; empty for None.

        Raises:
            UsageError: the method has no such preset.
        """
        if name is not None and name not in self.presets:
            known = ", ".join(self.presets) or "none"
            raise UsageError(f"--preset {name}: {self.name} has no such preset; it has: {known}")
        return {} if name is None else self.presets[name]


_methods: Registry[Method] = Registry("--unlearn", "unlearning method", "unlearn.methods", "unlearn_sparse.methods")


def method(name: str, *, paper: str | None = None, **declared: Any) -> Callable[[Callable], Callable]:
    """Decorator that registers a function as the unlearning method ``name``; ``declared`` are attributes of ``Method``.

    Raises:
        ValueError: the name or an alias is taken.
    """

    def register(run: Callable) -> Callable:
        declaration = {"presets": presets.of(name)} | declared | vars(run).pop("about", {})
        registered = Method(name, run, paper=paper or name, **declaration)
        _methods.add(name, registered, registered.aliases, run.__module__)
        return run

    return register


def about(summary: str, **source: str) -> Callable[[Callable], Callable]:
    """Decorator, to be placed below ``method``, that sets ``summary`` and ``source`` of the method."""

    def describe(run: Callable) -> Callable:
        vars(run)["about"] = {"summary": summary, **source}
        return run

    return describe


def names(task: str = "classification") -> list[str]:
    """Names of all methods that can unlearn a task, sorted, without aliases."""
    return [name for name in sorted(_methods, key=str.lower) if task in (_methods.get(name).tasks or {task})]


def table_names() -> list[str]:
    """Names of all methods for classification, as typed and as in papers' tables."""
    return [name for method in map(get, names()) for name in dict.fromkeys((method.name, method.paper))]


def get(name: str, task: str | None = None) -> Method:
    """The method of that name or alias.

    Args:
        task: a task that the method must be able to unlearn; None for any.
    Raises:
        UsageError: names the nearest method and all of the task's, or the tasks that it can unlearn.
    """
    if name not in _methods:
        lookup(name, names(task or "classification"), "--unlearn")
    method = _methods.get(name)
    if task is not None:
        method.check_task(task)
    return method
