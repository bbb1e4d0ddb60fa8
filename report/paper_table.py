"""A table of runs in the layout of the paper's Table 1."""

from __future__ import annotations

from typing import Any

import pandas as pd

from report import deviations
from report.comparison import MissingRuns, Table
from report.paper_values import Published, base
from report.row_names import Model
from report.runs import METRICS
from report.text import minutes, percent

UNEQUAL = "≠"  # marks a cell of ours that differs from the published one
EXPLAINED = {  # the columns, for the page
    "UA": "unlearning accuracy, the share of forget images that are read wrong: 100 − the accuracy on the forget set",
    "MIA-Efficacy": "share of forget images that a membership inference attack (SVC on confidence) takes for "
    "never seen",
    "RA": "remaining accuracy, on the training images that were not to be forgotten",
    "TA": "testing accuracy, on the test set, which lacks a class that is forgotten whole",
    "avg. gap": "mean distance of these four from Retrain's; the smaller, the nearer to never having seen the forget "
    "set",
    "RTE": "run-time efficiency: minutes that unlearning took, without loading data and scoring",
    "n": "runs with different seeds; ± is their standard deviation, in brackets the distance of the mean from "
    "Retrain's",
}


def paper_table(table: Table, published: Published) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table in the layout of the paper's Table 1, each metric for every model side by side.

    Cells are in per cent, with the gap to Retrain in brackets. The last columns are the average gap of the four
    metrics, RTE in minutes, and the number of runs. Published values are a row below those of their method.
    """
    columns = [(metric, model) for metric in METRICS for model in table.models]
    head = ["method", *(f"{metric} {model.name}" for metric, model in columns)]
    head += [f"{title} {model.name}" for title in ("avg. gap", "RTE (min)", "n") for model in table.models]
    rows = []
    for name, following in zip(table.rows, [*table.rows[1:], ""]):
        cells = [_cell(table, name, model, metric, published) for metric, model in columns]
        cells += [percent(table.average_gap(name, model.name)) for model in table.models]
        cells += [_minutes(table, name, model) for model in table.models]
        rows.append([name, *cells, *(progress(table, name, model) for model in table.models)])
        if base(following) != base(name):
            rows += _published_row(table, base(name), columns, published)
    return head, rows


def _cell(table: Table, row: str, model: Model, metric: str, published: Published) -> str:
    """``value±std (gap)`` in per cent, marked where it differs from the published value; or the progress."""
    cell, missing = table.cell(row, model.name, metric), table.missing.get((row, model.name))
    if cell is None:
        if table.runs(row, model.name):
            return "-"
        return f"{'failed' if missing and missing.failed else '-'} ({progress(table, row, model)} seeds)"
    gap = table.gap(row, model.name, metric)
    mark = f" {UNEQUAL}" if published.differs(cell, row, model, metric) else ""
    return cell.text() + ("" if gap is None else f" ({100 * gap:.2f})") + mark


def progress(table: Table, row: str, model: Model) -> str:
    """The number of finished runs as text; with missing ones as "2 of 3", and how many of those failed."""
    runs, missing = table.runs(row, model.name), table.missing.get((row, model.name), MissingRuns())
    planned = max(runs + missing.missing, table.seeds(model.name))
    failed = f", {missing.failed} failed" if missing.failed and runs else ""
    return str(runs) if runs == planned else f"{runs} of {planned}{failed}"


def _published_row(table: Table, name: str, columns: list[tuple[str, Model]], published: Published) -> list[list[str]]:
    cells = [_published_cell(published, name, model, metric) for metric, model in columns]
    if not any(cells):
        return []
    averages = [published.average_gap(name, model) for model in table.models]
    cells += ["" if gap is None else percent(gap) for gap in averages]
    cells += [_published_cell(published, name, model, "RTE") for model in table.models]
    return [[f"{name}, published", *cells, *("" for _ in table.models)]]


def _published_cell(published: Published, row: str, model: Model, metric: str) -> str:
    """The published ``value±std (gap)`` in per cent, RTE in minutes; with ≈ where it was read off a figure."""
    value = published.value(row, model, metric)
    if value is None:
        return ""
    if metric == "RTE":
        return f"{value.mean:g}"
    gap = published.gap(row, model, metric)
    spread = "" if value.std is None else f"±{100 * value.std:.2f}"
    brackets = "" if gap is None else f" ({100 * gap:.2f})"
    return f"{'≈' if value.read_off else ''}{percent(value.mean)}{spread}{brackets}"


def _minutes(table: Table, row: str, model: Model) -> str:
    """RTE in minutes, with a star if it was taken on different machines."""
    cell = table.cell(row, model.name, "RTE")
    return minutes(cell.mean if cell else None) + ("*" if cell and len(cell.machines) > 1 else "")


def notes(table: Table, published: Published) -> list[str]:
    """Sentences below the table: units, deviations, marks, and sources of published values."""
    places = [(row, model) for row in table.rows for model in table.models]
    sentences = [
        "Values in per cent, mean ± standard deviation over n seeds; in brackets the distance of the mean from "
        "Retrain's on the same model and seeds. Closer to Retrain is better in every column."
    ]
    if over := deviations.words(table):
        sentences.append(over)
    if any(len(cell.machines) > 1 for cell in table.cells.values()):
        sentences.append("* RTE taken on different machines.")
    sources = published.sources(table)
    if sources and published.exact:
        sentences.append(
            f"{UNEQUAL}: differs from the published mean by more than the combined spread, the root of the sum of both "
            "variances."
        )
        if any(table.runs(row, model.name) == 1 for row, model in places):
            sentences.append("Where there is one seed, only the published spread counts.")
    elif sources:
        sentences.append("Published in another setting, beside ours for orientation only.")
    if any(value.read_off for row, model in places if (value := published.value(row, model, "UA"))):
        sentences.append("≈: read off a figure; the number after ± is the reading error.")
    return sentences + [f"Published: {source}" for source in sources]


def long_table(table: Table, published: Published) -> pd.DataFrame:
    """The table for a CSV file, with a line per cell: fractions and minutes, unrounded; missing cells have no mean."""
    lines: list[dict[str, Any]] = []
    for name in table.rows:
        for model in table.models:
            missing = table.missing.get((name, model.name), MissingRuns())
            for metric in (*METRICS, "RTE"):
                cell, value = table.cell(name, model.name, metric), published.value(name, model, metric)
                comparable = value is not None and published.exact and metric != "RTE"
                lines.append(
                    {
                        "table": table.slug,
                        "method": name,
                        "model": model.name,
                        "metric": metric,
                        "mean": cell and cell.mean,
                        "std": cell and cell.std,
                        "seeds": len(cell.values) if cell else 0,
                        "missing": missing.missing,
                        "failed": missing.failed,
                        "gap_to_retrain": None if metric == "RTE" else table.gap(name, model.name, metric),
                        "published_mean": value and value.mean,
                        "published_std": value and value.std,
                        "differs": published.differs(cell, name, model, metric) if comparable and cell else None,
                    }
                )
    return pd.DataFrame(lines).astype({"differs": "Int64"})
