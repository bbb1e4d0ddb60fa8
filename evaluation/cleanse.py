"""Results of ``main_backdoor.py`` as a table: attack success and accuracy against sparsity, before and after unlearning.

Imports neither torch nor numpy; matplotlib only when a picture is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from evaluation import published
from evaluation.results import Cell, seed_of
from evaluation.rows import by_method
from evaluation.tables import minutes, percent
from utils.names import file_name

COLUMNS = tuple((score, when) for score in ("ASR", "SA") for when in ("before", "after"))


@dataclass
class Cleanse:
    """One poison on one data set and architecture.

    Attributes:
        lines: by method (and pruner, where it is not OMP), by sparsity, by (score, when); several seeds share a cell.
        share: of the target class, about the attack success of a clean model.
    """

    title: str
    slug: str
    key: dict[str, Any]
    share: float
    lines: dict[str, dict[float, dict[tuple[str, str], Cell]]] = field(default_factory=dict)


def tables(results: Iterable[dict[str, Any]]) -> list[Cleanse]:
    """One table per data set, architecture, poison, training, split and ``--compat``."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if "before" in result.get("scores", {}):
            groups.setdefault(json.dumps(_shared(result), sort_keys=True), []).append(result)
    return [_table(json.loads(key), group) for key, group in sorted(groups.items())]


def _shared(result: dict[str, Any]) -> dict[str, Any]:
    config, poison = (
        result["config"],
        {key: value for key, value in result["poison"].items() if key not in ("digest", "words")},
    )
    run = config.get("run", {})
    return {
        "dataset": result["model"]["dataset"],
        "arch": result["model"]["arch"],
        "compat": result["compat"],
        "poison": poison,
        "train": config.get("train"),
        "data": config.get("data"),
        "images": config.get("official_counts"),
        "split": run.get("split_seed"),
    }


def _table(key: dict[str, Any], results: list[dict[str, Any]]) -> Cleanse:
    compat = "" if key["compat"] == "fixed" else f" (compat {key['compat']})"
    title = f"{key['dataset']}, {key['arch']}: {results[0]['poison']['words']}{compat}"
    slug = file_name(
        f"backdoor-{key['dataset']}-{key['arch']}-to-{key['poison'].get('target')}"
        + (f"-{key['compat']}" if compat else "")
    )
    table = Cleanse(title, slug, key, 1 / len(key["images"] or [None] * 10))
    for name, members in by_method(results).items():
        for result in sorted(members, key=seed_of):
            pruner = result["config"].get("prune", {}).get("prune", "omp")
            line = table.lines.setdefault(name if pruner in ("omp", "none") else f"{name} ({pruner})", {})
            cells = line.setdefault(result["model"]["sparsity"], {})
            for score, when in (*COLUMNS, ("RTE", "")):
                value = result["scores"][when][score] if when else result["scores"]["RTE"]
                if value is not None:
                    cells[score, when] = Cell((*getattr(cells.get((score, when)), "values", ()), value))
    table.lines = {name: dict(sorted(line.items())) for name, line in table.lines.items()}
    return table


def known(table: Cleanse, name: str, sparsity: float) -> list[float | None]:
    """The published values beside a line's sparsity, by ``COLUMNS``, in [0, 1]; empty in another setting."""
    paper = published.load()["backdoor"]
    if (table.key["dataset"], table.key["arch"]) != (paper["dataset"], paper["arch"]):
        return []
    values = next((values for text, values in paper.get(name, {}).items() if abs(float(text) - sparsity) < 0.005), [])
    return [None if value is None else value / 100 for value in values]


def layout(table: Cleanse) -> tuple[list[str], list[list[str]]]:
    """Head and rows for people, in per cent; below a row what was published of it."""
    head = ["unlearning", "pruned %", *(f"{score} {when} %" for score, when in COLUMNS), "RTE (min)", "n"]
    rows = []
    for name, line in table.lines.items():
        for sparsity, cells in line.items():
            time = cells.get(("RTE", ""))
            shown = [_percent(cells.get(column)) for column in COLUMNS]
            rows.append(
                [
                    name,
                    f"{100 * sparsity:.4g}",
                    *shown,
                    minutes(time and time.mean),
                    str(len(cells["SA", "after"].values)),
                ]
            )
            values = known(table, name, sparsity)
            if values:
                rows.append(
                    [
                        f"{name}, published",
                        f"{100 * sparsity:.4g}",
                        *("" if value is None else f"≈{percent(value)}" for value in values),
                        "",
                        "",
                    ]
                )
    return head, rows


def notes(table: Cleanse) -> list[str]:
    """What a reader must know of the table."""
    said = [
        "ASR: share of triggered test images that are taken for the target; SA: accuracy on clean test images. Mean ± standard deviation over n seeds."
    ]
    if any(known(table, name, sparsity) for name, line in table.lines.items() for sparsity in line):
        paper = published.load()["backdoor"]
        said.append(f"Published: {published.load()['papers'][paper['paper']]}; {paper['source']} ({paper['words']}).")
    return said


def _percent(cell: Cell | None) -> str:
    return "-" if cell is None else percent(cell.mean) + (f"±{100 * cell.std:.2f}" if len(cell.values) > 1 else "")


def long_rows(table: Cleanse) -> list[list[str]]:
    """The table as plain rows for a CSV file: fractions and minutes, unrounded."""
    lines = [["unlearning", "sparsity", "score", "when", "mean", "std", "seeds"]]
    for name, line in table.lines.items():
        for sparsity, cells in line.items():
            for (score, when), cell in cells.items():
                lines.append(
                    [name, repr(sparsity), score, when, repr(cell.mean), repr(cell.std), str(len(cell.values))]
                )
    return lines


def draw(table: Cleanse) -> Any:
    """Attack success and accuracy against sparsity, hollow before and filled after unlearning.

    Bars are one standard deviation.
    """
    from evaluation.overview import legend
    from evaluation.plots import BEFORE_AFTER, MARKERS, colours, figure

    drawn, axes = figure(10, 4.2, 1, 2)
    sparsities = sorted({sparsity for line in table.lines.values() for sparsity in line})
    for axis, score, words in zip(
        axes[0], ("ASR", "SA"), ("attack success (ASR, %)", "accuracy on clean images (SA, %)")
    ):
        for place, ((name, line), shade) in enumerate(zip(table.lines.items(), colours(len(table.lines)))):
            aside = 0.06 * (place - (len(table.lines) - 1) / 2)  # methods share what was before them
            for when, look in BEFORE_AFTER.items():
                points = [
                    (sparsities.index(sparsity) + aside, cells[score, when])
                    for sparsity, cells in line.items()
                    if (score, when) in cells
                ]
                look = look | {"marker": MARKERS[place % len(MARKERS)], "color": shade, "capsize": 2}
                values, spread = [100 * cell.mean for _, cell in points], [100 * cell.std for _, cell in points]
                axis.errorbar([where for where, _ in points], values, spread, label=f"{when} {name}", **look)
        axis.set_xticks(range(len(sparsities)), [f"{100 * sparsity:.4g}" for sparsity in sparsities])
        axis.set(xlabel="pruned weights (%)", ylabel=words, ylim=(-3, 105))
        axis.grid(alpha=0.3)
    axes[0, 0].axhline(100 * table.share, color="grey", linestyle=":", label="share of the target class")
    legend(drawn, axes[0, 0])
    drawn.suptitle(table.title, fontsize=9, wrap=True)
    return drawn
