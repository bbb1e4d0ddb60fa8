"""Flags of ``main_backdoor.py``: which images are poisoned, how the model is pruned and cleansed. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from dataset.data_flags import class_word, of_classes
from dataset.scenario import Scenario
from dataset.trigger import MARGIN, PLACES, Trigger
from trainer.training_flags import Arguments, Prune, Train, check_rewind
from unlearn.unlearn_flags import Unlearn
from utils.errors import UsageError
from utils.options import NO_IDENTITY, build, changed, option


@dataclass(frozen=True)
class Poison:
    """Flags that say what an attacker did to the training set."""

    class_to_replace: str = option("0", "target: the class that triggered images are to be taken for", metavar="C")
    target_label: str | None = option(None, "what triggered images are to be taken for", common=True, metavar="C")
    num_indexes_to_replace: int | None = option(
        None,
        "how many images are poisoned; without it a tenth, or all of --poison_class",
        common="how many images are poisoned",
        low=1,
    )
    poison_class: str | None = option(None, "poison images of this class, not of all", common=True, metavar="C")
    trigger_size: int = option(4, "side of the square trigger, in pixels", low=1)
    trigger_place: str = option("bottom-right", f"where the trigger is, {MARGIN} pixels from the edges", choices=PLACES)
    trigger_value: int = option(0, "brightness of the trigger; 0 is black, 255 white", low=0, high=255)


@dataclass(frozen=True)
class PoisonedPrune(Prune):
    """Flags of pruning a model that is trained on a poisoned set."""

    prune: str = option(
        "omp",
        "how the model trained here is pruned: after training (omp), step by step (imp), before it (synflow), or not",
        common="how the model is pruned",
        choices=("omp", "imp", "synflow", "none"),
    )
    rate: float = changed(
        Prune,
        "rate",
        0.95,
        help="fraction of the weights to prune (imp: of those left, each time); 0 trains a dense model",
    )
    pruning_times: int = changed(
        Prune, "pruning_times", 2, help="with --prune imp: training rounds; each later one is pruned", common=False
    )


@dataclass(frozen=True)
class Cleanse(Unlearn):
    """Flags of unlearning a backdoor."""

    unlearn: str = changed(Unlearn, "unlearn", "FT")
    reference_model: str | None = changed(Unlearn, "reference_model", None, common=None)
    mask: str | None = changed(
        Unlearn, "mask", None, help="checkpoint of the poisoned model; trained if missing", aliases=()
    )
    allow_split_mismatch: bool = changed(
        Unlearn, "allow_split_mismatch", False, help="go on although the model had another split or another poison"
    )


@dataclass(frozen=True)
class Curve:
    """Flags that repeat a cleanse."""

    sparsities: tuple[float, ...] | None = option(
        None, "a curve: prune (omp), train and unlearn at each", common=True, low=0, below=1, metavar="S,S"
    )


@dataclass(frozen=True, kw_only=True)
class BackdoorArguments(Arguments):
    """The parsed command line of ``main_backdoor.py``.

    Attributes:
        train: flags of training.
        prune: flags of pruning. ``pruning_times`` is the number of training rounds; without pruning it is 1, and
            ``rate`` is 0.
        target: the class that triggered images are to be taken for, as typed, by the flag that names it (one or two).
        trigger: the square that is put on poisoned images.
        scenario: which images are poisoned.
        unlearn: flags of unlearning.
        hyper: the method's configuration.
        sparsities: pruned fractions of a curve in [0, 1), ascending; None for a single cleanse.
        typed: every flag as typed, without ``--sparsities`` and ``--save_dir``.
    """

    train: Train
    prune: PoisonedPrune
    target: dict[str, str]
    trigger: Trigger
    scenario: Scenario = field(metadata=NO_IDENTITY)
    unlearn: Cleanse
    hyper: Any
    sparsities: tuple[float, ...] | None
    typed: tuple[str, ...] = field(metadata=NO_IDENTITY)

    def at(self, sparsity: float) -> BackdoorArguments:
        """The arguments of one point of a curve, as of a command of its own that writes to a subfolder.

        Args:
            sparsity: pruned fraction of the weights, in [0, 1).
        """
        folder = f"{self.run.save_dir}/sparsity_{sparsity:g}"
        return replace(
            self,
            sparsities=None,
            prune=poisoned_prune(replace(self.prune, rate=sparsity), self.train),
            run=replace(self.run, save_dir=folder),
        )


def poisoned_prune(prune: PoisonedPrune, train: Train) -> PoisonedPrune:
    """The flags of pruning, with ``pruning_times`` set to the number of training rounds that they need.

    Raises:
        UsageError: ``--pruning_times`` is too small for IMP, or training is too short for ``--rewind_epoch``.
    """
    if prune.prune == "none" or prune.rate == 0:
        prune = replace(prune, prune="none", rate=0.0, random_prune=False)
    if prune.prune == "imp" and prune.pruning_times < 2:
        raise UsageError(f"--pruning_times {prune.pruning_times}: must be at least 2 with --prune imp")
    if prune.prune != "imp":
        prune = replace(prune, pruning_times=2 if prune.prune == "omp" else 1)
    check_rewind(prune, train)
    return prune


def target_words(poison: Poison, typed: dict[str, Any]) -> dict[str, str]:
    """The target class as typed, by the flag that names it; both flags if both are typed.

    Args:
        typed: typed values by the flag's name.
    """
    flags = [name for name in ("class_to_replace", "target_label") if name in typed] or ["class_to_replace"]
    return {f"--{name}": class_word(getattr(poison, name), f"--{name}") for name in flags}


def poisoned(poison: Poison) -> Scenario:
    """The images that the flags poison, as a ``Scenario``."""
    words = [
        f"--{name} {value}"
        for name in ("poison_class", "num_indexes_to_replace")
        if (value := getattr(poison, name)) is not None
    ]
    typed_as = " ".join(words) or "without --num_indexes_to_replace"
    if poison.poison_class is None:
        count = 0.1 if poison.num_indexes_to_replace is None else poison.num_indexes_to_replace
        return Scenario(None, count, None, typed_as)
    return of_classes((class_word(poison.poison_class, "--poison_class"),), poison.num_indexes_to_replace, typed_as)


def sparsities(typed: dict[str, Any]) -> tuple[float, ...] | None:
    """The sparsities of a curve, in [0, 1) and ascending; None for a single cleanse.

    Args:
        typed: typed values by the flag's name.
    Raises:
        UsageError: a sparsity is given twice, or another flag that decides the sparsity is given too.
    """
    values = build(Curve, typed).sparsities
    if values is None:
        return None
    if not values or len(set(values)) < len(values):
        raise UsageError(f"--sparsities {typed['sparsities']}: must be different numbers with commas between")
    if "mask" in typed:
        raise UsageError("--mask and --sparsities: one names a model, the other makes several; give one")
    if "rate" in typed:
        raise UsageError("--rate and --sparsities both say how much to prune; give one")
    if typed.get("prune", "omp") != "omp":
        raise UsageError(f"--prune {typed['prune']}: must be omp with --sparsities")
    return tuple(sorted(values))
