"""Tables of results along a number, such as sparsity: a line per method, values in the mean over the seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from report.comparison import Cell, cells_by, named


@dataclass
class SeriesTable:
    """Results that may be compared along a number.

    Attributes:
        title: in words.
        slug: starts file names.
        key: what all runs share.
        cells: by line, by the number, ascending, by column.
    """

    title: str
    slug: str
    key: dict[str, Any]
    cells: dict[str, dict[float, dict[Any, Cell]]]

    def long(self, head: list[str], column: Callable[[Any], tuple[Hashable, ...]]) -> pd.DataFrame:
        """The table for a CSV file: line, number, column, mean, standard deviation and number of runs, unrounded.

        Args:
            column: what a column is called in the file, in as many words as ``head`` has for it.
        """
        lines = [
            (line, number, *column(name), cell.mean, cell.std, len(cell.values))
            for line, points in self.cells.items()
            for number, cells in points.items()
            for name, cell in cells.items()
        ]
        return pd.DataFrame(lines, columns=head)


def grouped(results: Iterable[dict[str, Any]], shared: Callable[[dict[str, Any]], Any]) -> list[tuple[Any, list]]:
    """What results share, as plain data, and the results that do, in order of that."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(json.dumps(shared(result), sort_keys=True), []).append(result)
    return [(json.loads(key), groups[key]) for key in sorted(groups)]


def series(title: str, slug: str, key: dict[str, Any], values: list[tuple]) -> SeriesTable:
    """A table of values, each with its line, number and column; None where a run lacks one.

    Args:
        title, slug: without ``--compat``, of which both tell where it is not "fixed".
    """
    by = ["line", "number", "column"]
    by_place = cells_by(pd.DataFrame(values, columns=[*by, "value"]), by)
    cells: dict[str, Any] = {line: {} for line, *_ in values}
    for (line, number, column), cell in sorted(by_place.items(), key=lambda item: item[0][1]):
        cells[line].setdefault(number, {})[column] = cell
    return SeriesTable(*named(title, slug, key["compat"]), key, cells)
