"""The generators to compare, each by its scores, which one judge gave. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compare.model_kinds import GENERATING, folder_of
from evaluation import judged
from evaluation.judged import Judged
from report import runs
from utils import files
from utils.errors import UsageError

SCORES = "scores"  # the folder in a run's own where its scores are looked for
MODEL = "generator.pt"
MAKING = ("train", "forget")  # what a run does that leaves a generator
SHAPE = {
    "RA": runs.NUMBER,
    "judge": str,
    "judge_accuracy": runs.NUMBER,
    "split": {"digest": str},
    "model": {"arch": str, "dataset": str},
    "config": {"data": {"dataset": str}, "settings": dict},
}


@dataclass(frozen=True, eq=False)
class Scored:
    """A generator's scores and the run that made it.

    Attributes:
        name: unlike that of any other.
        folder: of the run as it was named.
        place: the folder of the scores.
        result: of the scores, as ``result.json`` has it.
        run: that of the run that made the generator; empty where only scores were named.
        judged: every picture's answer.
    """

    name: str
    folder: Path
    place: Path
    result: dict[str, Any]
    run: dict[str, Any]
    judged: Judged = field(repr=False)

    @property
    def unlearned(self) -> bool:
        """Whether a method made it forget."""
        return self.run.get("config", {}).get("work") == "forget"

    @property
    def retrained(self) -> bool:
        """Whether it was trained without what is forgotten."""
        return not self.unlearned and self.run.get("scenario") is not None

    @property
    def digest(self) -> str:
        """Of the split that judge and generator were trained on."""
        return self.result["split"]["digest"]

    @property
    def forgotten(self) -> tuple[int, ...]:
        """The classes that are forgotten."""
        found = (self.result.get("scenario") or {}).get("class")
        return () if found is None else tuple(found) if isinstance(found, list) else (found,)

    def command(self, scores: bool = False) -> str:
        """The command of its run, or of its scores; empty if there is no file of it."""
        path = (self.place if scores else self.folder) / "command.txt"
        return files.read_text(path, str(path)).strip() if path.exists() else ""


def read(places: Sequence[str]) -> list[Scored]:
    """The generators of runs' folders, in the order given.

    A folder is that of ``main_generate.py train`` or ``forget`` with its scores in ``scores/``, or that of ``score``.
    Raises:
        UsageError: there are fewer than two, one is unfinished, has no scores or is given twice, or they are of several
            data sets, splits, judges or forgotten classes. Names the run.
    """
    found = [_entry(folder_of(place)) for place in places]
    if len(found) < 2:
        raise UsageError(f"{places[0]}: is one run; give two or more, as the unlearned and the retrained model's")
    seen: set[Path] = set()
    for entry in found:
        if entry.place.resolve() in seen:
            raise UsageError(f"{entry.folder}: is given twice; leave one of the two out")
        seen.add(entry.place.resolve())
        _check_same(found[0], entry)
    return _with_names(found)


def _entry(folder: Path) -> Scored:
    named = _result(folder)
    work = named.get("config", {}).get("work")
    if work not in (*MAKING, "score"):
        raise UsageError(f"{folder}: is of {GENERATING} {work}; give runs of train and forget that have scores")
    place = folder if work == "score" else folder / SCORES
    if not (place / "result.json").exists():
        told = f"{GENERATING} score --model {folder / MODEL} --save_dir {place}"
        raise UsageError(f"{folder}: has no scores in {place}; {told} ... leaves them")
    result = named if work == "score" else _result(place)
    runs.check(result, SHAPE, place / "result.json")
    run = named if work != "score" else _result(folder.parent) if _made_there(folder.parent, result) else {}
    model = folder / MODEL
    if work != "score" and model.exists() and files.sha256(model) != result["config"].get("start"):
        raise UsageError(f"{place}: are scores of another generator than {model}; give their command again")
    home = folder.parent if work == "score" and run else folder
    return Scored("", home, place, result, run, judged.read(place))


def _result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    if not path.exists():
        raise UsageError(f"{folder}: no result.json there; give the folder of a finished run")
    result = runs.read_whole(path)
    if result.get("script") != GENERATING:
        raise UsageError(f"{path}: is no result of {GENERATING}; give one of its runs")
    if result.get("status") != "done":
        raise UsageError(f"{path}: its run {result.get('status', 'did not finish')}; give its command again")
    runs.check(result, {"config": {"work": str}}, path)
    return result


def _made_there(folder: Path, result: dict[str, Any]) -> bool:
    """Whether the generator of some scores was made in a folder."""
    model, made = folder / MODEL, runs.read(folder / "result.json")
    work = (made.get("config") or {}).get("work")
    return work in MAKING and model.exists() and files.sha256(model) == result["config"].get("start")


def _check_same(first: Scored, entry: Scored) -> None:
    """Refuse scores that another judge gave, or that are of other images or classes."""
    same = {
        "data set": lambda one: one.result["model"]["dataset"],
        "--input_size": lambda one: one.result["config"]["data"].get("input_size"),
        "split": lambda one: one.digest,
        "forgotten classes": lambda one: ",".join(map(str, one.forgotten)) or "none",
    }
    for what, of in same.items():
        if of(entry) != of(first):
            said = f"is of {what} {of(entry)}, {first.folder} of {of(first)}"
            raise UsageError(f"{entry.folder}: {said}; compare scores that have these in common")
    if entry.result["judge"] != first.result["judge"]:
        said = f"was judged by {entry.result['judge']}, {first.folder} by {first.result['judge']}"
        raise UsageError(f"{entry.folder}: {said}; score it with --judge {first.place / 'judge.pt'}")


def _with_names(entries: Sequence[Scored]) -> list[Scored]:
    """Each under its method's name, with what tells it from others of that name."""
    names = [_method(entry) for entry in entries]
    counts = Counter(names)
    twice = [f"{name} [{entry.folder.name}]" if counts[name] > 1 else name for name, entry in zip(names, entries)]
    more = Counter(twice)
    once = [f"{name} [{number}]" if more[name] > 1 else name for number, name in enumerate(twice, 1)]
    return [replace(entry, name=name) for name, entry in zip(once, entries)]


def _method(entry: Scored) -> str:
    if entry.unlearned:
        return entry.run.get("paper_name") or entry.run["method"]
    return "Retrain" if entry.retrained else "Original" if entry.run else entry.folder.name
