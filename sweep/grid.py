"""Expands a sweep's grid to its cells, each of which is one command line."""

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
RESERVED = {"train": ("script", "from"), "method": ("unlearn",)}  # keys of entries that are not flags


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        name: its folder relative to the sweep's, "seed1/class/dense/FT" for example.
        folder: where it writes, its ``--save_dir``.
        script: a file in the project's root, "main_forget.py" for example.
        argv: the command line after the script. Its last two words are ``--save_dir`` and the folder.
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
        """The shell command that makes this run by hand, from the current folder."""
        script, directory = PROJECT / self.script, Path.cwd()
        typed = script.relative_to(directory) if script.is_relative_to(directory) else script
        return shlex.join(["python", str(typed), *self.argv])

    def task(self, by_name: dict[str, Cell]) -> dict[str, Any]:
        """The task for the process that runs the cell, see ``sweep.serve``.

        Its ``inputs`` are the files that the cell reads and cells which it needs write. The process does not wait for
        them: without one the cell ends with ``WAITING``.

        Args:
            by_name: all cells of the sweep.
        """
        read = [word for flag, word in zip(self.argv, self.argv[1:]) if flag in READ]
        folders = [by_name[name].folder for name in self.needs]
        inputs = [path for path in read if any(folder in Path(path).parents for folder in folders)]
        return {"script": self.script, "argv": self.argv, "folder": str(self.folder), "inputs": inputs}


def cells(spec: Spec, strict: bool = True) -> list[Cell]:
    """All runs of a sweep, each after those that it needs. Every command line has been checked by its script.

    Args:
        strict: refuse overrides that match no run.
    Raises:
        UsageError: two runs have one name, an override matches none, or a script refuses a command line; the message
            names the file and the run.
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
    """The labels of all trainings, with a grid's entry expanded to one label per combination."""
    return [label for base, entry in spec.train.items() for label, _ in variants(base, entry)]


@dataclass(frozen=True)
class Place:
    """One setting and repeat of a sweep.

    Attributes:
        setting: its label; None if the file has no ``settings``.
        used: indices of the overrides that matched a cell so far. All places of a sweep share and extend this set.
    """

    spec: Spec
    setting: str | None
    repeat: Repeat
    used: set[int]

    @property
    def path(self) -> str:
        """The folder of its trainings, relative to the sweep's."""
        return f"{self.setting}/{self.repeat.trained}" if self.setting else self.repeat.trained

    @property
    def unlearned(self) -> str:
        """The folder of its unlearning runs, relative to the sweep's."""
        return f"{self.path}/{self.repeat.unlearned}" if self.repeat.unlearned else self.path

    def facts(self, stage: str, flags: Flags) -> dict[str, Any]:
        """The part of ``Cell.facts`` that all its cells of a stage share; ``seed`` is read from the cell's flags."""
        return {**self.repeat.labels, "stage": stage, "seed": flags.get("seed"), "setting": self.setting}

    def flags(self, script: str, own: Flags, axes: dict[str, str], given: Flags) -> Flags:
        """The flags of a cell. Later sources take precedence: file, setting, own entry, overrides, repeat.

        Args:
            script: that the cell runs, "main_forget.py" for example.
            own: flags of the training's entry, or of the scenario's and the method's.
            axes: the cell's labels by axis ("training", or "model", "scenario" and "method"), which overrides match.
            given: flags of the repeat, seeds for example.
        """
        judged = self.spec.population and "save_outputs" in read_by(script)  # population attacks read outputs.npz
        flags: Flags = {"save_outputs": True} if judged else {}
        flags |= {**self.spec.flags, **(self.spec.settings[self.setting] if self.setting else {}), **own}
        for override in self._matching(axes):
            flags |= override.get("flags") or {}
        return {**flags, **given}

    def left_out(self, axes: dict[str, str]) -> bool:
        """Whether the last override that matches a cell has ``flags: false``.

        Raises:
            UsageError: the cell is of the ``reference_model``, with which every other run is compared.
        """
        matching = self._matching(axes)
        out = bool(matching) and matching[-1].get("flags") is False
        if out and axes["method"] == self.spec.reference_model:
            reason = "every other run is compared with it (reference_model)"
            raise UsageError(f"{self.spec.file}: overrides: {axes['method']} cannot be left out: {reason}")
        return out

    def _matching(self, axes: dict[str, str]) -> list[dict[str, Any]]:
        """The overrides that match a cell's labels, in the order of the file. Their indices are added to ``used``."""
        labels, matching = {"setting": self.setting or "", **self.repeat.labels, **axes}, []
        for number, override in enumerate(self.spec.overrides):
            asked = {name: value for name, value in override.items() if name != "flags"}
            if all(name in labels and _matches(labels[name], value) for name, value in asked.items()):
                self.used.add(number)
                matching.append(override)
        return matching


def _matches(label: str, asked: Any) -> bool:
    """Whether one of the asked patterns matches the label, or is the part of it before its grid values."""
    patterns = [str(each) for each in (asked if isinstance(asked, list) else [asked])]
    return any(fnmatchcase(label, pattern) or label.startswith(f"{pattern}-") and "=" in label for pattern in patterns)


def variants(label: str, entry: Flags) -> Iterator[tuple[str, Flags]]:
    """Label and flags of every combination of the lists in an entry: "FT-unlearn_lr=0.1" for example.

    An entry without lists is yielded once, under its own label.
    """
    lists = {name: value for name, value in entry.items() if isinstance(value, list)}
    for values in itertools.product(*lists.values()):
        combination = dict(zip(lists, values))
        parts = [f"{name}={str(value).replace('/', '_')}" for name, value in combination.items()]
        yield "-".join([label, *parts]), {**entry, **combination}


def as_typed(flags: Flags) -> list[str]:
    """Flags as words of a command line: true gives a bare flag, false and None give none."""
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
    """The checkpoint's file name of the method with this label, as ``reference_model``; it must train anew."""
    from unlearn import registry

    method = registry.get(spec.methods[label].get("unlearn", label))
    if not method.fresh:
        reason = "must be a method that trains anew, retrain for example"
        raise UsageError(f"{spec.file}: reference_model {label}: {reason}")
    return f"{method.name}checkpoint.pth.tar"


def script_of(cell: Cell) -> Script:
    """The ``SCRIPT`` that the cell's file declares."""
    return importlib.import_module(cell.script.removesuffix(".py")).SCRIPT


def check(spec: Spec, cell: Cell) -> None:
    """Have the cell's script parse its command line, without opening the files that it names.

    Raises:
        UsageError: the script refuses it, or does not read a flag that the file gives to this training or method by
            name.
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
    """Flags that the file gives to the cell's training or method by name, not to all commands."""
    entries, kind = (spec.train, "training") if cell.facts["stage"] == "train" else (spec.methods, "method")
    label = cell.facts[kind]
    own = {name for base, entry in entries.items() if _matches(label, base) for name in entry}
    for override in spec.overrides:
        if kind in override and _matches(label, override[kind]):
            own.update(override.get("flags") or {})
    return own - {*RESERVED["train"], *RESERVED["method"]}


def _hint(spec: Spec, override: dict[str, Any]) -> str:
    """A hint for an override that matches nothing: its first unknown label and the known one nearest to it."""
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
    """1 for a cell that needs no other, else one more than the highest stage among the cells that it needs."""
    return 1 + max((stage(by_name[name], by_name) for name in cell.needs), default=0)


def of_stage(cells: list[Cell], number: int | None) -> list[Cell]:
    """The cells of one stage; all of them if ``number`` is None.

    Raises:
        UsageError: there are fewer stages.
    """
    by_name = {cell.name: cell for cell in cells}
    last = max(stage(cell, by_name) for cell in cells)
    if number is not None and number > last:
        raise UsageError(f"--stage {number}: the last stage is {last}")
    return [cell for cell in cells if number in (None, stage(cell, by_name))]
