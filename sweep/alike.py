"""Groups cells of a sweep that can be trained together as one network (``--models_at_once``), and runs such a group.

torch is imported only when a group's size has to be computed or a group runs.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sweep.grid import Cell
from sweep.job import OUTPUT
from utils.errors import UsageError

AUTO = "auto"
LOOKED_AT = 64  # ready cells per process that are searched for alike ones
FREE = {"--save_dir", "--mask", "--checkpoint", "--reference_model", "--split", "--forget", "--rewind_pth"}
INHERITED = ("--arch", "--dataset")  # read from the model's file where the command line lacks them
KEPT = {"--batch_size", "--forget_batch_size", "--fisher_batch_size", "--input_size", "--pruning_times", "--gpu"}


def kind(cell: Cell) -> tuple[Any, ...]:
    """A key that is equal for cells that can be trained together: they differ in seeds, splits, files and numbers.

    Where the command line does not name architecture and data set, the setting and the model that it starts from stand
    in for them.
    """
    typed = {word.partition("=")[0] for word in cell.argv}
    model = [cell.facts.get(name) for name in ("setting", "model")] if not typed.issuperset(INHERITED) else []
    return cell.script, *_same(cell.argv), *model


def _same(argv: Sequence[str]) -> Iterator[str]:
    flag = ""
    for word in argv:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            flag = name
            yield flag
            word = value if equals else ""
        if word and flag not in FREE and (flag in KEPT or not _is_number(word)):
            yield word


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


class Grouping:
    """Puts cells that are ready to run into groups of alike ones.

    Args:
        max_models: most cells in a group; None for as many as make training faster and fit into memory.
        slots: number of processes that run groups side by side. Groups are kept small enough to give each process one.
    """

    def __init__(self, max_models: int | None, slots: int):
        self._max_models, self._slots = max_models, slots
        self._known: dict[tuple[Any, ...], int] = {}
        self.alone: set[str] = set()  # names of cells killed in a group: any of them may be the cause

    def groups(self, ready: Iterator[Cell], limit: int) -> list[list[Cell]]:
        """At most ``limit`` groups of alike cells, made of the first ``LOOKED_AT`` ready cells per process."""
        if self._max_models == 1:
            return [[cell] for _, cell in zip(range(limit), ready)]
        alike: dict[tuple[Any, ...], list[Cell]] = {}
        for _, cell in zip(range(self._slots * LOOKED_AT if limit else 0), ready):
            own = (cell.name,) if cell.name in self.alone else ()
            alike.setdefault((*kind(cell), *own), []).append(cell)
        groups = []
        for cells in alike.values():
            size = max(1, min(self._size(cells[0]), -(-len(cells) // self._slots)))
            groups += [cells[start : start + size] for start in range(0, len(cells), size)]
        return groups[:limit]

    def _size(self, cell: Cell) -> int:
        if self._max_models is not None:
            return self._max_models
        if kind(cell) not in self._known:
            from trainer import groups

            self._known[kind(cell)] = groups.how_many_of(_script(cell.script), cell.argv)
        return self._known[kind(cell)]


def _script(file: str) -> Any:
    return importlib.import_module(file.removesuffix(".py")).SCRIPT


def run(script: str, tasks: Sequence[dict[str, Any]]) -> list[int]:
    """Train the models of several tasks together in this process; each task's output goes to its own ``output.txt``.

    Tasks that cannot be trained together run one after the other.

    Args:
        script: of all tasks, "main_forget.py" for example.
        tasks: what ``Cell.task`` returns.
    Returns:
        One exit code per task.
    """
    from trainer.groups import run_together

    with ExitStack() as opened:
        files = [opened.enter_context((Path(task["folder"]) / OUTPUT).open("a", buffering=1)) for task in tasks]
        try:
            return run_together(_script(script), [task["argv"] for task in tasks], len(tasks), files)
        except UsageError as error:
            if len(tasks) > 1:
                for file in files:
                    print(f"main_sweep.py: {error}; they run one by one", file=file)
                return [code for task in tasks for code in run(script, [task])]
            for file in files:
                print(f"main_sweep.py: error: {error}", file=file)
            return [error.code] * len(tasks)
