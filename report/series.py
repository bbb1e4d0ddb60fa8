"""Tables of results against a number, sparsity for example: a line per method, values averaged over the seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from report.comparison import Cell, cells_by, named


@dataclass
class SeriesTable:
    """Results that may be compared, against a number such as sparsity.

    Attributes:
        title: what the table shows, in words.
        slug: the start of its file names.
        key: what all runs share.
        cells: by line, by the number in ascending order, by column.
    """

    title: str
    slug: str
    key: dict[str, Any]
    cells: dict[str, dict[float, dict[Any, Cell]]]

    def long(self, head: list[str], column: Callable[[Any], tuple[Hashable, ...]]) -> pd.DataFrame:
        """The table for a CSV file: line, number, column, mean, standard deviation and number of runs, unrounded.

        Args:
            head: titles of the columns in the file.
            column: returns the cells that name a column of the table, as many as ``head`` has titles for them.
        """
        lines = [
            (line, number, *column(name), cell.mean, cell.std, len(cell.values))
            for line, points in self.cells.items()
            for number, cells in points.items()
            for name, cell in cells.items()
        ]
        return pd.DataFrame(lines, columns=head)


def grouped(results: Iterable[dict[str, Any]], shared: Callable[[dict[str, Any]], Any]) -> list[tuple[Any, list]]:
    """Group results by what they share.

    Args:
        shared: returns what results of a group have in common, as data that JSON can hold.
    Returns:
        Pairs of that data and the group's results, ordered by its JSON text.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(json.dumps(shared(result), sort_keys=True), []).append(result)
    return [(json.loads(key), groups[key]) for key in sorted(groups)]


def series(title: str, slug: str, key: dict[str, Any], values: list[tuple]) -> SeriesTable:
    """A table of single runs' values.

    Args:
        title, slug: of the table; the value of ``--compat`` is appended to both if it is not "fixed".
        key: what all runs share, "compat" included.
        values: tuples of line, number, column and value; the value is None where a run lacks it.
    """
    by = ["line", "number", "column"]
    by_place = cells_by(pd.DataFrame(values, columns=[*by, "value"]), by)
    cells: dict[str, Any] = {line: {} for line, *_ in values}
    for (line, number, column), cell in sorted(by_place.items(), key=lambda item: item[0][1]):
        cells[line].setdefault(number, {})[column] = cell
    return SeriesTable(*named(title, slug, key["compat"]), key, cells)
