"""Groups runs that may be compared into tables, each around a pandas DataFrame with a line per run."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from report.row_names import Model, by_method, models, models_of, population_of
from report.runs import AVERAGE, GAPS, METRICS, Run
from utils.names import file_name
from utils.run_flags import SEEDS

OWN_SPLIT = "of each run's seed"
APART = ("unlearn_seed", "eval_seed")
# Seeds of the forget set, of training, of initial weights, of unlearning and of scoring, then the part of a population
# ("" for none). Runs with equal tuples are compared with each other.
Seeds = tuple[int, int, int, int, int, str]
SCORES, SEED, CELL = [*METRICS, "RTE"], [*SEEDS, *APART, "part"], ["row", "model", "metric"]
COLUMNS = ["run", "fingerprint", "key", "failed", "machine", *SEED, *SCORES]


@dataclass(frozen=True)
class Cell:
    """One metric over the runs of a row and a model.

    Attributes:
        values: one per run, in order of their seeds, in [0, 1] (RTE in minutes).
        machines: descriptions of the machines that they ran on.
        shared: the mean of the values and that of Retrain's on the same model, both over the seeds that both have; None
            if they share no seed.
    """

    values: tuple[float, ...]
    machines: frozenset[str] = frozenset()
    shared: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Population standard deviation, as in the tables of the paper's code."""
        return statistics.pstdev(self.values)

    def text(self, factor: float = 100, form: str = ".2f") -> str:
        """Mean ± standard deviation as text; the latter is left out for a single run.

        Args:
            factor: both are multiplied by it; the default gives per cent.
            form: format specification of the numbers.
        """
        spread = f"±{format(factor * self.std, form.lstrip('+'))}" if len(self.values) > 1 else ""
        return format(factor * self.mean, form) + spread


@dataclass
class MissingRuns:
    """Numbers of runs of a cell that a sweep planned.

    Attributes:
        missing: those that have not finished.
        failed: those of them that failed.
    """

    missing: int = 0
    failed: int = 0


@dataclass(eq=False)
class Table:
    """Runs that may be compared: one scenario on one data set and architecture, split and scored in one way.

    Attributes:
        title: data set, architecture and what is forgotten, in words.
        slug: the start of its file names, unique in a report.
        key: what all runs of the table share, see ``shared``.
        models: columns, dense first.
        rows: names of methods, with settings where one method has several.
        frame: one line for each run and model (column) that it belongs to: ``COLUMNS``, "row" and "model".
        missing: by row and model name; no entry where every planned run has finished.
    """

    title: str
    slug: str
    key: dict[str, Any]
    models: list[Model]
    rows: list[str]
    frame: pd.DataFrame
    missing: dict[tuple[str, str], MissingRuns] = field(default_factory=dict)

    @property
    def classes(self) -> int | None:
        """Number of classes of the data set; None if no run's configuration says."""
        by_run = [run.content["config"].get("official_counts") for run in self.frame["run"]]
        return next((len(counts) for counts in by_run if isinstance(counts, list)), None)

    @property
    def places(self) -> dict[str, tuple[str, list[str]]]:
        """The row's name and the models' names of every run, by its fingerprint."""
        groups = self.frame.groupby("fingerprint", sort=False)
        return {name: (group["row"].iloc[0], list(group["model"])) for name, group in groups}

    @property
    def finished(self) -> pd.DataFrame:
        """The lines of ``frame`` without failed runs."""
        return self.frame[~self.frame["failed"].astype(bool)]

    @cached_property
    def nesting(self) -> dict[Seeds, tuple]:
        """For every run's ``Seeds`` the same tuple with the split of its training appended to the last entry.

        A training seed alone does not identify a training: the same seed on another split trains another model.
        """
        own = self.key["split"] == OWN_SPLIT
        digests: dict[tuple, str] = {}
        origins = {}
        for key, run in zip(self.frame[SEED].itertuples(index=False, name=None), self.frame["run"]):
            origins[key] = origin = (key[0] if own and not key[-1] else "", key[-1])
            if digest := (run.content.get("split") or {}).get("base_digest"):
                digests.setdefault(origin, digest)
        return {key: (*key[:-1], f"{key[-1]} {digests.get(origin, origin[0])}") for key, origin in origins.items()}

    def members(self) -> dict[str, dict[str, list[Run]]]:
        """All runs, failed ones included, by row and model name."""
        members: dict[str, dict[str, list[Run]]] = {}
        for (row, model), group in self.frame.groupby(["row", "model"], sort=False):
            members.setdefault(row, {})[model] = list(group["run"])
        return members

    @cached_property
    def values(self) -> pd.DataFrame:
        """One line for each score of a finished run, in order of seeds: row, model, metric, seeds, machine, value."""
        ordered = self.finished.sort_values(SEED, kind="stable")
        return ordered.melt(["row", "model", *SEED, "machine"], SCORES, "metric").dropna(subset="value")

    @cached_property
    def cells(self) -> dict[tuple[str, str, str], Cell]:
        """The cells by names of row, model and metric."""
        if self.values.empty:
            return {}
        seed = ["model", "metric", *SEED]
        exact = self.values[self.values["row"] == "Retrain"]
        own = self.values.merge(exact[seed].drop_duplicates(), on=seed)
        other = own[["row", *seed]].drop_duplicates().merge(exact[[*seed, "value"]], on=seed)
        pairs = [side.groupby(CELL)["value"].agg(statistics.fmean).to_dict() for side in (own, other)]
        cells = self.values.groupby(CELL).agg(values=("value", tuple), machines=("machine", frozenset))
        return {
            key: Cell(values, machines, (pairs[0][key], pairs[1][key]) if key in pairs[0] else None)
            for key, values, machines in cells.itertuples()
        }

    @cached_property
    def seed_scores(self) -> dict[tuple[str, str], pd.DataFrame]:
        """By names of row and model, a frame with a line per run, indexed by its seeds, and columns ``runs.BY_SEED``.

        Scores are in [0, 1]. Gaps are absolute differences from Retrain on the same model with the same seeds. A value
        that is unknown is NaN.
        """
        four = self.values[self.values["metric"].isin(METRICS)]
        if four.empty:
            return {}
        scores = four.groupby([*CELL, *SEED])["value"].agg(statistics.fmean).unstack("metric").reindex(columns=METRICS)
        names = scores.index.get_level_values("row")
        exact = scores[names == "Retrain"].droplevel("row").reindex(scores.index.droplevel("row"))
        gaps = (scores - exact.to_numpy()).abs()
        average = [statistics.fmean(line) for line in gaps.to_numpy().tolist()]
        lines = scores.join(gaps.rename(columns=GAPS)).assign(**{AVERAGE: average})
        return {key: cell.droplevel(["row", "model"]) for key, cell in lines.groupby(["row", "model"])}

    def cell(self, row: str, model: str, metric: str) -> Cell | None:
        """The cell of these names; None if it has no run."""
        return self.cells.get((row, model, metric))

    def difference(self, row: str, model: str, metric: str) -> float | None:
        """The cell's mean minus Retrain's on the same model, in [-1, 1] (RTE in minutes).

        Both means are over the seeds that both have; None if they share none.
        """
        cell = self.cell(row, model, metric)
        return None if cell is None or cell.shared is None else cell.shared[0] - cell.shared[1]

    def gap(self, row: str, model: str, metric: str) -> float | None:
        """Absolute value of ``difference``, in [0, 1]; None if that is None."""
        difference = self.difference(row, model, metric)
        return None if difference is None else abs(difference)

    def average_gap(self, row: str, model: str) -> float | None:
        """Mean of the four gaps ("disparity average" in the paper), in [0, 1]; None if one is unknown."""
        return mean_of([self.gap(row, model, metric) for metric in METRICS])

    def by_seed(self, row: str, model: str, score: str = AVERAGE) -> dict[Seeds, float]:
        """A score of a cell's runs, in [0, 1], by their seeds in ascending order; runs without it are left out.

        Args:
            score: one of ``runs.BY_SEED``.
        """
        lines = self.seed_scores.get((row, model))
        return {} if lines is None else lines[score].dropna().to_dict()

    def gap_by_seed(self, row: str, model: str) -> float | None:
        """Mean over the runs of each run's average gap, in [0, 1]; None if no run has one.

        Unlike in ``average_gap``, deviations above and below Retrain in different runs do not cancel.
        """
        gaps = self.by_seed(row, model)
        return statistics.fmean(gaps.values()) if gaps else None

    def runs(self, row: str, model: str) -> int:
        """Number of finished runs in a cell."""
        cell = self.cell(row, model, METRICS[0])
        return len(cell.values) if cell else 0

    def seeds(self, model: str) -> int:
        """Number of distinct seeds with a finished run on this model; if there is none, on any model."""
        scored = self.values[self.values["metric"] == METRICS[0]]
        on_model = scored[scored["model"] == model]
        return len((scored if on_model.empty else on_model)[SEED].drop_duplicates())

    def tried(self) -> list[str]:
        """Rows with a finished run, without Retrain, with which they are compared."""
        return [row for row in self.rows if row != "Retrain" and any(self.runs(row, each.name) for each in self.models)]


def mean_of(gaps: list[float | None]) -> float | None:
    """The mean of numbers; None where any is missing."""
    known = [gap for gap in gaps if gap is not None]
    return statistics.fmean(known) if len(known) == len(gaps) else None


def cells_by(frame: pd.DataFrame, by: list[str]) -> dict[tuple, Cell]:
    """The values of a frame as cells.

    Args:
        frame: with a column "value"; lines without a value are left out.
        by: names of columns to group by.
    Returns:
        Cells by the values of these columns, in the frame's order.
    """
    groups = frame.astype({"value": float}).dropna(subset="value").groupby(by, sort=False)["value"].agg(tuple)
    return {key: Cell(values) for key, values in groups.items()}


def seed_of(result: dict[str, Any]) -> Seeds:
    """The seeds of a run and its part in a population; see ``Seeds``."""
    config, seeds, seed = result["config"], result.get("seeds") or {}, result["seed"]
    run, part = config.get("run", {}), config["split"] if population_of(config) else ""
    train = seeds.get("train")
    train = run.get("train_seed", 0) if train is None else train
    return seed, train, run.get("init_seed", train), seeds.get("unlearn", seed), seeds.get("eval", 0), part


def shared(result: dict[str, Any]) -> dict[str, Any]:
    """The key of a run's table. Runs may be compared if they share data, architecture, forget set, split and scoring.

    Args:
        result: content of a ``result.json`` of ``main_forget.py``.
    """
    config, scenario, sizes = result["config"], result["scenario"], result.get("split", {})
    split_seed = config.get("run", {}).get("split_seed")
    population = population_of(config)  # its forget sets make one row together
    joined = {"indices_digest": population} if population else {}
    return {
        "dataset": result["model"]["dataset"],
        "arch": result["model"]["arch"],
        "kind": scenario["kind"],
        "forget": {key: value for key, value in scenario.items() if key not in ("kind", "words")} | joined,
        "words": scenario["words"],
        "compat": result["compat"],
        "imagenet stem": config.get("model", {}).get("imagenet_arch", False),
        "input size": config.get("data", {}).get("input_size"),
        "images": _digest(config["official_counts"]) if "official_counts" in config else None,
        "superclasses": _digest(config["superclasses"]) if "superclasses" in config else None,
        "sizes": {name: sizes.get(name) for name in ("retain", "forget", "test")},
        "split": OWN_SPLIT if split_seed is None else f"of seed {split_seed}",
    }


def frame(runs: Iterable[Run]) -> pd.DataFrame:
    """A frame with ``COLUMNS`` and a line for each run of ``main_forget.py``; scores of failed runs are NaN."""
    lines = []
    for run in runs:
        content, seeds = run.content, seed_of(run.content)
        facts = run, content["fingerprint"], _text(shared(content)), run.failed, _machine(content)
        scores = content["scores"] if run.done else {}
        lines.append([*facts, *seeds, *(scores.get(name) for name in SCORES)])
    return pd.DataFrame(lines, columns=COLUMNS).astype(dict.fromkeys(SCORES, float))


def tables(runs: Iterable[Run]) -> list[Table]:
    """One table for each group of runs of ``main_forget.py`` that may be compared, see ``shared``."""
    all_runs = frame(runs)
    _join_same_splits(all_runs)
    groups = [(json.loads(text), group) for text, group in all_runs.groupby("key", sort=False)]
    tables = [_table(key, group) for key, group in sorted(groups, key=lambda pair: _order(pair[0]))]
    make_distinct(tables)
    return tables


def _join_same_splits(all_runs: pd.DataFrame) -> None:
    """Move runs that were split by their own seed into the table of runs split by ``--split_seed``, if it is that seed.

    That is done for tables in which all runs have one seed.
    """
    for text, group in list(all_runs.groupby("key", sort=False)):
        key, seeds = json.loads(text), group["seed"].unique()
        same = _text({**key, "split": f"of seed {seeds[0]}"})
        if key["split"] == OWN_SPLIT and len(seeds) == 1 and (all_runs["key"] == same).any():
            all_runs.loc[group.index, "key"] = same


def _order(key: dict[str, Any]) -> tuple:
    return key["dataset"], key["arch"], key["kind"], key["words"], key["compat"], _text(key)


def _table(key: dict[str, Any], group: pd.DataFrame) -> Table:
    title = f"{key['dataset']}, {key['arch']}: forget {key['words']}"
    names = named(title, f"{key['dataset']}-{key['arch']}-{_forgotten(key)}", key["compat"])
    results = [run.content for run in group["run"]]
    columns, rows = models(results), by_method(results)
    row_of = {result["fingerprint"]: row for row, members in rows.items() for result in members}
    group = group.assign(row=group["fingerprint"].map(row_of), model=[models_of(result, columns) for result in results])
    whole = group.explode("model", ignore_index=True)
    whole = whole[whole["model"].notna()]
    table = Table(*names, key, list(dict.fromkeys(columns.values())), list(rows), whole)
    for place, failed in whole[whole["failed"].astype(bool)].groupby(["row", "model"]):
        table.missing[place] = MissingRuns(len(failed), len(failed))
    return table


def named(title: str, slug: str, compat: str) -> tuple[str, str]:
    """Title and slug of a table, with the value of ``--compat`` appended if it is not "fixed"."""
    if compat != "fixed":
        title, slug = f"{title} (compat {compat})", f"{slug}-{compat}"
    return title, file_name(slug)


def _machine(result: dict[str, Any]) -> str:
    environment = result.get("environment", {})
    threads = f"{environment.get('platform')}, {environment.get('cpu_threads')} threads"
    return environment.get("gpu") or threads if str(result.get("device", "")).startswith("cuda") else threads


def _forgotten(key: dict[str, Any]) -> str:
    """The scenario as part of a file name."""
    forget, kind = key["forget"], key["kind"].replace(" ", "-")
    if "indices" in forget:
        return f"{kind}-{forget['indices']}-{forget['indices_digest'][:6]}"
    label = forget.get("class", forget.get("subclass"))
    listed = "" if label is None else "-" + "-".join(map(str, label if isinstance(label, list) else [label]))
    return kind + listed + ("" if forget.get("count") is None else f"-{forget['count']}")


def make_distinct(tables: list[Any]) -> None:
    """Make slugs and titles unique, by appending to equal ones a digest of ``key``, or the entries that differ.

    Args:
        tables: objects with ``slug``, ``title`` and ``key``; changed in place.
    """
    for attribute in ("slug", "title"):
        texts = [getattr(table, attribute) for table in tables]
        for table, text in zip(tables, texts):
            if texts.count(text) > 1:
                keys = [other.key for other, other_text in zip(tables, texts) if other_text == text]
                differing = [name for name in table.key if len({_text(key[name]) for key in keys}) > 1]
                words = "; ".join(f"{name} {_plain(table.key[name])}" for name in differing)
                more = f"-{_digest(table.key)}" if attribute == "slug" else f" ({words})"
                setattr(table, attribute, text + more)


def _plain(value: Any) -> str:
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else str(value)


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


def _digest(content: Any) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()[:6]
