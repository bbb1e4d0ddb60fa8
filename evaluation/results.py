"""Result files of many runs, grouped into the paper's tables. Imports neither torch nor numpy."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.rows import Model, by_method, models, models_of
from utils import files
from utils.errors import UsageError
from utils.names import file_name

METRICS = ("UA", "MIA-Efficacy", "RA", "TA")  # in the order of the paper's columns
SEARCH = "search"  # the folder of a sweep that holds the trials of its search


NUMBER, SCORE = (int, float), (int, float, type(None))
_RUN = {"fingerprint": str, "method": str, "paper_name": str, "compat": str, "seed": int}
_MODEL = {"dataset": str, "arch": str, "sparsity": NUMBER, "recipe?": (dict, type(None))}
SHAPES: dict[str, dict[str, Any]] = {  # what tables read of a finished result, by script; see ``check``
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


@dataclass(frozen=True)
class Cell:
    """One metric over the runs of a row and a model.

    Attributes:
        values: one per run, in [0, 1] (RTE in minutes).
        seeds: the runs' seeds (``seed_of``), in the same order.
        machines: the kinds of machines that they ran on.
    """

    values: tuple[float, ...]
    seeds: tuple[tuple[int, int], ...] = ()
    machines: frozenset[str] = frozenset()

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Population standard deviation, as the reference's tables have it."""
        return statistics.pstdev(self.values)

    def mean_over(self, seeds: set[tuple[int, int]]) -> float:
        """Mean over the runs of these seeds only."""
        return statistics.fmean(value for value, seed in zip(self.values, self.seeds) if seed in seeds)


@dataclass
class MissingRuns:
    """Runs that were planned and are not there: their number, and how many of them failed."""

    missing: int = 0
    failed: int = 0


@dataclass
class Table:
    """Runs that may be compared: one scenario on one data set and architecture, split and scored in one way.

    Attributes:
        title: in words.
        slug: starts file names; no other table of the same report has it.
        key: what all runs of the table share, see ``shared``.
        models: columns, dense first.
        rows: by row name, by model name, by metric.
        gone: by row name, by model name; absent where every planned run is there.
        places: the row and the columns of every run, by its fingerprint.
        classes: how many the data set has; None if no run tells.
    """

    title: str
    slug: str
    key: dict[str, Any]
    models: list[Model]
    rows: dict[str, dict[str, dict[str, Cell]]] = field(default_factory=dict)
    gone: dict[str, dict[str, MissingRuns]] = field(default_factory=dict)
    places: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    classes: int | None = None

    def cell(self, row: str, model: str, metric: str) -> Cell | None:
        """The cell, if there is any run in it."""
        return self.rows.get(row, {}).get(model, {}).get(metric)

    def difference(self, row: str, model: str, metric: str) -> float | None:
        """The mean minus Retrain's on the same model over the seeds that both have, in [-1, 1]; None without any."""
        cell, exact = self.cell(row, model, metric), self.cell("Retrain", model, metric)
        shared = set(cell.seeds) & set(exact.seeds) if cell and exact else set()
        return cell.mean_over(shared) - exact.mean_over(shared) if shared else None

    def gap(self, row: str, model: str, metric: str) -> float | None:
        """Size of the ``difference``, in [0, 1]; None without any."""
        difference = self.difference(row, model, metric)
        return None if difference is None else abs(difference)

    def average_gap(self, row: str, model: str) -> float | None:
        """Mean of the four gaps ("disparity average" in the paper), in [0, 1]."""
        gaps = [self.gap(row, model, metric) for metric in METRICS]
        return None if None in gaps else statistics.fmean(gaps)

    def gaps_by_seed(self, row: str, model: str) -> dict[tuple[int, int], float]:
        """By seed, ascending, the mean distance of its four scores from those of Retrain with the same seed."""
        pairs = [(self.cell(row, model, metric), self.cell("Retrain", model, metric)) for metric in METRICS]
        if any(cell is None for pair in pairs for cell in pair):
            return {}
        shared = set.intersection(*(set(cell.seeds) for pair in pairs for cell in pair))
        return {
            seed: statistics.fmean(abs(own.mean_over({seed}) - exact.mean_over({seed})) for own, exact in pairs)
            for seed in sorted(shared)
        }

    def gap_by_seed(self, row: str, model: str) -> float | None:
        """Mean of ``gaps_by_seed``, in which misses on either side of Retrain do not cancel; None without any."""
        gaps = self.gaps_by_seed(row, model)
        return statistics.fmean(gaps.values()) if gaps else None

    def runs(self, row: str, model: str) -> int:
        """Number of finished runs."""
        cell = self.cell(row, model, METRICS[0])
        return len(cell.values) if cell else 0

    def seeds(self, model: str) -> int:
        """Number of seeds with a run on this model; where there is none, with a run on any."""
        return len(self._seeds([model]) or self._seeds([each.name for each in self.models]))

    def _seeds(self, models: list[str]) -> set[tuple[int, int]]:
        cells = [self.cell(row, model, METRICS[0]) for row in self.rows for model in models]
        return {seed for cell in cells if cell for seed in cell.seeds}


@dataclass(frozen=True)
class Found:
    """A result file: its folder and its content."""

    folder: Path
    content: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the run's numbers went wrong, so that it has no scores, and no later run has taken its place."""
        return has_failed(self.content) and self.folder.parent.name != "earlier"


def collect(folders: Iterable[Path], script: str = "main_forget.py", failed: bool = False) -> list[Found]:
    """All finished results of a script below the folders, each run once, in order of path.

    Args:
        failed: those of runs whose numbers went wrong as well, unless the same run finished elsewhere; they have no scores.
    Raises:
        UsageError: names a file that is damaged or lacks what a table needs; without it a table would be wrong.
    """
    found: dict[str, Found] = {}
    for path in below(folders, "result.json"):
        content = read_whole(path)
        one = Found(path.resolve().parent if path.is_symlink() else path.parent, content)
        if content.get("script") != script or not (content.get("status") == "done" or failed and one.failed):
            continue
        check(
            content,
            {key: kind for key, kind in SHAPES[script].items() if key != "scores"} if one.failed else SHAPES[script],
            path,
        )
        known = found.setdefault(content["fingerprint"], one)
        if known.failed and not one.failed:
            found[content["fingerprint"]] = one
    return list(found.values())


def has_failed(content: dict[str, Any]) -> bool:
    """Whether a result is that of a run whose numbers went wrong."""
    return content.get("status") == "failed"


def check(content: dict[str, Any], shape: dict[str, Any], path: Path) -> None:
    """Refuse content that lacks an entry of ``shape`` or has one of another type; an entry with a ? may be absent.

    Raises:
        UsageError: names the file and the entry.
    """
    for key, kind in shape.items():
        name = key.removesuffix("?")
        if name not in content and name != key:
            continue
        if isinstance(kind, dict) and isinstance(content.get(name), dict):
            check(content[name], kind, path)
        elif isinstance(kind, dict) or name not in content or not isinstance(content[name], kind):
            raise UsageError(
                f"{path}: is no whole result ({name} is missing or of another type); give its command again"
            )
        elif kind is str and not content[name].isprintable():
            raise UsageError(f"{path}: is no result ({name} holds control characters)")


def below(folders: Iterable[Path], name: str) -> list[Path]:
    """All files of that name below the folders, in order of path, each once whatever leads to it; see ``walk``.

    Args:
        name: may hold ``*``.
    """
    found: dict[str, Path] = {}
    for here, names in walk(folders):
        for path in (here / entry for entry in fnmatch.filter(names, name)):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def walk(
    folders: Iterable[Path], unreadable: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Every folder at and below ``folders`` with the sorted names in it, each once; links to folders are followed.

    Trials of a search are passed over unless their own folder is asked for.

    Args:
        unreadable: is told of what the system refuses to list.
    """
    known: set[str] = set()
    for folder in folders:
        walked: list[tuple[Path, list[str]]] = []
        for here, inner, others in os.walk(folder, onerror=unreadable, followlinks=True):
            real = os.path.realpath(here)
            if real in known:  # by another name, or a link in a loop
                inner.clear()
                continue
            known.add(real)
            walked.append((Path(here), sorted(inner + others)))
            linked = {name: os.path.islink(os.path.join(here, name)) for name in inner if name != SEARCH}
            inner[:] = sorted(linked, key=lambda name: (linked[name], name))
        yield from sorted(walked)


def read(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if there is none or it is damaged."""
    try:
        return read_whole(path)
    except UsageError:
        return {}


def read_whole(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty if the file holds something else.

    Raises:
        UsageError: it is missing or damaged.
    """
    content = files.read_json(path, str(path))
    return content if isinstance(content, dict) else {}


def seed_of(result: dict[str, Any]) -> tuple[int, int]:
    """The seeds of unlearning and of training; runs with the same are compared with each other."""
    return result["seed"], result["config"].get("run", {}).get("train_seed", 0)


def shared(result: dict[str, Any]) -> dict[str, Any]:
    """What runs must have in common to be compared: data, model family, what is forgotten, how it is split and scored."""
    config, scenario, sizes = result["config"], result["scenario"], result.get("split", {})
    split_seed = config.get("run", {}).get("split_seed")
    return {
        "dataset": result["model"]["dataset"],
        "arch": result["model"]["arch"],
        "kind": scenario["kind"],
        "forget": {key: value for key, value in scenario.items() if key not in ("kind", "words")},
        "words": scenario["words"],
        "compat": result["compat"],
        "imagenet stem": config.get("model", {}).get("imagenet_arch", False),
        "input size": config.get("data", {}).get("input_size"),
        "images": _digest(config["official_counts"]) if "official_counts" in config else None,
        "sizes": {name: sizes.get(name) for name in ("retain", "forget", "test")},
        "split": "of each run's seed" if split_seed is None else f"of seed {split_seed}",
    }


def tables(found: Iterable[Found]) -> list[Table]:
    """One table for each group of runs that may be compared."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        groups.setdefault(_text(shared(one.content)), []).append(one.content)
    _join_same_splits(groups)
    made = [
        _table(json.loads(key), results)
        for key, results in sorted(groups.items(), key=lambda item: _order(json.loads(item[0])))
    ]
    tell_apart(made)
    return made


def _join_same_splits(groups: dict[str, list[dict[str, Any]]]) -> None:
    """Put runs of one seed, on the split of that seed, beside those that other seeds made on the same split."""
    for text, results in list(groups.items()):
        key, seeds = json.loads(text), {result["seed"] for result in results}
        same = _text({**key, "split": f"of seed {min(seeds)}"})
        if key["split"] == "of each run's seed" and len(seeds) == 1 and same in groups:
            groups[same] += groups.pop(text)


def _order(key: dict[str, Any]) -> tuple:
    return key["dataset"], key["arch"], key["kind"], key["words"], key["compat"], _text(key)


def _table(key: dict[str, Any], results: list[dict[str, Any]]) -> Table:
    compat = "" if key["compat"] == "fixed" else f" (compat {key['compat']})"
    slug = file_name(
        f"{key['dataset']}-{key['arch']}-{_what(key)}" + ("" if key["compat"] == "fixed" else f"-{key['compat']}")
    )
    columns = models(results)
    table = Table(
        f"{key['dataset']}, {key['arch']}: forget {key['words']}{compat}",
        slug,
        key,
        list(dict.fromkeys(columns.values())),
    )
    counts = [result["config"].get("official_counts") for result in results]
    table.classes = next((len(found) for found in counts if isinstance(found, list)), None)
    for name, members in by_method(results).items():
        table.rows[name] = {}
        table.places |= {result["fingerprint"]: (name, models_of(result, columns)) for result in members}
        for model in table.models:
            here = [result for result in members if model.name in table.places[result["fingerprint"]][1]]
            runs = [result for result in here if not has_failed(result)]
            if len(runs) < len(here):
                table.gone.setdefault(name, {})[model.name] = MissingRuns(len(here) - len(runs), len(here) - len(runs))
            if runs:
                table.rows[name][model.name] = {
                    metric: cell for metric in (*METRICS, "RTE") if (cell := _cell(runs, metric))
                }
    return table


def _cell(runs: list[dict[str, Any]], metric: str) -> Cell | None:
    told = sorted((run for run in runs if run["scores"][metric] is not None), key=seed_of)
    machines = frozenset(_machine(run) for run in told)
    return Cell(tuple(run["scores"][metric] for run in told), tuple(map(seed_of, told)), machines) if told else None


def _machine(result: dict[str, Any]) -> str:
    environment = result.get("environment", {})
    threads = f"{environment.get('platform')}, {environment.get('cpu_threads')} threads"
    return environment.get("gpu") or threads if str(result.get("device", "")).startswith("cuda") else threads


def _what(key: dict[str, Any]) -> str:
    """What is forgotten, for file names."""
    forget, kind = key["forget"], key["kind"].replace(" ", "-")
    if "indices" in forget:
        return f"{kind}-{forget['indices']}-{forget['indices_digest'][:6]}"
    label = forget.get("class")
    listed = "" if label is None else "-" + "-".join(map(str, label if isinstance(label, list) else [label]))
    return kind + listed + ("" if forget.get("count") is None else f"-{forget['count']}")


def tell_apart(made: list[Any]) -> None:
    """Give those of equal slug or title (tables, or what is made of them, with a ``key``) what they differ in."""
    for attribute in ("slug", "title"):
        texts = [getattr(table, attribute) for table in made]
        for table, text in zip(made, texts):
            if texts.count(text) > 1:
                others = [other.key for other, its in zip(made, texts) if its == text]
                differing = [name for name in table.key if len({_text(other[name]) for other in others}) > 1]
                said = "; ".join(f"{name} {_plain(table.key[name])}" for name in differing)
                setattr(table, attribute, f"{text}-{_digest(table.key)}" if attribute == "slug" else f"{text} ({said})")


def _plain(value: Any) -> str:
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else str(value)


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


def _digest(content: Any) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()[:6]
