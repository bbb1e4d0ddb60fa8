"""Tables for people, made from results alone. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from evaluation.published import Published, base
from evaluation.results import METRICS, Table
from evaluation.rows import Model


def aligned(head: list[str], rows: list[list[str]]) -> str:
    """Plain text columns: the first flush left, the others flush right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def percent(fraction: float | None) -> str:
    """A fraction in [0, 1] as per cent with two decimals; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def minutes(value: float | None) -> str:
    """Minutes with three decimals; a dash for None."""
    return "-" if value is None else f"{value:.3f}"


def rounds(summaries: list[dict[str, Any]]) -> str:
    """The end of ``main_imp.py``: one line per round, in per cent."""
    head = ["round", "density %", "sparsity %", "best val %", "its test %", "last test %", "file of the best"]
    rows = [
        [
            str(found["round"]),
            f"{100 * found['density']:.2f}",
            f"{100 - 100 * found['density']:.2f}",
            *(f"{100 * found[key]:.2f}" for key in ("best_val", "test_of_best", "test_of_last")),
            found["best"],
        ]
        for found in summaries
    ]
    return aligned(head, rows)


UNEQUAL = "≠"  # marks a cell of ours that differs from the published one


def paper_cell(table: Table, row: str, model: Model, metric: str, published: Published) -> str:
    """``value±std (gap)`` in per cent, marked where it differs from the published value; what is missing instead of a value."""
    cell, gone = table.cell(row, model.name, metric), table.gone.get(row, {}).get(model.name)
    if cell is None and table.runs(row, model.name):
        return "-"
    if cell is None:
        return (
            f"failed ({progress(table, row, model)} seeds)"
            if gone and gone.failed
            else f"- ({progress(table, row, model)} seeds)"
        )
    spread = f"±{100 * cell.std:.2f}" if len(cell.values) > 1 else ""
    gap = table.gap(row, model.name, metric)
    mark = f" {UNEQUAL}" if published.differs(cell, row, model, metric) else ""
    return percent(cell.mean) + spread + ("" if gap is None else f" ({100 * gap:.2f})") + mark


def progress(table: Table, row: str, model: Model) -> str:
    """How many runs there are; of how many, where some are missing, and how many of those failed."""
    runs, gone = table.runs(row, model.name), table.gone.get(row, {}).get(model.name)
    planned = max(runs + (gone.missing if gone else 0), table.seeds(model.name))
    return (
        str(runs)
        if runs == planned
        else f"{runs} of {planned}" + (f", {gone.failed} failed" if gone and gone.failed and runs else "")
    )


def published_cell(published: Published, row: str, model: Model, metric: str) -> str:
    """The published ``value±std (gap)``; with ≈ where it was read off a figure."""
    value = published.value(row, model, metric)
    if value is None:
        return ""
    if metric == "RTE":
        return f"{value.mean:g}"
    gap = published.gap(row, model, metric)
    spread = "" if value.std is None else f"±{100 * value.std:.2f}"
    return (
        ("≈" if value.read_off else "") + percent(value.mean) + spread + ("" if gap is None else f" ({100 * gap:.2f})")
    )


def paper_table(table: Table, published: Published) -> tuple[list[str], list[list[str]]]:
    """Head and rows in the layout of the paper's Table 1: each metric for every model side by side.

    The gap to Retrain stands in brackets; the average gap of the four metrics, RTE and the number of
    seeds come last. Below the rows of a method stands what was published of it.
    """
    columns = [(metric, model) for metric in METRICS for model in table.models]
    head = ["method", *(f"{metric} {model.name}" for metric, model in columns)]
    head += [f"{title} {model.name}" for title in ("avg. gap", "RTE (min)", "n") for model in table.models]
    rows = []
    for place, name in enumerate(table.rows):
        cells = [paper_cell(table, name, model, metric, published) for metric, model in columns]
        cells += [percent(table.average_gap(name, model.name)) for model in table.models]
        cells += [_minutes(table, name, model) for model in table.models]
        rows.append([name, *cells, *(progress(table, name, model) for model in table.models)])
        following = list(table.rows)[place + 1 : place + 2]
        if not following or base(following[0]) != base(name):
            rows += _published_row(table, base(name), columns, published)
    return head, rows


def _published_row(table: Table, name: str, columns: list[tuple[str, Model]], published: Published) -> list[list[str]]:
    cells = [published_cell(published, name, model, metric) for metric, model in columns]
    if not any(cells):
        return []
    averages = [published.average_gap(name, model) for model in table.models]
    cells += ["" if gap is None else percent(gap) for gap in averages]
    return [
        [
            f"{name}, published",
            *cells,
            *(published_cell(published, name, model, "RTE") for model in table.models),
            *("" for _ in table.models),
        ]
    ]


def _minutes(table: Table, row: str, model: Model) -> str:
    """RTE; with a star where it was taken on different machines."""
    cell = table.cell(row, model.name, "RTE")
    return minutes(None if cell is None else cell.mean) + ("*" if cell and len(cell.machines) > 1 else "")


EXPLAINED = {  # the columns, for the page
    "UA": "unlearning accuracy, the share of forget images that are read wrong: 100 − the accuracy on the forget set",
    "MIA-Efficacy": "share of forget images that a membership inference attack (SVC on confidence) takes for never seen",
    "RA": "remaining accuracy, on the training images that were not to be forgotten",
    "TA": "testing accuracy, on the test set, which lacks a class that is forgotten whole",
    "avg. gap": "mean distance of these four from Retrain's; the smaller, the nearer to never having seen the forget set",
    "RTE": "run-time efficiency: minutes that unlearning took, without loading data and scoring",
    "n": "runs with different seeds; ± is their standard deviation, in brackets the distance of the mean from Retrain's",
}


def notes(table: Table, published: Published) -> list[str]:
    """What a reader must know of the table: one sentence a line."""
    said = [
        "Values in per cent, mean ± standard deviation over n seeds; in brackets the distance of the mean from Retrain's on the same "
        "model and seeds. Closer to Retrain is better in every column."
    ]
    if any(
        len(cell.machines) > 1 for models in table.rows.values() for cells in models.values() for cell in cells.values()
    ):
        said.append("* RTE taken on different machines.")
    sources = published.sources(table)
    if sources and published.exact:
        said.append(
            f"{UNEQUAL}: differs from the published mean by more than the combined spread, the root of the sum of both variances."
        )
        if any(table.runs(row, model.name) == 1 for row in table.rows for model in table.models):
            said.append("Where there is one seed, only the published spread counts.")
    elif sources:
        said.append("Published in another setting, beside ours for orientation only.")
    if any(
        value.read_off for row in table.rows for model in table.models if (value := published.value(row, model, "UA"))
    ):
        said.append("≈: read off a figure; the number after ± is the reading error.")
    return said + [f"Published: {source}" for source in sources]


def markdown(head: list[str], rows: list[list[str]], best: Set[tuple[str, str]] = frozenset()) -> str:
    """A Markdown table; all columns but the first are right-aligned.

    Args:
        best: cells in bold, by row name and column title.
    """
    cells = [[f"**{cell}**" if (row[0], title) in best else cell for title, cell in zip(head, row)] for row in rows]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *([cell.replace("|", r"\|") for cell in row] for row in cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def long_rows(table: Table, published: Published) -> list[list[str]]:
    """The table as plain rows for a CSV file: fractions and minutes, unrounded; missing cells have no mean."""
    head = ["table", "method", "model", "metric", "mean", "std", "seeds", "missing", "failed", "gap_to_retrain"]
    lines = [[*head, "published_mean", "published_std", "differs"]]
    for name in table.rows:
        for model in table.models:
            gone = table.gone.get(name, {}).get(model.name)
            for metric in (*METRICS, "RTE"):
                cell, value = table.cell(name, model.name, metric), published.value(name, model, metric)
                gap = None if metric == "RTE" else table.gap(name, model.name, metric)
                known = cell is not None and value is not None and published.exact and metric != "RTE"
                numbers = [
                    cell and cell.mean,
                    cell and cell.std,
                    len(cell.values) if cell else 0,
                    gone.missing if gone else 0,
                    gone.failed if gone else 0,
                    gap,
                ]
                numbers += [
                    value and value.mean,
                    value and value.std,
                    int(published.differs(cell, name, model, metric)) if known else None,
                ]
                lines.append(
                    [
                        table.slug,
                        name,
                        model.name,
                        metric,
                        *("" if number is None else repr(number) for number in numbers),
                    ]
                )
    return lines
