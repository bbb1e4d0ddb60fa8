"""Result files of many runs, grouped into the paper's tables. Imports neither torch nor numpy."""
from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils import files
from utils.errors import UsageError
from utils.names import file_name

METRICS = ("UA", "MIA-Efficacy", "RA", "TA")  # in the order of the paper's columns
SEARCH = "search"  # the folder of a sweep that holds the trials of its search
FILES = ("rewind_pth", "saliency_mask")  # hyper-parameters that name files
ADAPTED = " + LoRA"  # behind a method's name in the rows of its runs with adapters
ORDER = ("Original", "Retrain", "FT", "GA", "FF", "IU", "l1-sparse")


NUMBER, SCORE = (int, float), (int, float, type(None))
_RUN = {"fingerprint": str, "method": str, "paper_name": str, "compat": str, "seed": int}
_MODEL = {"dataset": str, "arch": str, "sparsity": NUMBER, "recipe?": (dict, type(None))}
SHAPES: dict[str, dict[str, Any]] = {  # what tables read of a finished result, by script; see ``check``
    "main_forget.py": _RUN | {
        "scores": {**dict.fromkeys(METRICS, SCORE), "RTE": SCORE}, "scenario": {"kind": str, "words": str}, "split?": dict,
        "model": _MODEL, "config": {"hyper": dict, "run?": dict, "data?": dict, "model?": dict}, "environment?": dict,
    },
    "main_backdoor.py": {
        "fingerprint": str, "method": str, "scores?": {"before?": dict, "after?": dict, "RTE?": SCORE}, "model?": _MODEL,
        "poison": {"words": str}, "config": {"hyper": dict, "run?": dict, "prune?": dict},
    },
    "main_transfer.py": {
        "fingerprint": str, "method": str, "removed?": {"count": int}, "accuracy?": dict, "seconds?": dict, "model?": _MODEL,
        "target?": {"name": str}, "config": {"hyper": dict, "probe": {"probe": str}, "target": dict},
    },
}
TRAINING = {
    "label": str, "script": str, "rounds": list, "model": {"arch": str}, "config": {"data": {"dataset": str}, "run": {"compat": str}, "prune?": dict},
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


@dataclass(frozen=True)
class Model:
    """A column: dense or pruned by some means.

    Attributes:
        name: "dense", "95 % sparse", or that with the pruner where several reach the same sparsity.
        sparsity: pruned fraction of the prunable weights; None if no run has told it yet.
        pruner: "OMP", "IMP", "random", "synflow", ...; empty for dense models and where it is not known.
    """

    name: str
    sparsity: float | None
    pruner: str = ""


@dataclass
class Gone:
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
    """

    title: str
    slug: str
    key: dict[str, Any]
    models: list[Model]
    rows: dict[str, dict[str, dict[str, Cell]]] = field(default_factory=dict)
    gone: dict[str, dict[str, Gone]] = field(default_factory=dict)
    places: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    def cell(self, row: str, model: str, metric: str) -> Cell | None:
        """The cell, if there is any run in it."""
        return self.rows.get(row, {}).get(model, {}).get(metric)

    def gap(self, row: str, model: str, metric: str) -> float | None:
        """Distance of the mean from Retrain's on the same model over the seeds that both have, in [0, 1]; None without any."""
        cell, exact = self.cell(row, model, metric), self.cell("Retrain", model, metric)
        shared = set(cell.seeds) & set(exact.seeds) if cell and exact else set()
        return abs(cell.mean_over(shared) - exact.mean_over(shared)) if shared else None

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
        return {seed: statistics.fmean(abs(own.mean_over({seed}) - exact.mean_over({seed})) for own, exact in pairs) for seed in sorted(shared)}

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
        one = Found(path.parent, content)
        if content.get("script") != script or not (content.get("status") == "done" or failed and one.failed):
            continue
        check(content, {key: kind for key, kind in SHAPES[script].items() if key != "scores"} if one.failed else SHAPES[script], path)
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
            raise UsageError(f"{path}: is no whole result ({name} is missing or of another type); give its command again")
        elif kind is str and not content[name].isprintable():
            raise UsageError(f"{path}: is no result ({name} holds control characters)")


def below(folders: Iterable[Path], name: str) -> list[Path]:
    """All files of that name below the folders, in order of path; trials of a search only where its own folder is asked for."""
    return [path for folder in folders for path in sorted(folder.rglob(name)) if SEARCH not in path.relative_to(folder).parts]


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
    made = [_table(json.loads(key), results) for key, results in sorted(groups.items(), key=lambda item: _order(json.loads(item[0])))]
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
    slug = file_name(f"{key['dataset']}-{key['arch']}-{_what(key)}" + ("" if key["compat"] == "fixed" else f"-{key['compat']}"))
    columns = models(results)
    table = Table(f"{key['dataset']}, {key['arch']}: forget {key['words']}{compat}", slug, key, list(dict.fromkeys(columns.values())))
    for name, members in by_method(results).items():
        table.rows[name] = {}
        table.places |= {result["fingerprint"]: (name, models_of(result, columns)) for result in members}
        for model in table.models:
            here = [result for result in members if model.name in table.places[result["fingerprint"]][1]]
            runs = [result for result in here if not has_failed(result)]
            if len(runs) < len(here):
                table.gone.setdefault(name, {})[model.name] = Gone(len(here) - len(runs), len(here) - len(runs))
            if runs:
                table.rows[name][model.name] = {metric: cell for metric in (*METRICS, "RTE") if (cell := _cell(runs, metric))}
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


# --- columns ---


def recipe(result: dict[str, Any]) -> dict[str, Any] | None:
    """How the model was trained and pruned, without its seeds; None if its file does not say. A dense round's pruning flags say nothing."""
    model = result["model"]
    stored = model.get("recipe")
    return {key: value for key, value in stored.items() if key != "prune"} if stored and model.get("round") == 0 else stored


def models(results: list[dict[str, Any]]) -> dict[str, Model]:
    """The columns of these results by what tells them apart (``_model_key``), sorted."""
    first = {_model_key(result): result for result in reversed(results) if not _adrift(result, results)}
    ordered = sorted(first.items(), key=lambda item: (item[1]["model"]["sparsity"], pruner_of(item[1]), item[0]))
    plain = [model_name(result["model"]["sparsity"]) for _, result in ordered]
    named = [f"{name} ({pruner_of(result)})" if plain.count(name) > 1 and pruner_of(result) else name for name, (_, result) in zip(plain, ordered)]
    numbered = [f"{name} #{named[:place].count(name) + 1}" if named.count(name) > 1 else name for place, name in enumerate(named)]
    return {
        key: Model(name, result["model"]["sparsity"], pruner_of(result)) for name, (key, result) in zip(numbered, ordered)
    }


def models_of(result: dict[str, Any], columns: dict[str, Model]) -> list[str]:
    """Names of the columns that a result stands in: its own, or every dense one for a new model that was given no checkpoint."""
    key = _model_key(result)
    return [columns[key].name] if key in columns else [model.name for model in columns.values() if model.sparsity == 0]


def _adrift(result: dict[str, Any], results: list[dict[str, Any]]) -> bool:
    """Whether it retrained without a checkpoint, so that any dense model of the table is the one it belongs to."""
    fresh = result["config"].get("checkpoint", "") is None and result["model"]["sparsity"] == 0
    return fresh and any(other["config"].get("checkpoint", "") is not None and other["model"]["sparsity"] == 0 for other in results)


def _model_key(result: dict[str, Any]) -> str:
    return _text([result["model"]["sparsity"], recipe(result), result["config"].get("checkpoint", "") is None])


def pruner_of(result: dict[str, Any]) -> str:
    """What pruned the model, in the field's words; empty for a dense one and where its file does not say."""
    stored = recipe(result) or {}
    prune = stored.get("prune", {})
    if not prune or result["model"]["sparsity"] == 0:
        return ""
    if "score" in prune:
        return prune["score"]
    return "random" if prune.get("random_prune") else "OMP" if prune.get("pruning_times") == 2 else "IMP"


def model_name(sparsity: float) -> str:
    """Column name of a model: sparsity in per cent, or "dense"."""
    return "dense" if sparsity == 0 else f"{100 * sparsity:.4g} % sparse"


# --- rows ---


def by_method(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Runs by row name. A method that was run with several settings on one model gets a row for each."""
    methods: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for result in results:
        methods.setdefault((result["method"], "adapters" in result), []).append(result)
    rows: dict[str, list[dict[str, Any]]] = {}
    taken = [members[0]["paper_name"] for members in methods.values()]
    for (method, _), members in methods.items():
        paper = members[0]["paper_name"]
        name = paper if taken.count(paper) == 1 else f"{paper} ({method})"
        per_model: dict[str, set[str]] = {}
        for result in members:
            per_model.setdefault(_model_key(result), set()).add(_hyper(result))
        if all(len(settings) == 1 for settings in per_model.values()):
            rows[name] = members
            continue
        varying = _varying([json.loads(setting) for setting in {_hyper(result) for result in members}])
        for result in members:
            hyper = json.loads(_hyper(result))
            rows.setdefault(", ".join([name, *(f"{key} {hyper[key]}" for key in varying if hyper[key] is not None)]), []).append(result)
    return dict(sorted(rows.items(), key=lambda item: (position(item[0]), item[0])))


def _hyper(result: dict[str, Any]) -> str:
    """The hyper-parameters, those of adapters among them; of files, that there is one, because no two seeds share it."""
    config = result["config"]
    return _text({key: bool(value) if key in FILES else value for key, value in {**config["hyper"], **config.get("lora", {})}.items()})


def _varying(settings: list[dict[str, Any]]) -> list[str]:
    return [key for key in settings[0] if len({json.dumps(setting.get(key)) for setting in settings}) > 1]


def position(name: str) -> int:
    """Place of a row in the paper's order; unknown ones come last."""
    first = name.split(",")[0].split(" (")[0].removesuffix(ADAPTED)
    return ORDER.index(first) if first in ORDER else len(ORDER)


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


def _digest(content: Any) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()[:6]
