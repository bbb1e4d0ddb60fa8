"""The classifiers to compare: checkpoints of finished runs on one data set and split. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compare.finished import check_count, command_of, result_of
from compare.model_kinds import folder_of
from dataset import split_file
from report import runs
from utils import files
from utils.errors import UsageError
from utils.names import distinct

FORGET, TRAINING = "main_forget.py", ("main_imp.py", "main_synflow.py")
ORIGINAL = "Original"  # a model that has unlearned nothing
SAME = (("dataset", "data set"), ("input_size", "--input_size"))  # entries of ``config.data`` that must be equal


@dataclass(frozen=True)
class Entry:
    """A model and the run that made it.

    Attributes:
        name: unique among the entries.
        folder: of the run.
        path: its checkpoint; if adapters are stored separately, that of the frozen model.
        adapter: the folder of separately stored adapters, or None.
        result: content of the run's ``result.json``.
    """

    name: str
    folder: Path
    path: Path
    adapter: Path | None
    result: dict[str, Any]

    @property
    def unlearned(self) -> bool:
        """Whether a run of ``main_forget.py`` made it: by unlearning, or by retraining without the forget set."""
        return self.result["script"] == FORGET

    @property
    def retrained(self) -> bool:
        """Whether it was retrained without the forget set."""
        return self.result.get("method") == "retrain"

    @property
    def digest(self) -> str:
        """Digest of the split that its original model was trained on."""
        split = self.result["split"]
        return split["base_digest"] if self.unlearned else split["digest"]

    @property
    def data(self) -> dict[str, Any]:
        """The run's flags of data: name of the data set, size of its images and more."""
        return self.result["config"]["data"]

    @property
    def superclasses(self) -> dict[str, Any] | None:
        """The superclasses that the model learned: "names", and "subclasses" with their superclasses; None for none."""
        return self.result["config"].get("superclasses")

    @property
    def command(self) -> str:
        """The command of its run; empty if ``command.txt`` is missing."""
        return command_of(self.folder)


def read(places: Sequence[str]) -> list[Entry]:
    """The models to compare, in the order given.

    Args:
        places: folders of runs, or checkpoints in them. For the folder of a training, the checkpoint from which the
            other runs unlearn is taken, or else that of the last round.
    Raises:
        UsageError: there are fewer than two; one is unfinished, lacks its checkpoint or is given twice; none is of
            ``main_forget.py``, which says what is forgotten; or they are of several data sets or splits. The message
            names the run.
    """
    entries = [_entry(Path(place).expanduser(), places) for place in places]
    check_count(places)
    unlearned = [entry for entry in entries if entry.unlearned]
    if not unlearned:
        raise UsageError(f"{places[0]}: is of a training; give a run of {FORGET} too, which says what is forgotten")
    seen: dict[Path, Entry] = {}
    for entry in entries:
        if seen.setdefault(entry.path.resolve(), entry) is not entry:
            raise UsageError(f"{entry.path}: is given twice; leave one of the two out")
        _check_same(unlearned[0], entry)
    return _with_names(entries)


def split_of(entries: Sequence[Entry]) -> Path:
    """The split file with the sets that all entries share.

    Raises:
        UsageError: no run has left one.
    """
    unlearned = [entry for entry in entries if entry.unlearned]
    for entry in unlearned:
        if (entry.folder / split_file.NAME).exists():
            return entry.folder / split_file.NAME
    place = unlearned[0].folder / split_file.NAME
    raise UsageError(f"{place}: is not there, which says who is forgotten; give the run's command again")


def _entry(place: Path, places: Sequence[str]) -> Entry:
    folder = folder_of(place)
    path, result = folder / "result.json", result_of(folder, (FORGET, *TRAINING))
    unlearned = result["script"] == FORGET
    runs.check(result, runs.SHAPES[FORGET] if unlearned else runs.TRAINING, path)
    shape = {"split": {"digest": str, **({"base_digest": str} if unlearned else {})}}
    above = {"superclasses": {"names": list, "subclasses": dict}} if "superclasses" in result.get("config", {}) else {}
    runs.check(result, {**shape, "config": {"data": {"dataset": str}, **above}}, path)
    own, adapter = _files(folder, result) if unlearned else (_round(folder, result, places), None)
    file = own if place == folder else place
    missing = next((each for each in (file, adapter) if each is not None and not each.exists()), None)
    if missing is not None:
        raise UsageError(f"{missing}: is not there; copy it beside its result.json, or give the run's command again")
    return Entry("", folder, file, adapter, result)


def _files(folder: Path, result: dict[str, Any]) -> tuple[Path, Path | None]:
    """The model's checkpoint, and the folder of separately stored adapters, if any."""
    from unlearn import registry

    names = registry.get(result["method"]).outputs
    apart = (result.get("adapters") or {}).get("merge") == "none"
    return (folder / names[3], folder / names[4]) if apart else (folder / names[0], None)


def _round(folder: Path, result: dict[str, Any], places: Sequence[str]) -> Path:
    """The checkpoint of a training from which other runs started, or else its last round's."""
    last = folder / f"{result['rounds'][-1]['round']}model_SA_best.pth.tar"
    others = [runs.read(Path(place).expanduser() / "result.json") for place in places]
    digests = {(other.get("config") or {}).get("checkpoint") for other in others}
    for path in sorted(folder.glob("*model_SA_best.pth.tar")):
        if path != last and files.sha256(path) in digests:
            return path
    return last


def _check_same(first: Entry, entry: Entry) -> None:
    """Refuse a model of another data set, split or forget set than the first unlearned one."""
    for key, what in SAME:
        ours, theirs = entry.data.get(key), first.data.get(key)
        if ours != theirs:
            difference = f"is of {what} {_words(ours)}, {first.folder} of {_words(theirs)}"
            raise UsageError(f"{entry.folder}: {difference}; compare models of one data set")
    if entry.superclasses != first.superclasses:
        ours, theirs = (
            ",".join(each.superclasses["names"]) if each.superclasses else "none" for each in (entry, first)
        )
        difference = f"is of superclasses {ours}, {first.folder} of {theirs}"
        if ours == theirs:
            difference = f"divides the classes among {ours} otherwise than {first.folder}"
        raise UsageError(f"{entry.folder}: {difference}; compare models of the same --superclasses")
    if entry.digest != first.digest:
        difference = f"was trained on split {entry.digest}, {first.folder} on {first.digest}"
        raise UsageError(f"{entry.folder}: {difference}; compare runs of the same data and --split_seed")
    if entry.unlearned and entry.result["split"]["digest"] != first.result["split"]["digest"]:
        ours, theirs = (each.result["scenario"]["words"] for each in (entry, first))
        difference = f"is told to {_forgets(ours)}, {first.folder} to {_forgets(theirs)}"
        if ours == theirs:
            difference = f"forgets other images than {first.folder}, which is also told to {_forgets(ours)}"
        raise UsageError(f"{entry.folder}: {difference}; compare runs of the same --forget and --seed")


def _words(value: Any) -> str:
    return "its own size" if value is None else str(value)


def _forgets(words: str) -> str:
    return words if words.startswith("forget") else f"forget {words}"


def _with_names(entries: Sequence[Entry]) -> list[Entry]:
    """The entries named by their methods, with sparsity, folder or number added where needed to be unique."""
    names = [entry.result["paper_name"] if entry.unlearned else ORIGINAL for entry in entries]
    sparsities = {_sparsity(entry) for entry in entries}
    if len(sparsities) > 1:
        names = [f"{name} ({_sparsity(entry)})" for name, entry in zip(names, entries)]
    unique = distinct(names, [entry.folder.name for entry in entries])
    return [replace(entry, name=name) for name, entry in zip(unique, entries)]


def _sparsity(entry: Entry) -> str:
    """The sparsity in words, "dense" or "95 % sparse" for example."""
    if entry.unlearned:
        sparsity = entry.result["model"]["sparsity"]
    else:
        number = re.match(r"\d+", entry.path.name)
        rounds = {str(one["round"]): one for one in entry.result["rounds"]}
        sparsity = 1 - rounds.get(number[0] if number else "", entry.result["rounds"][-1])["density"]
    return f"{100 * sparsity:.3g} % sparse" if sparsity else "dense"
