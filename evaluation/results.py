"""Result files of many runs, grouped into the paper's tables. Imports neither torch nor numpy."""
from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

METRICS = ("UA", "MIA-Efficacy", "RA", "TA")  # in the order of the paper's columns
ORDER = ("Original", "Retrain", "FT", "GA", "FF", "IU", "l1-sparse")


@dataclass(frozen=True)
class Cell:
    """One metric over the runs of a row and a model: values in [0, 1] (RTE in minutes), one per seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Population standard deviation, as the reference's tables have it."""
        return statistics.pstdev(self.values)


@dataclass
class Table:
    """One scenario on one data set and architecture.

    Attributes:
        title: in words.
        slug: starts file names.
        models: column names, dense first ("dense", "90 % sparse").
        rows: by row name, by model, by metric.
    """

    title: str
    slug: str
    models: list[str]
    rows: dict[str, dict[str, dict[str, Cell]]] = field(default_factory=dict)

    def gap(self, row: str, model: str, metric: str) -> float | None:
        """Distance of the mean from Retrain's on the same model, in [0, 1]; None where one is missing."""
        cell, exact = (self.rows.get(name, {}).get(model, {}).get(metric) for name in (row, "Retrain"))
        return None if cell is None or exact is None else abs(cell.mean - exact.mean)

    def average_gap(self, row: str, model: str) -> float | None:
        """Mean of the four gaps ("disparity average" in the paper), in [0, 1]."""
        gaps = [self.gap(row, model, metric) for metric in METRICS]
        return None if None in gaps else statistics.fmean(gaps)


def collect(folder: Path, script: str = "main_forget.py") -> list[dict[str, Any]]:
    """All finished results of a script below ``folder``, each run once, in order of path."""
    found = {}
    for path in sorted(folder.rglob("result.json")):
        try:
            result = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(result, dict) and result.get("script") == script and result.get("status") == "done":
            found.setdefault(result["fingerprint"], result)
    return list(found.values())


def tables(results: Iterable[dict[str, Any]]) -> list[Table]:
    """One table per data set, architecture, scenario and ``--compat``; runs that differ in these never meet."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for result in results:
        words = result["scenario"]["words"]
        key = (result["model"]["dataset"], result["model"]["arch"], result["scenario"]["kind"], words, result["compat"])
        groups.setdefault(key, []).append(result)
    return [_table(key, group) for key, group in sorted(groups.items())]


def _table(key: tuple, results: list[dict[str, Any]]) -> Table:
    dataset, arch, kind, words, compat = key
    models = sorted({result["model"]["sparsity"] for result in results})
    slug = f"{dataset}-{arch}-{kind.replace(' ', '-')}" + ("" if compat == "fixed" else f"-{compat}")
    title = f"{dataset}, {arch}: forget {words}" + ("" if compat == "fixed" else f" (compat {compat})")
    table = Table(title, slug, [model_name(sparsity) for sparsity in models])
    for name, members in by_method(results).items():
        table.rows[name] = {}
        for sparsity in models:
            runs = [result for result in members if result["model"]["sparsity"] == sparsity]
            columns = {metric: tuple(r["scores"][metric] for r in runs if r["scores"][metric] is not None) for metric in (*METRICS, "RTE")}
            table.rows[name][model_name(sparsity)] = {metric: Cell(values) for metric, values in columns.items() if values}
    return table


def model_name(sparsity: float) -> str:
    """Column name of a model: sparsity in per cent, or "dense"."""
    return "dense" if sparsity == 0 else f"{100 * sparsity:.4g} % sparse"


def by_method(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Runs by row name. A method that was run with several settings on one model gets a row for each."""
    methods: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        methods.setdefault(result["method"], []).append(result)
    rows: dict[str, list[dict[str, Any]]] = {}
    taken = [members[0]["paper_name"] for members in methods.values()]
    for method, members in methods.items():
        paper = members[0]["paper_name"]
        name = paper if taken.count(paper) == 1 else f"{paper} ({method})"
        settings = {json.dumps(result["config"]["hyper"], sort_keys=True) for result in members}
        per_model = {}
        for result in members:
            per_model.setdefault(result["model"]["sparsity"], set()).add(json.dumps(result["config"]["hyper"], sort_keys=True))
        if all(len(found) == 1 for found in per_model.values()):
            rows[name] = members
            continue
        varying = _varying([json.loads(setting) for setting in settings])
        for result in members:
            hyper = result["config"]["hyper"]
            rows.setdefault(f"{name}, " + ", ".join(f"{key} {hyper[key]}" for key in varying), []).append(result)
    return dict(sorted(rows.items(), key=lambda item: (_position(item[0]), item[0])))


def _varying(settings: list[dict[str, Any]]) -> list[str]:
    return [key for key in settings[0] if len({json.dumps(setting.get(key)) for setting in settings}) > 1]


def _position(name: str) -> int:
    first = name.split(",")[0].split(" (")[0]
    return ORDER.index(first) if first in ORDER else len(ORDER)
