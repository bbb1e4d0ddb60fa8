"""Figures of accuracy and loss after every epoch, over the seeds, from ``log.jsonl`` files.

matplotlib is imported only when a figure is drawn.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from typing import Any

import pandas as pd

from report.comparison import Table
from report.plots import DASHES, colours, figure, fullest, legend
from report.runs import TRAINING, Collection, Epochs, Run, check
from utils.names import file_name
from utils.run_flags import SEEDS

ROUNDS_SHOWN = 5
ENDS = {"forget": "x", "test": "+"}  # sets whose accuracy at the end is drawn, and their markers


def trainings(collection: Collection) -> dict[str, tuple[str, list[Epochs]]]:
    """Groups of finished trainings that differ in their seeds only.

    Returns:
        By file name without suffix: a title, and the logged epochs of each training in the group.
    Raises:
        UsageError: a result lacks what a figure needs.
    """
    groups: dict[str, list[Run]] = {}
    seen: set[Any] = set()  # so that a copy of a run does not count as a further seed
    for run in collection.runs:
        mark = run.content.get("fingerprint", run.path)
        if run.done and "rounds" in run.content and run.epochs and mark not in seen:
            seen.add(mark)
            check(run.content, TRAINING, run.path)
            groups.setdefault(_alike(run.content), []).append(run)
    named: dict[str, tuple[str, list[Epochs]]] = {}
    for key, members in groups.items():
        content = members[0].content
        data, arch = content["config"]["data"]["dataset"], content["model"]["arch"]
        name = file_name(f"training-{data}-{arch}-{content['label']}")
        if any(other == name or other.startswith(f"{name}-") for other in named):
            name += f"-{hashlib.sha256(key.encode()).hexdigest()[:6]}"
        named[name] = _title(content, len(members)), [run.epochs for run in members]
    return named


def _alike(content: dict[str, Any]) -> str:
    config = {key: value for key, value in content["config"].items() if key != "checkpoint"}
    run = {key: value for key, value in config["run"].items() if key not in SEEDS}
    return json.dumps([content["script"], config | {"run": run}], sort_keys=True)


def _title(content: dict[str, Any], seeds: int) -> str:
    config, density = content["config"], content["rounds"][-1]["density"]
    prune = config.get("prune", {})
    score = prune.get("score") or ("random" if prune.get("random_prune") else "magnitude")
    pruned = "dense" if density == 1 else f"down to {100 - 100 * density:.4g} % sparse by {score}"
    what = f"{config['data']['dataset']}, {content['model']['arch']}: training, {pruned}"
    return f"{what}, {seeds} seed{'s' * (seeds > 1)}, compat {config['run']['compat']}"


def draw_training(title: str, runs: list[Epochs]) -> Any:
    """A figure of accuracy (training solid, validation dashed) and training loss in nats, a colour per round.

    Lines are means over the runs, bands their ranges. Of more than ``ROUNDS_SHOWN`` rounds, that many are drawn.
    """
    drawn, axes = figure(10, 3.8, 1, 2)
    phases = list(dict.fromkeys(phase for epochs in runs for phase in epochs))
    if len(phases) > ROUNDS_SHOWN:
        phases = [phases[round(step * (len(phases) - 1) / (ROUNDS_SHOWN - 1))] for step in range(ROUNDS_SHOWN)]
    for phase, shade in zip(phases, colours(len(phases))):
        for axis, key, dash, scale, name in (
            (axes[0, 0], "accuracy", "-", 100, f"{phase}, training"),
            (axes[0, 0], "val", "--", 100, f"{phase}, validation"),
            (axes[0, 1], "loss", "-", 1, phase),
        ):
            look = {"color": shade, "linestyle": dash, "label": name}
            band(axis, [epochs.get(phase, {}) for epochs in runs], key, scale, **look)
    axes[0, 0].set(xlabel="epoch", ylabel="accuracy (%)")
    axes[0, 1].set(xlabel="epoch", ylabel="training loss (nats)")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    legend(drawn, axes[0, 0])
    drawn.suptitle(title, fontsize=10)
    return drawn


def band(axis: Any, runs: list[dict[int, dict[str, float]]], key: str, scale: float, **look: Any) -> None:
    """Draw the mean of a logged value over the runs at each epoch, and their range as a band.

    Args:
        axis: matplotlib axes.
        runs: of each run, what was logged by epoch.
        key: of the logged value, "accuracy" for example.
        scale: the value is multiplied by it.
        look: arguments of ``axis.plot``, ``color`` among them.
    """
    records = [item for epochs in runs for item in epochs.items() if isinstance(item[1].get(key), (int, float))]
    lines = [(epoch, scale * record[key]) for epoch, record in records]
    values = pd.DataFrame(lines, columns=["epoch", "value"])
    if values.empty:
        return
    over = values.groupby("epoch")["value"].agg(["mean", "min", "max"])
    axis.plot(over.index, over["mean"], linewidth=1.6, marker="o" if len(over) == 1 else None, **look)
    axis.fill_between(over.index, over["min"], over["max"], color=look["color"], alpha=0.15, linewidth=0)


def draw_unlearning(table: Table) -> Any | None:
    """A figure of accuracy on the method's training images by epoch: a panel per method, a line per model.

    Markers at the last epoch are the unlearned model's accuracies on the forget and the test set. All panels share
    one scale. None if no run has logged epochs.
    """
    panels: dict[str, dict[str, list[Run]]] = {}
    for row, models in table.members().items():
        for model, runs in models.items():
            if logged := [run for run in runs if run.epochs.get("unlearn")]:
                panels.setdefault(row, {})[model] = logged
    if not panels:
        return None
    rows = [row for row in table.rows if row in panels]
    columns = min(len(rows), 5)
    lines = math.ceil(len(rows) / columns)
    drawn, axes = figure(max(2.5 * columns, 6.0), 1.2 + 2.1 * lines, lines, columns, sharey=True)
    looks = dict(zip([model.name for model in table.models], zip(colours(len(table.models)), DASHES * 4)))
    for axis, row in zip(axes.flat, rows):
        for model in (name for name in looks if name in panels[row]):
            shade, dash = looks[model]
            epochs = [run.epochs["unlearn"] for run in panels[row][model]]
            band(axis, epochs, "accuracy", 100, color=shade, linestyle=dash, label=model)
            _ends(axis, panels[row][model], shade)
        axis.set_title(row, fontsize=8)
        axis.set(ylabel="accuracy (%)" if axis in axes[:, 0] else "", ylim=(-3, 103))
        most = max(map(_last, (run for runs in panels[row].values() for run in runs)))
        axis.set_xticks([tick for tick in range(1, most + 1) if most <= 6 or tick % math.ceil(most / 6) == 0])
        axis.set_xlim(0.7, most + 0.3)
        axis.grid(alpha=0.3)
    for axis in list(axes.flat)[len(rows) :]:
        axis.set_visible(False)
    for name, marker in ENDS.items():
        axes.flat[0].plot([], [], marker, color="0.3", markersize=7, label=f"{name} set, at the end")
    legend(drawn, fullest(axes))
    drawn.suptitle(f"{table.title}\naccuracy after each epoch on the images that the method trains on", fontsize=9)
    return drawn


def _last(run: Run) -> int:
    return max(run.epochs["unlearn"])


def _ends(axis: Any, runs: list[Run], shade: Any) -> None:
    """Draw the unlearned models' accuracies on the sets of ``ENDS``, as means over the runs, at the last epoch."""
    by_run = [run.content["accuracy"] for run in runs if isinstance(run.content.get("accuracy"), dict)]
    for name, marker in ENDS.items():
        values = [100 * accuracies[name] for accuracies in by_run if isinstance(accuracies.get(name), (int, float))]
        if values:
            look = {"color": shade, "markersize": 7, "markeredgewidth": 1.6, "zorder": 4, "clip_on": False}
            axis.plot(max(map(_last, runs)), statistics.fmean(values), marker, **look)
