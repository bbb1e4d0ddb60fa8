"""Published numbers beside ours, from ``experiments/paper.json``."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report.comparison import Cell, Table, mean_of
from report.row_names import Model
from report.runs import METRICS

FILE = Path(__file__).resolve().parent.parent / "experiments" / "paper.json"


@dataclass(frozen=True)
class Value:
    """A published value.

    Attributes:
        mean: in [0, 1] (RTE in minutes).
        std: its standard deviation in the same unit, or the reading error if it was read off a figure; None if not
            published.
        read_off: whether it was read off a figure.
        paper: key of the paper in ``experiments/paper.json``.
    """

    mean: float
    std: float | None
    read_off: bool
    paper: str


@dataclass(frozen=True)
class Published:
    """The published tables beside a table of one's own runs.

    Attributes:
        tables: entries of ``experiments/paper.json``; the first that has a value counts.
        exact: whether they are of the same data set, architecture and share of forgotten images; else they are for
            orientation only.
    """

    tables: list[dict[str, Any]]
    exact: bool

    def value(self, row: str, model: Model, metric: str) -> Value | None:
        """The published value of a cell, from the first table that has it; None if none has.

        Args:
            row: name of a row, of which the method's name counts.
            metric: one of ``runs.METRICS``, or "RTE".
        """
        for table in self.tables:
            name = next((name for name, sparsity in table["models"].items() if self._same(sparsity, model)), None)
            pair = table["rows"].get(base(row), {}).get(name, {}).get(metric)
            if pair is not None:
                mean, std = (number / (1 if metric == "RTE" else 100) for number in (*pair, math.nan)[:2])
                return Value(mean, std if len(pair) > 1 else None, table.get("read_off", False), table["paper"])
        return None

    def _same(self, sparsity: float, model: Model) -> bool:
        if sparsity == 0 or model.sparsity == 0 or model.sparsity is None:
            return sparsity == model.sparsity
        return model.pruner in ("", "OMP") and (not self.exact or abs(sparsity - model.sparsity) < 0.005)

    def gap(self, row: str, model: Model, metric: str) -> float | None:
        """The absolute difference of a published value from Retrain's in the same paper, in [0, 1]; None if unknown."""
        value = self.value(row, model, metric)
        if value is None:
            return None
        same = Published([table for table in self.tables if table["paper"] == value.paper], self.exact)
        exact = same.value("Retrain", model, metric)
        return None if exact is None else abs(value.mean - exact.mean)

    def average_gap(self, row: str, model: Model) -> float | None:
        """Mean of the four published gaps, in [0, 1]; None if one is unknown."""
        return mean_of([self.gap(row, model, metric) for metric in METRICS])

    def differs(self, cell: Cell, row: str, model: Model, metric: str) -> bool:
        """Whether a cell differs from the published value by more than the combined spread.

        That is the root of the sum of both squared standard deviations. Always False if the tables are not ``exact``.
        """
        value = self.value(row, model, metric) if self.exact else None
        return value is not None and abs(cell.mean - value.mean) > math.hypot(cell.std, value.std or 0.0) + 1e-12

    def sources(self, table: Table) -> list[str]:
        """Citations for the published values beside a table, a line per published table that gives any of them."""
        papers = load()["papers"]
        used = []
        for row in table.rows:
            for model in table.models:
                entries = [entry for entry in self.tables if Published([entry], self.exact).value(row, model, "UA")]
                used += [entry for entry in entries[:1] if entry not in used]
        return [f"{papers[entry['paper']]}; {entry['source']} ({entry['words']})." for entry in used]


def base(row: str) -> str:
    """The method's name in a row's name, without settings."""
    return row.split(",")[0].split(" (")[0]


def load() -> dict[str, Any]:
    """The content of ``experiments/paper.json``."""
    return json.loads(FILE.read_text())


def matching(table: Table, named: list[str]) -> Published:
    """The published tables that belong beside ``table``: those of its setting, else those named.

    Args:
        named: starts of the names of published tables, taken if none is of the same data set and architecture. They
            must be of the same kind of scenario and share of forgotten images.
    """
    kind, share = table.key["kind"], _share(table)
    entries = [entry for entry in load()["tables"] if entry["kind"] == kind]
    entries = [entry for entry in entries if share is None or abs(entry["share"] - share) < 0.02]
    dataset, arch = table.key["dataset"].removesuffix("_no_val"), table.key["arch"]
    changed = table.key["imagenet stem"] or table.key["input size"] is not None
    same = [entry for entry in entries if (entry["dataset"], entry["arch"]) == (dataset, arch) and not changed]
    if same:
        return Published(same, exact=True)
    return Published([entry for entry in entries if any(entry["name"].startswith(name) for name in named)], exact=False)


def _share(table: Table) -> float | None:
    sizes = table.key["sizes"]
    return sizes["forget"] / (sizes["forget"] + sizes["retain"]) if sizes["forget"] and sizes["retain"] else None
