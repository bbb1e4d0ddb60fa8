"""From a sweep's file to its cells: one plain command line each."""

from __future__ import annotations

import importlib
import itertools
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report.row_names import ADAPTED
from sweep.repeats import FORGETTING, SCRIPTS, Repeat, read_by, repeats
from sweep.spec import LAST, Flags, Spec, reference
from utils.errors import UsageError
from utils.names import lookup, nearest

if TYPE_CHECKING:
    from trainer.pipeline import Script

PROJECT = Path(__file__).resolve().parent.parent
READ = ("--mask", "--checkpoint", "--reference_model")  # flags that name files of other cells
RESERVED = {"train": ("script", "from"), "method": ("unlearn",)}  # keys that are no flags


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        name: its folder below the sweep's, "seed1/class/dense/FT".
        folder: where it writes, its ``--save_dir``.
        script: a file in the project's root.
        argv: the command line after the script.
        needs: names of the cells whose files it reads.
        facts: ``stage`` ("train" or "unlearn"), ``seed``, ``setting``, ``model``, ``round``, ``scenario``, ``method``,
            ``paper_name``.
    """

    name: str
    folder: Path
    script: str
    argv: tuple[str, ...]
    needs: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def command(self) -> str:
        """What to type, in the folder that the sweep was started in."""
        script, directory = PROJECT / self.script, Path.cwd()
        typed = script.relative_to(directory) if script.is_relative_to(directory) else script
        return shlex.join(["python", str(typed), *self.argv])

    def task(self, by_name: dict[str, Cell]) -> dict[str, Any]:
        """What a process is told that runs the cell; it waits for no file of cells that this one needs."""
        read = [word for flag, word in zip(self.argv, self.argv[1:]) if flag in READ]
        folders = [by_name[name].folder for name in self.needs]
        inputs = [path for path in read if any(folder in Path(path).parents for folder in folders)]
        return {"script": self.script, "argv": self.argv, "folder": str(self.folder), "inputs": inputs}


def cells(spec: Spec, strict: bool = True) -> list[Cell]:
    """All runs, each behind those that it needs, every command line checked.

    Args:
        strict: refuse overrides that match no run.
    Raises:
        UsageError: names the file, the cell and what its script says of a flag.
    """
    cells: dict[str, Cell] = {}
    used: set[int] = set()
    settings: list[str | None] = [*spec.settings] or [None]
    for setting, repeat in itertools.product(settings, repeats(spec)):
        place = Place(spec, setting, repeat, used)
        trained = cells.keys() & {f"{place.path}/{label}" for label in _labels(spec)}
        for cell in itertools.chain(() if trained else _trainings(place), _unlearnings(place)):
            if cell.name in cells:
                raise UsageError(f"{spec.file}: {cell.name} comes up twice; give one of the two another label")
            cells[cell.name] = cell
    for number, override in enumerate(spec.overrides):
        if strict and number not in used:
            raise UsageError(f"{spec.file}: override {number + 1}: matches no run{_hint(spec, override)}")
    for cell in cells.values():
        check(spec, cell)
    return sorted(cells.values(), key=lambda cell: stage(cell, cells))


def _labels(spec: Spec) -> list[str]:
    """The labels of all trainings, each grid written out."""
    return [label for base, entry in spec.train.items() for label, _ in variants(base, entry)]


@dataclass(frozen=True)
class Place:
    """One setting and repeat of a sweep; ``used`` collects the overrides that matched."""

    spec: Spec
    setting: str | None
    repeat: Repeat
    used: set[int]

    @property
    def path(self) -> str:
        """The folder of its trainings."""
        return f"{self.setting}/{self.repeat.trained}" if self.setting else self.repeat.trained

    @property
    def unlearned(self) -> str:
        """The folder of what is unlearned."""
        return f"{self.path}/{self.repeat.unlearned}" if self.repeat.unlearned else self.path

    def facts(self, stage: str, flags: Flags) -> dict[str, Any]:
        """What is said of each of its cells."""
        return {**self.repeat.labels, "stage": stage, "seed": flags.get("seed"), "setting": self.setting}

    def flags(self, script: str, own: Flags, axes: dict[str, str], given: Flags) -> Flags:
        """The flags of a cell: of the file, its setting, its own, of the overrides that match, of its repeat.

        Args:
            given: the last.
        """
        judged = self.spec.population and "save_outputs" in read_by(script)  # by population attacks
        flags: Flags = {"save_outputs": True} if judged else {}
        flags |= {**self.spec.flags, **(self.spec.settings[self.setting] if self.setting else {}), **own}
        for override in self._matching(axes):
            flags |= override.get("flags") or {}
        return {**flags, **given}

    def left_out(self, axes: dict[str, str]) -> bool:
        """Whether the last override that matches a cell has ``flags: false``.

        Raises UsageError: every other run is compared with it.
        """
        matching = self._matching(axes)
        out = bool(matching) and matching[-1].get("flags") is False
        if out and axes["method"] == self.spec.reference_model:
            reason = "every other run is compared with it (reference_model)"
            raise UsageError(f"{self.spec.file}: overrides: {axes['method']} cannot be left out: {reason}")
        return out

    def _matching(self, axes: dict[str, str]) -> list[dict[str, Any]]:
        """The overrides that name a cell, in the order of the file."""
        labels, matching = {"setting": self.setting or "", **self.repeat.labels, **axes}, []
        for number, override in enumerate(self.spec.overrides):
            asked = {name: value for name, value in override.items() if name != "flags"}
            if all(name in labels and _matches(labels[name], value) for name, value in asked.items()):
                self.used.add(number)
                matching.append(override)
        return matching


def _matches(label: str, asked: Any) -> bool:
    """Whether one of the asked patterns is the label, or the part of it before its grid values."""
    patterns = [str(each) for each in (asked if isinstance(asked, list) else [asked])]
    return any(fnmatchcase(label, pattern) or label.startswith(f"{pattern}-") and "=" in label for pattern in patterns)


def variants(label: str, entry: Flags) -> Iterator[tuple[str, Flags]]:
    """An entry once for every combination of its lists; the label says which: "FT-unlearn_lr=0.1"."""
    lists = {name: value for name, value in entry.items() if isinstance(value, list)}
    for values in itertools.product(*lists.values()):
        combination = dict(zip(lists, values))
        parts = [f"{name}={str(value).replace('/', '_')}" for name, value in combination.items()]
        yield "-".join([label, *parts]), {**entry, **combination}


def as_typed(flags: Flags) -> list[str]:
    """Flags as they are typed."""
    typed = []
    for name, value in flags.items():
        if value is True:
            typed.append(f"--{name}")
        elif value is not None and value is not False:
            typed += [f"--{name}", str(value)]
    return typed


def _trainings(place: Place) -> Iterator[Cell]:
    spec = place.spec
    for base, entry in spec.train.items():
        for label, own in variants(base, entry):
            named = {key: value for key, value in own.items() if key not in RESERVED["train"]}
            flags = place.flags(own["script"], named, {"training": label}, place.repeat.training)
            needs: tuple[str, ...] = ()
            if "from" in own:
                source, round_ = reference(spec, own["from"], f"train: {base}: from")
                if len(list(variants(source, spec.train[source]))) > 1:
                    raise UsageError(f"{spec.file}: train: {base}: from: {source} is a grid of several trainings")
                needs = (f"{place.path}/{source}",)
                flags |= {"resume": True, "checkpoint": spec.folder / needs[0] / f"{round_}checkpoint.pth.tar"}
            name = f"{place.path}/{label}"
            facts = {**place.facts("train", flags), "training": label}
            typed = (*as_typed(flags), "--save_dir", str(spec.folder / name))
            yield Cell(name, spec.folder / name, own["script"], typed, needs, facts)


def _unlearnings(place: Place) -> Iterator[Cell]:
    from unlearn import registry

    spec = place.spec
    for model, checkpoint in spec.models.items():
        training, round_ = reference(spec, str(checkpoint).removesuffix(LAST), f"models: {model}")
        weights = f"{round_}checkpoint.pth.tar" if str(checkpoint).endswith(LAST) else f"{round_}model_SA_best.pth.tar"
        for trained, _ in variants(training, spec.train[training]):
            column = model + trained.removeprefix(training)
            for (scenario, forget), (base, entry) in itertools.product(spec.scenarios.items(), spec.methods.items()):
                for method, own in variants(base, entry):
                    unlearn = own.get("unlearn", base)
                    axes = {"model": column, "scenario": scenario, "method": method}
                    if place.left_out(axes):
                        continue
                    named = {key: value for key, value in own.items() if key not in RESERVED["method"]}
                    flags = place.flags(FORGETTING, {**forget, **named}, axes, place.repeat.unlearning)
                    mask = spec.folder / place.path / trained / weights
                    name = f"{place.unlearned}/{scenario}/{column}/{method}"
                    facts = {**place.facts("unlearn", flags), **axes, "round": round_}
                    paper = registry.get(unlearn).paper if unlearn in registry.names() else unlearn
                    facts |= {"unlearn": unlearn, "paper_name": paper + (ADAPTED if flags.get("lora") else "")}
                    needs = [f"{place.path}/{trained}"]
                    if spec.reference_model not in (None, method):
                        needs.append(f"{place.unlearned}/{scenario}/{column}/{spec.reference_model}")
                        flags["reference_model"] = spec.folder / needs[1] / _checkpoint(spec, str(spec.reference_model))
                    typed = ("--mask", str(mask), "--unlearn", unlearn, *as_typed(flags), "--save_dir")
                    place_of = spec.folder / name
                    yield Cell(name, place_of, FORGETTING, (*typed, str(place_of)), tuple(needs), facts)


def _checkpoint(spec: Spec, label: str) -> str:
    """The file name of the model that others are compared with, of the method of this label."""
    from unlearn import registry

    method = registry.get(spec.methods[label].get("unlearn", label))
    if not method.fresh:
        reason = "must be a method that trains anew, retrain for example"
        raise UsageError(f"{spec.file}: reference_model {label}: {reason}")
    return f"{method.name}checkpoint.pth.tar"


def script_of(cell: Cell) -> Script:
    """The cell's script, as its file declares it."""
    return importlib.import_module(cell.script.removesuffix(".py")).SCRIPT


def check(spec: Spec, cell: Cell) -> None:
    """Have the cell's script read its command line.

    Raises UsageError: the script refuses it, or has no use for a flag that was meant for this very cell.
    """
    try:
        lookup(cell.script, SCRIPTS, "script")
        parsed = script_of(cell).parse(list(cell.argv), read_files=False)
        idle = {word.removeprefix("--") for word in parsed.unread} & _meant(spec, cell)
        if idle:
            raise UsageError(f"--{sorted(idle)[0]}: {cell.facts.get('unlearn', cell.script)} does not read it")
    except UsageError as error:
        raise UsageError(f"{spec.file}: {cell.name}: {error}") from error


def _meant(spec: Spec, cell: Cell) -> set[str]:
    """Flags that were given to this training or method by name, not to all commands."""
    entries, kind = (spec.train, "training") if cell.facts["stage"] == "train" else (spec.methods, "method")
    label = cell.facts[kind]
    own = {name for base, entry in entries.items() if _matches(label, base) for name in entry}
    for override in spec.overrides:
        if kind in override and _matches(label, override[kind]):
            own.update(override.get("flags") or {})
    return own - {*RESERVED["train"], *RESERVED["method"]}


def _hint(spec: Spec, override: dict[str, Any]) -> str:
    """The nearest label to one that is not there."""
    labels: dict[str, Collection[str]] = {
        "setting": spec.settings,
        "training": spec.train,
        "model": spec.models,
        "scenario": spec.scenarios,
        "method": spec.methods,
    }
    for repeat in repeats(spec):
        for name, value in repeat.labels.items():
            labels[name] = [*labels.get(name, ()), value]
    for name, value in override.items():
        for each in value if isinstance(value, list) else [value]:
            if name != "flags" and str(each) not in labels[name]:
                return f" ({name} {each}{nearest(str(each), labels[name])})"
    return ""


def stage(cell: Cell, by_name: dict[str, Cell]) -> int:
    """1 for a cell that needs no other; one more than that of the last one needed for the rest."""
    return 1 + max((stage(by_name[name], by_name) for name in cell.needs), default=0)


def of_stage(cells: list[Cell], number: int | None) -> list[Cell]:
    """The cells of one stage, or all of them; UsageError if there are less stages."""
    by_name = {cell.name: cell for cell in cells}
    last = max(stage(cell, by_name) for cell in cells)
    if number is not None and number > last:
        raise UsageError(f"--stage {number}: the last stage is {last}")
    return [cell for cell in cells if number in (None, stage(cell, by_name))]
