"""Lines of ``--dry_run`` and of a run's header that several scripts share."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dataset.prepare import DatasetInfo
from dataset.scenario import Scenario
from trainer.checkpoints import Checkpoint
from trainer.setup import Setup
from trainer.training_flags import beyond, epochs_of
from utils import foreign, run_folder
from utils.options import describe
from utils.run_flags import Run


def settings(config: Any) -> str:
    """Names and values of a configuration in one line; a step size that never falls is called constant."""
    typed = {name: value for name, value in asdict(config).items() if value is not None and value is not False}
    values = {name: describe(value) for name, value in typed.items()}
    epochs = epochs_of(config)
    number = "the single epoch" if epochs == 1 else f"the {describe(epochs)} epochs"
    if "decreasing_lr" in values and values.get("schedule") != "step":
        del values["decreasing_lr"]
    elif late := beyond(config):
        if late == config.decreasing_lr:
            values["schedule"] = f"constant (decreasing_lr {values.pop('decreasing_lr')} lies beyond {number})"
        else:
            values["decreasing_lr"] += f" ({describe(late)} beyond {number})"
    return "  ".join(f"{name} {value}" for name, value in values.items())


def steps(config: Any) -> str:
    """Epochs and step size of a training or a method in words, followed by all settings."""
    epochs = epochs_of(config)
    if epochs is None:
        return settings(config) or "no hyper-parameters"
    lr = next(getattr(config, name) for name in ("lr", "unlearn_lr", "probe_lr") if hasattr(config, name))
    milestones = config.decreasing_lr if getattr(config, "schedule", "") == "step" else ()
    falls = [str(epoch) for epoch in milestones if epoch not in beyond(config)]
    falling = f", a tenth of it after epoch{'s' * (len(falls) > 1)} {' and '.join(falls)}" if falls else ""
    return f"{describe(epochs)} epoch{'s' * (epochs != 1)} at step size {describe(lr)}{falling}: {settings(config)}"


def data(dataset: DatasetInfo) -> str:
    """Folder, classes and numbers of images of a data set that is not read yet, in one line."""
    place = "" if dataset.source.embedded else f" in {dataset.root}"
    missing = ", downloaded if it is not there" if place and dataset.files is None else ""
    validation = f", {dataset.val_total:,} more for validation" if dataset.val_total else ""
    images = f"{dataset.train_total:,} training images{validation}"
    return f"{dataset.source.name}{place}{missing}: {dataset.classes} classes, {images}"


def images(dataset: DatasetInfo, scenario: Scenario) -> str:
    """The images to forget or to poison in a data set that is not read yet, in words."""
    total = dataset.train_total
    names, counts = dataset.names_for(scenario), dataset.counts_for(scenario)
    if scenario.labels is not None and not dataset.counted:
        return scenario.words(None if scenario.count is None else int(scenario.count), total, None, names)
    named = None if scenario.labels is None else sum(counts[label] for label in scenario.labels)
    listed = None if scenario.indices is None else len(set(scenario.indices))
    return scenario.words(int(listed or scenario.count or named or total), total, named, names)


def drawn(dataset: DatasetInfo, scenario: Scenario, count: int, train: int) -> str:
    """The images that were drawn for a scenario, ``count`` of ``train`` training images, in words."""
    labels = scenario.labels
    size = None if labels is None or not dataset.counted else sum(dataset.train_counts[label] for label in labels)
    return scenario.words(count, train, size, list(dataset.names))


def closing(setup: Setup) -> dict[str, str]:
    """The last lines of ``--dry_run``: seeds and device, the folder and its state, and flags that nothing reads."""
    run = setup.run
    state = run_folder.state(setup.folder, setup.label, setup.config, setup.outputs)
    seeds = f"seed {run.seed}  train_seed {run.train_seed}{init_seed(run)}"
    lines = {"run": f"{seeds}  compat {run.compat}  device {setup.device}", "write": f"{setup.folder} ({state})"}
    return lines | ({"not read": ", ".join(setup.unread)} if setup.unread else {})


def init_seed(run: Run) -> str:
    """``--init_seed`` in words; "" if it was not typed."""
    return "" if run.init_seed is None else f"  init_seed {run.init_seed}"


def sizes(sets: dict[str, int]) -> str:
    """Names of the sets with their numbers of images, in one line."""
    return "  ".join(f"{name} {number:,}" for name, number in sets.items())


def provenance(setup: Setup, *checkpoints: Checkpoint | None) -> dict[str, str]:
    """Lines for the header: which flags the files gave, and how their weights were renamed and are normalised.

    Args:
        checkpoints: the checkpoints that the run begins with.
    """
    flags = setup.network.flags
    lines = {"inherited": "; ".join(setup.inherited)} if setup.inherited else {}
    notes = [phrase for each in checkpoints if each is not None for phrase in each.notes]
    if any(each is not None and each.weights and foreign.NORMALIZE[0] not in each.weights for each in checkpoints):
        own = "those of its folder" if flags.arch.startswith("hf:") else f"statistics of {setup.data.dataset}"
        notes.append("no normalize.*: " + (own if flags.mean is None else "--mean and --std"))
    return lines | ({"weights": ", ".join(dict.fromkeys(notes))} if notes else {})
