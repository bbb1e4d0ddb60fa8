"""Results of ``main_backdoor.py``: attack success and accuracy against sparsity, before and after unlearning.

matplotlib is imported only when a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from report import paper_values
from report.comparison import seed_of
from report.page import Section
from report.row_names import by_method
from report.series import SeriesTable, grouped, series
from report.text import aligned, minutes, percent
from report.writer import write
from utils import files

COLUMNS = tuple((score, when) for score in ("ASR", "SA") for when in ("before", "after"))
STORED = (*COLUMNS[:2], ("ASR_other", "before"), ("ASR_other", "after"), *COLUMNS[2:], ("RTE", ""))
BEFORE_AFTER = {  # differ in line and marker, so that they are distinct in grey print and where there is one point
    "before": {"linestyle": "--", "marker": "s", "markerfacecolor": "white", "markersize": 9},
    "after": {"linestyle": "-", "marker": "o", "markersize": 5},
}


def tables(results: Iterable[dict[str, Any]]) -> list[SeriesTable]:
    """One table per data set, architecture, poison, training, split and ``--compat``.

    Args:
        results: contents of ``result.json`` files of ``main_backdoor.py``; those without scores are passed over.
    Returns:
        Tables whose lines are methods (with the pruner, where it is not OMP), whose number is the sparsity in [0, 1],
        and whose columns are pairs of a score and "before" or "after", as in ``STORED``.
    """
    scored = (result for result in results if "before" in result.get("scores", {}))
    return [_table(key, group) for key, group in grouped(scored, _shared)]


def section(table: SeriesTable) -> Section:
    """The table as a section of a report."""
    head = ["unlearning", "sparsity", "score", "when", "mean", "std", "seeds"]
    return Section(table.title, *layout(table), notes(table), slug=table.slug, long=table.long(head, tuple))


def results_of(curve: dict[str, Any], paper_name: str) -> list[dict[str, Any]]:
    """One result per sparsity, from a ``result.json`` that holds a curve over several.

    Args:
        curve: its content.
        paper_name: the method's name in papers.
    """
    config = curve["config"]
    model = {"arch": config["model"]["arch"], "dataset": config["data"]["dataset"]}
    run = {"paper_name": paper_name, "compat": config["run"]["compat"], "seed": config["run"]["seed"]}
    return [
        {**curve, **run, "model": {**model, "sparsity": point["sparsity"]}, "scores": point}
        for point in curve["points"]
    ]


def _shared(result: dict[str, Any]) -> dict[str, Any]:
    config, poison = result["config"], result["poison"]
    return {
        "dataset": result["model"]["dataset"],
        "arch": result["model"]["arch"],
        "compat": result["compat"],
        "poison": {key: value for key, value in poison.items() if key not in ("digest", "words")},
        "train": config.get("train"),
        "data": config.get("data"),
        "images": config.get("official_counts"),
        "split": config.get("run", {}).get("split_seed"),
    }


def _table(key: dict[str, Any], results: list[dict[str, Any]]) -> SeriesTable:
    values = []
    for name, members in by_method(results).items():
        for result in sorted(members, key=seed_of):
            pruner, scores = result["config"].get("prune", {}).get("prune", "omp"), result["scores"]
            place = name if pruner in ("omp", "none") else f"{name} ({pruner})", result["model"]["sparsity"]
            for score, when in STORED:
                values.append((*place, (score, when), scores[when].get(score) if when else scores[score]))
    title = f"{key['dataset']}, {key['arch']}: {results[0]['poison']['words']}"
    slug = f"backdoor-{key['dataset']}-{key['arch']}-to-{key['poison'].get('target')}"
    return series(title, slug, key, values)


def printed(results: list[dict[str, Any]]) -> str:
    """The tables of these results as aligned text."""
    return "\n\n".join(aligned(*layout(table)) for table in tables(results))


def save(results: list[dict[str, Any]], stem: Path) -> None:
    """Write the table of results as ``stem`` with .md, .csv and .png appended.

    Args:
        results: of one data set, architecture, poison, training, split and ``--compat``, so that they are one table.
        stem: path without suffix.
    """
    [table] = tables(results)
    write(section(table), stem)
    files.write_figure(stem.with_name(f"{stem.name}.png"), draw(table))


def published_values(table: SeriesTable, name: str, sparsity: float) -> list[float | None]:
    """The published values for a line and a sparsity, in the order of ``COLUMNS``, in [0, 1].

    Args:
        table: whose data set and architecture must be those of the published numbers.
        name: the line.
        sparsity: in [0, 1]; published values within 0.005 of it are taken.
    Returns:
        None for each single value that is missing; an empty list if nothing was published of this line.
    """
    paper = paper_values.load()["backdoor"]
    if (table.key["dataset"], table.key["arch"]) != (paper["dataset"], paper["arch"]):
        return []
    near = (values for text, values in paper.get(name, {}).items() if abs(float(text) - sparsity) < 0.005)
    return [None if value is None else value / 100 for value in next(near, ())]


def layout(table: SeriesTable) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table, in per cent and minutes; published values are a row below ours."""
    head = ["unlearning", "pruned %", *(f"{score} {when} %" for score, when in COLUMNS), "RTE (min)", "n"]
    rows = []
    for name, line in table.cells.items():
        for sparsity, cells in line.items():
            pruned, time = f"{100 * sparsity:.4g}", cells.get(("RTE", ""))
            shown = [cell.text() if (cell := cells.get(column)) else "-" for column in COLUMNS]
            took, seeds = minutes(time.mean if time else None), len(cells["SA", "after"].values)
            rows.append([name, pruned, *shown, took, str(seeds)])
            if values := published_values(table, name, sparsity):
                shown = ["" if value is None else f"≈{percent(value)}" for value in values]
                rows.append([f"{name}, published", pruned, *shown, "", ""])
    return head, rows


def notes(table: SeriesTable) -> list[str]:
    """Sentences below the table that explain its columns and name the source of published values."""
    sentences = [
        "ASR: share of triggered test images that are taken for the target; SA: accuracy on clean test images. Mean ± "
        "standard deviation over n seeds."
    ]
    if any(published_values(table, name, sparsity) for name, line in table.cells.items() for sparsity in line):
        paper = paper_values.load()["backdoor"]
        name = paper_values.load()["papers"][paper["paper"]]
        sentences.append(f"Published: {name}; {paper['source']} ({paper['words']}).")
    return sentences


def draw(table: SeriesTable) -> Any:
    """A figure of attack success and accuracy against sparsity, before (hollow) and after unlearning (filled).

    Error bars are one standard deviation over the seeds.
    """
    from report.plots import MARKERS, colours, figure, legend

    drawn, axes = figure(10, 4.2, 1, 2)
    sparsities = sorted({sparsity for line in table.cells.values() for sparsity in line})
    words = {"ASR": "attack success (ASR, %)", "SA": "accuracy on clean images (SA, %)"}
    for axis, score in zip(axes[0], words):
        for place, ((name, line), shade) in enumerate(zip(table.cells.items(), colours(len(table.cells)))):
            aside = 0.06 * (place - (len(table.cells) - 1) / 2)  # values before unlearning are equal for all methods
            for when, look in BEFORE_AFTER.items():
                cells = {sparsity: scores[score, when] for sparsity, scores in line.items() if (score, when) in scores}
                look = look | {"marker": MARKERS[place % len(MARKERS)], "color": shade, "capsize": 2}
                values = [100 * cell.mean for cell in cells.values()]
                spread = [100 * cell.std for cell in cells.values()]
                places = [sparsities.index(sparsity) + aside for sparsity in cells]
                axis.errorbar(places, values, spread, label=f"{when} {name}", **look)
        axis.set_xticks(range(len(sparsities)), [f"{100 * sparsity:.4g}" for sparsity in sparsities])
        axis.set(xlabel="pruned weights (%)", ylabel=words[score], ylim=(-3, 105))
        axis.grid(alpha=0.3)
    share = 100 / len(table.key["images"] or [None] * 10)  # about the attack success of a clean model
    axes[0, 0].axhline(share, color="grey", linestyle=":", label="share of the target class")
    legend(drawn, axes[0, 0])
    drawn.suptitle(table.title, fontsize=9, wrap=True)
    return drawn
