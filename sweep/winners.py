"""Writes the best values of a search: as text, as ``best.json``, and as a sweep's file that others can extend."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import yaml

from sweep.objective import norm
from sweep.search_study import Study, columns, points
from sweep.spec import Spec
from utils import files

FILE = "winners.yaml"


def best(spec: Spec, studies: list[Study]) -> tuple[str, bool]:
    """Write ``best.json`` and ``winners.yaml`` with each group's winner, the trial of the least norm in its studies.

    Returns:
        The winners as lines for ``overrides`` of a sweep's file, and whether every group has a winner.
    """
    groups: dict[str, list[Study]] = {}
    for study in studies:
        groups.setdefault(study.group, []).append(study)
    winners, overrides, lines = {}, [], []
    for group, members in groups.items():
        study = min(members, key=lambda each: norm(each.ranked()[0].values))
        trial = study.ranked()[0]
        if not math.isfinite(norm(trial.values)):
            lines.append(f"  # {group}: no trial succeeded")
            continue
        axes = {axis: label for axis, label in study.place.items() if axis not in study.search.over}
        winners[group] = {**axes, **_entry(study, trial)}
        overrides.append({**axes, "method": study.search.method, "flags": dict(trial.params)})
        lines.append(f"  - {_flow(overrides[-1])}  # {_words(study, trial)}")
    files.write_json(spec.folder / "best.json", winners)
    _write(spec, overrides)
    return "\n".join(["overrides:", *lines]), len(winners) == len(groups)


def _entry(study: Study, trial: Any) -> dict[str, Any]:
    """The entry of a winner in ``best.json``."""
    search = study.search
    entry = {"method": search.method, "values": trial.params}
    if len(trial.values) > 1:
        entry |= {"objectives": dict(zip(search.objective.parts, trial.values)), "norm": norm(trial.values)}
    else:
        entry |= {"average_gap" if search.objective.name == "gap" else search.objective.parts[0]: trial.value}
    entry |= {"trial": trial.number}
    entry |= {"seed": search.seeds[0]} if search.objective.per_seed else {}
    entry |= {axis: study.place[axis] for axis in search.over if axis in study.place}
    return entry | ({"spread": search.spread} if search.spread else {})


def _words(study: Study, trial: Any) -> str:
    """A winner's last value of ``points`` with its title, for people."""
    title = columns(study.search)[-1].replace("avg.", "average")
    return f"{title} {points(trial.values)[-1]} points"


def _flow(override: dict[str, Any]) -> str:
    """An override as one line of YAML."""
    flags = ", ".join(f"{key}: {value}" for key, value in override["flags"].items())
    axes = ", ".join(f"{key}: {value}" for key, value in override.items() if key != "flags")
    return f"{{{axes}, flags: {{{flags}}}}}"


def _write(spec: Spec, overrides: list[dict[str, Any]]) -> None:
    """Write ``winners.yaml``: it extends the search's file, drops ``optuna``, and appends the winners as overrides.

    The last override that matches a run decides whether it is left out. The file's overrides with ``flags: false`` are
    therefore repeated after the winners.
    """
    base = os.path.relpath(spec.file, spec.folder)
    own = [override for override in spec.overrides if "training" not in override]
    first = next((number for number, override in enumerate(own) if override.get("flags") is False), len(own))
    again = [{**override, "flags": False if override.get("flags") is False else {}} for override in own[first:]]
    content = {"extends": base, "optuna": None, "overrides": [*spec.overrides, *overrides, *again]}
    text = "# What a search found; in a table's file:  extends: the path of this one\n"
    text += yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    files.write_text(Path(spec.folder) / FILE, text)
