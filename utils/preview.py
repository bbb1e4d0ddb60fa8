"""What ``--dry_run`` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import run_folder
from utils.log import Log

if TYPE_CHECKING:
    from dataset.prepare import DatasetInfo
    from dataset.scenario import Scenario


def show(form: str, title: str, facts: dict[str, str], config: dict[str, Any]) -> None:
    """Print what a run would do.

    Args:
        form: "words" prints ``title`` and ``facts``, "json" ``config``, everything that decides the run's numbers.
    """
    if form == "json":
        print(json.dumps(config, indent=1, default=str))
    else:
        Log(None).facts(f"{title} (nothing is done: --dry_run)", facts)


def data(chosen: DatasetInfo) -> str:
    """A data set that is not read yet: where it is and how much there is."""
    where = "" if chosen.source.embedded else f" in {chosen.root}"
    missing = ", downloaded if it is not there" if where and chosen.files is None else ""
    apart = f", {chosen.val_total:,} more for validation" if chosen.val_total else ""
    images = f"{chosen.train_total:,} training images{apart}"
    return f"{chosen.source.name}{where}{missing}: {chosen.classes} classes, {images}"


def images(chosen: DatasetInfo, scenario: Scenario) -> str:
    """Which images of a data set that is not read yet are forgotten or poisoned."""
    total = chosen.train_total
    named = None if scenario.labels is None else sum(chosen.train_counts[label] for label in scenario.labels)
    listed = None if scenario.indices is None else len(set(scenario.indices))
    return scenario.words(listed or scenario.count or named or total, total, named, list(chosen.names))


def run(arguments: Any, device: Any) -> str:
    """Seeds, what the numbers follow, and the device."""
    told = arguments.run
    return f"seed {told.seed}  train_seed {told.train_seed}  compat {told.compat}  device {device}"


def folder(arguments: Any, label: str, config: dict[str, Any], outputs: list[str]) -> str:
    """Where the run writes, and what of it is there."""
    path = Path(arguments.run.save_dir)
    return f"{path} ({run_folder.state(path, label, config, outputs)})"


def not_read(arguments: Any) -> dict[str, str]:
    """The flags that were typed and nothing reads, if there are any."""
    return {"not read": ", ".join(arguments.unread)} if arguments.unread else {}
