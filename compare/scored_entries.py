"""The generators to compare, each with its scores; one judge must have scored all. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compare.finished import check_count, command_of, result_of
from compare.model_kinds import GENERATING, folder_of
from evaluation import judged
from evaluation.judged import Judged
from report import runs
from utils import files
from utils.errors import UsageError
from utils.names import distinct

SCORES = "scores"  # subfolder of a run's folder in which its scores are looked for
MODEL, PIPELINE, JUDGE = "generator.pt", "generator", "judge.pt"  # what runs leave; a pipeline is a folder
MAKING = ("train", "forget")  # the kinds of runs that leave a generator
SHAPE = {
    "RA": runs.NUMBER,
    "judge": str,
    "judge_accuracy": runs.NUMBER,
    "split": {"digest": str},
    "scenario?": (dict, type(None)),
    "model": {"arch": str, "dataset": str},
    "config": {"data": {"dataset": str}, "settings": dict, "start": str},
}
MADE = {"split": {"digest": str}, "scenario?": (dict, type(None)), "model": {"arch": str}}


@dataclass(frozen=True, eq=False)
class Scored:
    """A generator's scores and the run that made it.

    Attributes:
        name: unique among the entries.
        folder: of the run that made the generator; of the scores if that run is unknown.
        place: the folder of the scores.
        result: content of the scores' ``result.json``.
        run: content of ``result.json`` of the run that made the generator; empty if it is unknown.
        judged: the judge's answers and some pictures.
    """

    name: str
    folder: Path
    place: Path
    result: dict[str, Any]
    run: dict[str, Any]
    judged: Judged = field(repr=False)

    @property
    def unlearned(self) -> bool:
        """Whether an unlearning method made it."""
        return self.run.get("config", {}).get("work") == "forget"

    @property
    def retrained(self) -> bool:
        """Whether it was trained from scratch without the forgotten classes."""
        return not self.unlearned and self.run.get("scenario") is not None

    @property
    def digest(self) -> str:
        """Digest of the split that judge and generator were trained on."""
        return self.result["split"]["digest"]

    @property
    def forgotten(self) -> tuple[int, ...]:
        """Numbers of the forgotten classes."""
        classes = (self.result.get("scenario") or {}).get("class")
        return () if classes is None else tuple(classes) if isinstance(classes, list) else (classes,)

    def command(self, scores: bool = False) -> str:
        """The command of its run, or of its scores; empty if ``command.txt`` is missing."""
        return command_of(self.place if scores else self.folder)


def read(places: Sequence[str]) -> list[Scored]:
    """The generators to compare, in the order given.

    Args:
        places: folders of ``main_generate.py train`` or ``forget`` with scores in ``scores/``, or of ``score``; also
            generators in these folders.
    Raises:
        UsageError: there are fewer than two; one is unfinished, is given twice, has no scores, or has scores of another
            generator, split or scenario; or they are of several data sets, splits, judges or forgotten classes. The
            message names the run.
    """
    entries = [_entry(folder_of(place)) for place in places]
    check_count(places)
    seen: set[Path] = set()
    for entry in entries:
        if entry.place.resolve() in seen:
            raise UsageError(f"{entry.folder}: is given twice; leave one of the two out")
        seen.add(entry.place.resolve())
        _check_same(entries, entry)
    return _with_names(entries)


def _entry(folder: Path) -> Scored:
    named = _result(folder)
    work = named["config"]["work"]
    if work == "score":
        return _of_scores(folder, named)
    if work not in MAKING:
        raise UsageError(f"{folder}: is of {GENERATING} {work}; give runs of train and forget that have scores")
    runs.check(named, MADE, folder / "result.json")
    place, model = folder / SCORES, _generator(folder, named)
    if not (place / "result.json").exists():
        command = f"{GENERATING} score --model {model} --save_dir {place}"
        raise UsageError(f"{folder}: has no scores in {place}; {command} ... leaves them")
    result = _result(place)
    runs.check(result, SHAPE, place / "result.json")
    if not model.exists():
        why = f"without it nothing says that the scores in {place} are of this run"
        raise UsageError(
            f"{folder}: lacks {model.name}, and {why}; bring it back, or give {place} to show scores alone"
        )
    if _digest(model) != result["config"]["start"]:
        raise UsageError(f"{place}: are scores of another generator than {model}; give their command again")
    return _with_run(folder, place, result, named)


def _of_scores(place: Path, result: dict[str, Any]) -> Scored:
    """An entry for a folder of scores, with the run in the folder above if it made their generator."""
    runs.check(result, SHAPE, place / "result.json")
    home = place.parent
    try:
        run = _result(home)
        runs.check(run, MADE, home / "result.json")
    except UsageError:  # no run, or none that is known: the scores stand alone
        run = {}
    if run and run["config"]["work"] in MAKING and _digest(_generator(home, run)) == result["config"]["start"]:
        return _with_run(home, place, result, run)
    return Scored("", place, place, result, {}, judged.read(place))


def _with_run(folder: Path, place: Path, result: dict[str, Any], run: dict[str, Any]) -> Scored:
    """An entry of scores and run, which must share the split, and the scenario if the run has one."""
    both = {"split": (run["split"]["digest"], result["split"]["digest"], "--seed, --split_seed or --split")}
    if run.get("scenario"):
        both["scenario"] = _scenario(run), _scenario(result), "--forget"
    for what, (own, other, flags) in both.items():
        if own != other:
            difference = f"are scores of {what} {other}, but {folder} is of {own}"
            raise UsageError(f"{place}: {difference}; score it with the {flags} of its run")
    return Scored("", folder, place, result, run, judged.read(place))


def _scenario(result: dict[str, Any]) -> str:
    """The scenario without its description, "class 3" for example; "none" if nothing is forgotten."""
    scenario = sorted((result.get("scenario") or {}).items())
    return ", ".join(f"{key} {value}" for key, value in scenario if key != "words" and value is not None) or "none"


def _generator(folder: Path, run: dict[str, Any]) -> Path:
    """The generator that a run of ``train`` or ``forget`` leaves: a file, or the folder of a pipeline."""
    return folder / (MODEL if run["model"]["arch"] == "ddpm" else PIPELINE)


def _digest(model: Path) -> str | None:
    """The digest by which ``score`` identifies a generator; None if it does not exist."""
    if model.is_dir():
        return files.folder_sha256(model)
    return files.sha256(model) if model.exists() else None


def _result(folder: Path) -> dict[str, Any]:
    result = result_of(folder, (GENERATING,))
    runs.check(result, {"config": {"work": str}}, folder / "result.json")
    return result


def _check_same(entries: Sequence[Scored], entry: Scored) -> None:
    """Refuse scores of other images or forgotten classes than the first entry's, or by another judge."""
    first = entries[0]
    same = {
        "data set": lambda one: one.result["model"]["dataset"],
        "--input_size": lambda one: one.result["config"]["data"].get("input_size"),
        "split": lambda one: one.digest,
        "forgotten classes": lambda one: ",".join(map(str, one.forgotten)) or "none",
    }
    for what, of in same.items():
        if of(entry) != of(first):
            difference = f"is of {what} {of(entry)}, {first.folder} of {of(first)}"
            raise UsageError(f"{entry.folder}: {difference}; compare scores that have these in common")
    if entry.result["judge"] != first.result["judge"]:
        difference = f"was judged by {entry.result['judge']}, {first.folder} by {first.result['judge']}"
        file = _judge(first.result["judge"], entries)
        raise UsageError(f"{entry.folder}: {difference}; score it with --judge {file}")


def _judge(name: str, entries: Sequence[Scored]) -> str:
    """The path of a judge if one of these scores left it, else words for an error message."""
    for path in (entry.place / JUDGE for entry in entries):
        if path.is_file() and files.sha256(path).startswith(name):
            return str(path)
    return "and the file of that judge"


def _with_names(entries: Sequence[Scored]) -> list[Scored]:
    """The entries named by their methods, with folder or number added where needed to be unique."""
    names = [_method(entry) for entry in entries]
    unique = distinct(names, [entry.folder.name for entry in entries])
    return [replace(entry, name=name) for name, entry in zip(unique, entries)]


def _method(entry: Scored) -> str:
    if entry.unlearned:
        return entry.run.get("paper_name") or entry.run["method"]
    return "Retrain" if entry.retrained else "Original" if entry.run else _alone(entry.place)


def _alone(place: Path) -> str:
    """A name for scores without a run: their folder's name, with the folder above if it is just "scores"."""
    place = place.absolute()
    return f"{place.parent.name}/{SCORES}" if place.name == SCORES else place.name
