"""Training curves from ``log.jsonl`` files: accuracy and loss after every epoch, over the seeds. matplotlib is imported only when one is drawn."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evaluation import results
from evaluation.overview import legend
from evaluation.plots import DASHES, colours, figure
from evaluation.results import Found, Table
from utils import files
from utils.errors import UsageError
from utils.names import file_name

Epochs = dict[str, dict[int, dict[str, float]]]  # by phase, by epoch from 1: what was logged of it
ROUNDS_SHOWN = 5


def read_epochs(path: Path) -> Epochs:
    """The epochs of a log; of one that was begun twice, the last time. Damaged lines are passed over."""
    found: Epochs = {}
    try:
        lines = files.read_bytes(path, str(path)).decode(errors="replace").splitlines()
    except UsageError:
        return found
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if (
            isinstance(record, dict)
            and record.get("kind") == "epoch"
            and isinstance(record.get("phase"), str)
            and isinstance(record.get("epoch"), int)
        ):
            found.setdefault(record["phase"], {})[record["epoch"]] = record
    return found


def trainings(folders: list[Path]) -> dict[str, tuple[str, list[Epochs]]]:
    """Finished trainings below the folders that differ in nothing but their seeds: by file name, a title and the epochs of each."""
    groups: dict[str, list[tuple[dict[str, Any], Epochs]]] = {}
    known: set[Any] = set()  # a copy of a run is no further seed
    for path in results.below(folders, "result.json"):
        content = results.read(path)
        trained = content.get("status") == "done" and "rounds" in content
        epochs = read_epochs(path.resolve().parent / "log.jsonl") if trained else {}
        if epochs and content.get("fingerprint", path) not in known:
            known.add(content.get("fingerprint"))
            results.check(content, results.TRAINING, path)
            groups.setdefault(_alike(content), []).append((content, epochs))
    named: dict[str, tuple[str, list[Epochs]]] = {}
    for key, members in groups.items():
        content = members[0][0]
        name = file_name(
            f"training-{content['config']['data']['dataset']}-{content['model']['arch']}-{content['label']}"
        )
        listed = [other for other in named if other == name or other.startswith(f"{name}-")]
        named[f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:6]}" if listed else name] = (
            _title(content, len(members)),
            [epochs for _, epochs in members],
        )
    return named


def _alike(content: dict[str, Any]) -> str:
    config = {key: value for key, value in content["config"].items() if key != "checkpoint"}
    run = {key: value for key, value in config["run"].items() if key not in ("seed", "train_seed")}
    return json.dumps([content["script"], config | {"run": run}], sort_keys=True)


def _title(content: dict[str, Any], seeds: int) -> str:
    prune = content["config"].get("prune", {})
    density = content["rounds"][-1]["density"]
    how = "dense" if density == 1 else f"down to {100 - 100 * density:.4g} % sparse"
    score = prune.get("score") or ("random" if prune.get("random_prune") else "magnitude")
    by = "" if density == 1 else f" by {score}"
    config = content["config"]
    return f"{config['data']['dataset']}, {content['model']['arch']}: training, {how}{by}, {seeds} seed{'s' * (seeds > 1)}, compat {config['run']['compat']}"


def draw_training(title: str, runs: list[Epochs]) -> Any:
    """Accuracy (training solid, validation dashed) and training loss per round; bands span the seeds."""
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
            band(axis, [epochs.get(phase, {}) for epochs in runs], key, scale, color=shade, linestyle=dash, label=name)
    axes[0, 0].set(xlabel="epoch", ylabel="accuracy (%)")
    axes[0, 1].set(xlabel="epoch", ylabel="training loss (nats)")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    legend(drawn, axes[0, 0])
    drawn.suptitle(title, fontsize=10)
    return drawn


def band(axis: Any, runs: Iterable[dict[int, dict[str, float]]], key: str, scale: float, **look: Any) -> None:
    """The mean of a logged value over the runs at each epoch, and the range that they span."""
    values: dict[int, list[float]] = {}
    for epochs in runs:
        for epoch, record in epochs.items():
            if isinstance(record.get(key), (int, float)):
                values.setdefault(epoch, []).append(scale * record[key])
    places = sorted(values)
    if places:
        axis.plot(
            places,
            [statistics.fmean(values[place]) for place in places],
            linewidth=1.6,
            marker="o" if len(places) == 1 else None,
            **look,
        )
        axis.fill_between(
            places,
            [min(values[place]) for place in places],
            [max(values[place]) for place in places],
            color=look["color"],
            alpha=0.15,
            linewidth=0,
        )


def draw_unlearning(table: Table, found: list[Found]) -> Any | None:
    """Training accuracy of every method that learns by epochs, a panel each, a line per model; None if no log is there.

    Where the method ended, the accuracy on the forget and on the test set. All panels have one scale.
    """
    panels: dict[str, dict[str, list[tuple[Found, dict[int, dict[str, float]]]]]] = {}
    for one in found:
        row, models = table.places.get(one.content["fingerprint"], ("", []))
        phases = read_epochs(one.folder / "log.jsonl").get("unlearn", {}) if models else {}
        for model in models if phases else []:
            panels.setdefault(row, {}).setdefault(model, []).append((one, phases))
    if not panels:
        return None
    rows = [row for row in table.rows if row in panels]
    columns = min(len(rows), 5)
    lines = math.ceil(len(rows) / columns)
    drawn, axes = figure(max(2.5 * columns, 6.0), 1.2 + 2.1 * lines, lines, columns, sharey=True)
    looks = dict(zip([model.name for model in table.models], zip(colours(len(table.models)), DASHES * 4)))
    for axis, row in zip(axes.flat, rows):
        for model, runs in sorted(panels[row].items(), key=lambda item: list(looks).index(item[0])):
            shade, dash = looks[model]
            band(axis, [epochs for _, epochs in runs], "accuracy", 100, color=shade, linestyle=dash, label=model)
            _ends(axis, runs, shade)
        axis.set_title(row, fontsize=8)
        axis.set(ylabel="accuracy (%)" if axis in axes[:, 0] else "", ylim=(-3, 103))
        most = max(epoch for runs in panels[row].values() for _, epochs in runs for epoch in epochs)
        axis.set_xticks([tick for tick in range(1, most + 1) if most <= 6 or tick % math.ceil(most / 6) == 0])
        axis.set_xlim(0.7, most + 0.3)
        axis.grid(alpha=0.3)
    for axis in list(axes.flat)[len(rows) :]:
        axis.set_visible(False)
    for name, marker in ENDS.items():
        axes.flat[0].plot([], [], marker, color="0.3", markersize=7, label=f"{name} set, at the end")
    legend(drawn, max(axes.flat, key=lambda axis: len(axis.get_legend_handles_labels()[1])))
    drawn.suptitle(f"{table.title}\naccuracy after each epoch on the images that the method trains on", fontsize=9)
    return drawn


ENDS = {"forget": "x", "test": "+"}  # markers of the sets


def _ends(axis: Any, runs: list[tuple[Found, dict[int, dict[str, float]]]], shade: Any) -> None:
    """The accuracies of the finished models, in the mean over the runs, above the last epoch."""
    last = max(epoch for _, epochs in runs for epoch in epochs)
    for name, marker in ENDS.items():
        told = [one.content["accuracy"].get(name) for one, _ in runs if isinstance(one.content.get("accuracy"), dict)]
        values = [100 * value for value in told if isinstance(value, (int, float))]
        if values:
            look = {"color": shade, "markersize": 7, "markeredgewidth": 1.6, "zorder": 4, "clip_on": False}
            axis.plot(last, statistics.fmean(values), marker, **look)
