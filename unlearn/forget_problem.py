"""Data, sets and model of an unlearning run, checked to be those that the model was trained on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pruner
from dataset import split_file
from dataset.scenario import Scenario
from dataset.sources import Dataset
from dataset.split import BaseSplit, Split, everything, split_for_unlearning
from trainer import origin
from trainer.checkpoints import Checkpoint
from trainer.problem import Problem, load, stamp, views
from unlearn import registry
from unlearn.context import Context, Fine, Progress
from unlearn.unlearn_setup import ForgetSetup, UnlearnSetup
from utils.errors import UsageError
from utils.log import Log


@dataclass(frozen=True, kw_only=True)
class ForgetProblem(Problem):
    """Data, split, image sets "retain", "forget", "val" and "test", and the model before unlearning with its mask.

    Attributes:
        split: the retain, forget, validation and test images.
        mask: boolean tensors by parameter name, True where a weight is kept; empty for a dense model.
    """

    split: Split
    mask: pruner.Mask

    def write_split(self, folder: Path) -> None:
        """Write ``split.npz``, the indices of the sets, to ``folder``."""
        split_file.write(folder, vars(self.split), self.split.digest)


def read(setup: ForgetSetup) -> ForgetProblem:
    """Read and divide the images, compare the split with those of the checkpoints, and build the model.

    Raises:
        UsageError: images cannot be read or divided, or a checkpoint belongs to another split.
    """
    data, base = load(setup)
    split = divide(setup, data, base, setup.scenario)
    check_split(setup.checkpoint, base, setup.allow_mismatch)
    check_reference(setup, base, split)
    sets = views(setup, data).divided(split)
    model = setup.network.model(data, setup.weights).to(setup.device)
    marks = {**stamp(setup, base), "unlearn": setup.method.name, "forget_digest": split.digest}
    if not setup.method.fresh:  # the unlearned model's training is that of the model to unlearn
        marks["origin"] = {**marks["origin"], "train_seed": setup.seeds["train"]}
    return ForgetProblem(data=data, base=base, sets=sets, model=model, stamp=marks, split=split, mask=setup.mask)


def divide(setup: UnlearnSetup, data: Dataset, base: BaseSplit, scenario: Scenario) -> Split:
    """The split into retain, forget, validation and test images; see ``split.split_for_unlearning``."""
    labels = data.train_labels, data.test_labels
    return split_for_unlearning(*labels, base, scenario, setup.run.seed, data.subclasses)


def context(
    setup: UnlearnSetup,
    data: Dataset,
    mask: pruner.Mask,
    scenario: Scenario,
    split: Split | None,
    log: Log,
    progress: Progress | None = None,
) -> Context:
    """The ``Context`` of a method.

    Args:
        mask: boolean tensors by parameter name, False where a weight is held at zero.
        split: its classes and subclasses that are forgotten whole are used; None if there are none.
        progress: the file from which a killed run goes on; None for none.
    """
    run, adapters = setup.run, getattr(setup, "adapters", None)
    whole = () if split is None else split.whole_classes
    known = (setup.device, setup.unlearn_seed, run.compat, data.name, len(data.classes), scenario, whole, log)
    fine = None if split is None or data.subclasses is None else Fine.of_split(data.subclasses, split.whole_subclasses)
    begun, every = progress or Progress(), run.checkpoint_every
    return Context(mask, *known, begun, setup.update_mask, adapters=adapters, checkpoint_every=every, subclasses=fine)


def check_split(checkpoint: Checkpoint | None, base: BaseSplit, allowed: bool) -> None:
    """Refuse a model that was trained on other images than this run's training set.

    Args:
        checkpoint: the model to unlearn; None for a new one.
        allowed: accept such a model.
    Raises:
        UsageError: names both splits and how to choose the model's.
    """
    if checkpoint is None:
        return
    trained_on = checkpoint.extra.get("split_digest")
    if trained_on is None:
        print(f"warning: {checkpoint.path} does not say on which split it was trained", file=sys.stderr)
    elif trained_on != base.digest and not allowed:
        seed = checkpoint.extra.get("split_seed")
        raise UsageError(
            f"--mask {checkpoint.path}: was trained on split {trained_on}{_seed(seed)}, this run divides the data into "
            f"{base.digest}{_seed(base.seed)}; {_way(checkpoint, base)}, or --allow_split_mismatch"
        )


def _seed(seed: int | None) -> str:
    return "" if seed is None else f" (seed {seed})"


def _way(checkpoint: Checkpoint, base: BaseSplit) -> str:
    """The flag that would choose the split of the model's training, in words, for the error."""
    seed, known = checkpoint.extra.get("split_seed"), origin.facts(checkpoint.extra)
    if seed is None:
        beside = checkpoint.path.parent / split_file.NAME
        return f"give --split {beside}" if beside.exists() else "give the file that it was trained with, --split FILE"
    if base.seed is None:
        return "leave --split out"
    if base.val is None:
        return (
            "it may have had a tenth of the images set apart: leave out --no_val (or _no_val in --dataset), "
            "or give the data that it was trained on"
        )
    if checkpoint.extra["split_digest"] == everything(len(base.train) + len(base.val)).digest:
        return "it was trained on all training images: give --no_val"
    if seed != base.seed or "dataset" not in known:
        return f"give --split_seed {seed}"
    return f"give the images of {known['dataset']} that it was trained on"


def check_reference(setup: ForgetSetup, base: BaseSplit, split: Split) -> None:
    """Refuse a reference model that was not retrained without the images that this run forgets.

    Raises:
        UsageError: says what the model is and which to give.
    """
    reference, start = setup.reference, setup.checkpoint
    if reference is None:
        return
    source, expected = (
        f"--reference_model {reference.path}",
        "give the checkpoint of --unlearn retrain with this forget set",
    )
    maker, digest = reference.extra.get("unlearn"), reference.extra.get("forget_digest")
    if maker in registry.names() and not registry.get(maker).fresh:
        raise UsageError(f"{source}: was made by --unlearn {maker}, not trained anew; {expected}")
    original = start is not None and start.weights and start.sha256 == reference.sha256
    if original or (digest is None and reference.extra.get("split_digest") == base.digest):
        raise UsageError(f"{source}: was trained on the images to forget too; {expected}")
    if digest not in (None, split.digest) and not setup.allow_mismatch:
        raise UsageError(
            f"{source}: was retrained on retain and forget sets of digest {digest}, this run's are of "
            f"{split.digest}; give one of the same scenario and seeds, or --allow_split_mismatch"
        )
