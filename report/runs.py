"""Reads result files below a folder, single ones or packed into one file. Imports neither torch nor pandas."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from report import shared_parts
from utils import files
from utils.errors import UsageError

METRICS = ("UA", "MIA-Efficacy", "RA", "TA")  # in the order of the paper's columns
AVERAGE = "average gap"  # of a run to Retrain with the same seeds: mean absolute difference of these four
GAPS = {metric: f"{metric} gap" for metric in METRICS}  # absolute difference of one metric
BY_SEED = (AVERAGE, *METRICS, *GAPS.values())  # scores that a single run has
SEARCH = "search"  # the folder of a sweep that holds the trials of its search
MANIFEST = ".sweep.json"  # suffix of the file that lists a sweep's cells
STATUS = "status.json"  # in a cell's folder: how its last attempt ended
PACKED = "runs.jsonl"  # many runs in one file, one a line
EPOCH = ("phase", "epoch", "loss", "accuracy", "val")  # entries of each logged epoch that a packed run keeps

NUMBER, SCORE = (int, float), (int, float, type(None))
_RUN = {"fingerprint": str, "method": str, "paper_name": str, "compat": str, "seed": int}
_MODEL = {"dataset": str, "arch": str, "sparsity": NUMBER, "recipe?": (dict, type(None))}
SHAPES: dict[str, dict[str, Any]] = {  # entries of a finished result that tables read, by script; see ``check``
    "main_forget.py": _RUN
    | {
        "scores": {**dict.fromkeys(METRICS, SCORE), "RTE": SCORE},
        "scenario": {"kind": str, "words": str},
        "split?": dict,
        "model": _MODEL,
        "config": {"hyper": dict, "run?": dict, "data?": dict, "model?": dict},
        "environment?": dict,
    },
    "main_backdoor.py": {
        "fingerprint": str,
        "method": str,
        "scores?": {"before?": dict, "after?": dict, "RTE?": SCORE},
        "model?": _MODEL,
        "poison": {"words": str},
        "config": {"hyper": dict, "run?": dict, "prune?": dict},
    },
    "main_transfer.py": {
        "fingerprint": str,
        "method": str,
        "removed?": {"count": int},
        "accuracy?": dict,
        "seconds?": dict,
        "model?": _MODEL,
        "target?": {"name": str},
        "config": {"hyper": dict, "probe": {"probe": str}, "target": dict},
    },
}
TRAINING = {
    "label": str,
    "script": str,
    "rounds": list,
    "model": {"arch": str},
    "config": {"data": {"dataset": str}, "run": {"compat": str}, "prune?": dict},
}
Epochs = dict[str, dict[int, dict[str, float]]]  # logged values by phase and epoch (from 1)


@dataclass(frozen=True, eq=False)
class Run:
    """A result and its place.

    Attributes:
        path: the result file, or "FILE:LINE" of a packed file.
        folder: the run's own; for a packed run, the folder that it had, relative to the packed file.
        content: of ``result.json``.
        logged: the logged epochs of a packed run; None for a run with a folder of its own.
    """

    path: Path | str
    folder: Path
    content: dict[str, Any]
    logged: list[dict[str, Any]] | None = None

    @property
    def done(self) -> bool:
        """Whether the run finished."""
        return self.content.get("status") == "done"

    @property
    def failed(self) -> bool:
        """Whether the run failed, NaN or infinite numbers for example, and was not replaced by a later run."""
        return self.content.get("status") == "failed" and self.folder.parent.name != "earlier"

    @cached_property
    def epochs(self) -> Epochs:
        """The logged epochs. Of an epoch that was logged twice, after a kill for example, the last record counts."""
        epochs: Epochs = {}
        for record in read_epochs(self.folder / "log.jsonl") if self.logged is None else self.logged:
            epochs.setdefault(record["phase"], {})[record["epoch"]] = record
        return epochs

    def packed(self, base: Path) -> dict[str, Any]:
        """The run as an entry of a packed file in the folder ``base``."""
        logged = [record for epochs in self.epochs.values() for record in epochs.values()]
        return {
            "folder": os.path.relpath(self.folder.resolve(), base),
            "result": self.content,
            "epochs": [{key: record[key] for key in EPOCH if key in record} for record in logged],
        }


@dataclass
class Collection:
    """All results and lists of sweeps' cells that a report reads.

    Attributes:
        runs: every result, in order of path; may hold copies of a run.
        plans: contents of sweeps' lists of cells, by path.
        remarks: a line for each file or folder that was passed over, with the reason.
    """

    runs: list[Run] = field(default_factory=list)
    plans: dict[Path, dict[str, Any]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def runs_of(self, script: str, failed: bool = False) -> list[Run]:
        """The finished runs of a script; of copies of a run, the first counts.

        Args:
            script: "main_forget.py" for example, a key of ``SHAPES``.
            failed: whether to include failed runs, which have no scores, unless a copy finished.
        Raises:
            UsageError: a result lacks what a table needs; the message names the file.
        """
        newest: dict[str, Run] = {}
        for run in self.runs:
            if run.content.get("script") != script or not (run.done or failed and run.failed):
                continue
            shape = {key: kind for key, kind in SHAPES[script].items() if run.done or key != "scores"}
            check(run.content, shape, run.path)
            first = newest.setdefault(run.content["fingerprint"], run)
            if first.failed and run.done:
                newest[run.content["fingerprint"]] = run
        return list(newest.values())

    def pack(self, path: Path) -> None:
        """Write all runs and plans into one file, which ``collect`` reads like the folders that they came from.

        Stored paths are relative to the file's folder; if some run lies outside it, to the closest folder that holds
        all of them.

        Raises:
            UsageError: a result is nested too deeply.
        """
        runs = [run for run in self.runs if run.content]
        places = [*self.plans, *(run.folder for run in runs)]
        base = path.parent.resolve()
        if not all(place.resolve().is_relative_to(base) for place in places):
            base = Path(os.path.commonpath([place.resolve().parent for place in places]))
        lines = [
            {"sweep": os.path.relpath(plan.resolve(), base), "content": _with_status(plan, content)}
            for plan, content in self.plans.items()
        ]
        lines += [run.packed(base) for run in runs]
        try:
            lines = shared_parts.factored(lines)
        except RecursionError:
            raise UsageError(f"{path}: cannot be written (a result is nested too deeply); leave it out") from None
        files.write_text(path, "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def _with_status(plan: Path, content: dict[str, Any]) -> dict[str, Any]:
    """A sweep's list of cells, with the status of those that failed in their entries."""
    cells = []
    for cell in content["cells"]:
        status = status_of(cell, plan)
        cells.append({key: value for key, value in cell.items() if key != "status"})
        if status.get("status") == "failed":
            cells[-1]["status"] = {key: status.get(key) for key in ("status", "last_line")}
    return {**content, "cells": cells}


def status_of(cell: dict[str, Any], plan: Path) -> dict[str, Any]:
    """The content of ``status.json`` of a sweep's cell; empty if it was never started.

    Args:
        cell: its entry in the sweep's list; that of a packed run holds the status itself.
        plan: path of the list.
    """
    return cell.get("status") or read(plan.parent / cell["folder"] / STATUS)


def collect(places: Iterable[Path]) -> Collection:
    """Read all results below folders and in packed files, each file once even if several links lead to it.

    Links to folders are followed. Trials of a search are passed over, unless their own folder is given.

    Args:
        places: folders, and packed files (.jsonl).
    Raises:
        UsageError: a file is damaged, or a place is neither; the message names it.
    """
    collection = Collection()
    visited: set[str] = set()
    for place in places:
        if place.is_file() and place.suffix == ".jsonl":
            _unpack(place, collection, visited)
            continue
        if not place.is_dir():
            reason = "is a file; give the folder that holds it" if place.is_file() else "no such folder"
            raise UsageError(f"{place}: {reason}")
        for directory, names in _walk(place, collection, visited):
            for path in (directory / name for name in names):
                if path.name == SEARCH and path.is_dir():
                    collection.remarks.append(f"{path}: trials of a search; give this folder to see them")
                elif path.is_symlink() and not path.exists():
                    collection.remarks.append(f"{path}: is a link to {os.readlink(path)}, which is not there")
                if path.name == PACKED:
                    _unpack(path, collection, visited)
                elif path.name == "result.json" and _new(path, visited):
                    content = read_whole(path)  # before resolve(), which a link in a loop makes raise
                    folder = path.resolve().parent if path.is_symlink() else path.parent
                    collection.runs.append(Run(path, folder, content))
                elif path.name.endswith(MANIFEST) and _new(path, visited):
                    _add_plan(collection, path, read_whole(path))
    return collection


def _walk(folder: Path, collection: Collection, visited: set[str]) -> Iterable[tuple[Path, list[str]]]:
    """``folder`` and every folder below it with the sorted names in it, each once, in order of path."""
    walked: list[tuple[Path, list[str]]] = []

    def refused(error: OSError) -> None:
        collection.remarks.append(f"{error.filename}: cannot be listed ({error.strerror})")

    for current, inner, others in os.walk(folder, onerror=refused, followlinks=True):
        if not _new(current, visited):  # reached before by another path, or by a link to a folder above it
            inner.clear()
            continue
        walked.append((Path(current), sorted(inner + others)))
        if wrong := [name for name in inner if name.endswith(MANIFEST)]:
            raise UsageError(f"{current}/{wrong[0]}: is a folder, not a sweep's list; give it another name")
        linked = {name: os.path.islink(os.path.join(current, name)) for name in inner if name != SEARCH}
        inner[:] = sorted(linked, key=lambda name: (linked[name], name))
    return sorted(walked)


def _new(path: Path | str, visited: set[str]) -> bool:
    """Whether this file or folder was not visited before; marks it as visited."""
    before = len(visited)
    visited.add(os.path.realpath(path))
    return len(visited) > before


def _unpack(path: Path, collection: Collection, visited: set[str]) -> None:
    """Add the runs and plans of a packed file, without those whose own files exist too."""
    if not _new(path, visited):
        return
    shared: list[Any] = []
    for number, line in enumerate(files.read_text(path, str(path)).rstrip("\n").split("\n"), 1):
        place = f"{path}:{number}"
        record = files.parse_json(line, place)
        record = record if isinstance(record, dict) else {}
        if number == 1 and isinstance(record.get(shared_parts.SHARED), list):
            shared = record[shared_parts.SHARED]
            continue
        try:
            record = shared_parts.restored(record, shared, place)
        except RecursionError:
            raise UsageError(f"{place}: is damaged (nested too deeply); pack the runs again") from None
        plan, run = {"sweep": str, "content": dict}, {"folder": str, "result": dict, "epochs": list}
        check(record, plan if "sweep" in record else run, place)
        if "sweep" in record and not (path.parent / record["sweep"]).exists():
            _add_plan(collection, path.parent / record["sweep"], record["content"])
        elif "folder" in record and not (path.parent / record["folder"] / "result.json").exists():
            files.check_seal(record["result"], place)
            epochs = [epoch for epoch in record["epochs"] if _is_epoch({"kind": "epoch", **epoch})]
            collection.runs.append(Run(place, path.parent / record["folder"], record["result"], epochs))


def _add_plan(collection: Collection, path: Path, content: dict[str, Any]) -> None:
    check(content, {"name": str, "cells": list}, path)
    for cell in content["cells"]:
        check_cell(cell, path)
    collection.plans[path] = content


def check_cell(cell: Any, path: Path) -> None:
    """Refuse an entry of a sweep's list of cells that lacks what a table needs.

    Args:
        path: of the list, for error messages.
    Raises:
        UsageError: something is missing or of another type; the message names the file and the key.
    """
    shape = {"folder": str, "name": str, "command": str, "stage": str}
    unlearning = {"method": str, "paper_name": str, "model": str, "round": int, "needs": list}
    content = cell if isinstance(cell, dict) else {}
    check(content, shape | (unlearning if content.get("stage") == "unlearn" else {}), path)


def check(content: dict[str, Any], shape: dict[str, Any], path: Path | str) -> None:
    """Refuse content that lacks an entry of ``shape`` or has one of another type.

    Args:
        content: of a result file.
        shape: by key a type, a tuple of types, or the shape of a mapping. A key that ends in "?" may be absent.
        path: of the file, for error messages.
    Raises:
        UsageError: the content does not fit, or a text holds control characters; the message names file and key.
    """
    for key, kind in shape.items():
        name = key.removesuffix("?")
        if name not in content and name != key:
            continue
        if isinstance(kind, dict) and isinstance(content.get(name), dict):
            check(content[name], kind, path)
        elif isinstance(kind, dict) or name not in content or not isinstance(content[name], kind):
            hint = "give its command again"
            raise UsageError(f"{path}: is no whole result ({name} is missing or of another type); {hint}")
        elif kind is str and not content[name].isprintable():
            raise UsageError(f"{path}: is no result ({name} holds control characters)")


def read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if the file is missing, damaged or holds something else."""
    try:
        return read_whole(path)
    except UsageError:
        return {}


def read_whole(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if the file holds something else.

    Raises:
        UsageError: the file is missing or damaged.
    """
    content = files.read_json(path, str(path))
    return content if isinstance(content, dict) else {}


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """The records of epochs in a log file, in its order; empty if the file is missing. Damaged lines are skipped."""
    records: list[dict[str, Any]] = []
    try:
        lines = files.read_bytes(path, str(path)).decode(errors="replace").splitlines()
    except UsageError:
        return records
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and _is_epoch(record):
            records.append(record)
    return records


def _is_epoch(record: dict[str, Any]) -> bool:
    typed = isinstance(record.get("phase"), str) and isinstance(record.get("epoch"), int)
    return typed and record.get("kind") == "epoch"
