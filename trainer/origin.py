"""The entry ``origin`` of checkpoints, which records how a model was made. Imports no torch, for ``--help``.

Every checkpoint of this project has this entry, plain data: the flags that determine the model and the images that it
was trained on. A later command that names the file need not repeat them, and is refused if it types other values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("arch", "dataset", "compat"), (str,)),
    **dict.fromkeys(("imagenet_arch", "stream"), (bool,)),
    **dict.fromkeys(("input_size", "split_seed", "train_seed", "side"), (int, type(None))),
    **dict.fromkeys(("mean", "std", "classes"), (list, tuple, type(None))),
    **dict.fromkeys(("folder", "superclasses"), (str, type(None))),
}


def of(
    model: Any, data: Any, dataset: Any, compat: str, split_seed: int | None, train_seed: int | None = None
) -> dict[str, Any]:
    """The entry ``origin`` of a checkpoint.

    Args:
        model, data: the ``trainer.training_flags.Model`` and ``dataset.data_flags.Data`` of the run.
        dataset: the ``dataset.prepare.DatasetInfo`` that the model was trained on.
        compat: "fixed" or "reference".
        split_seed: seed of the split into training and validation images; None if the split has none.
        train_seed: seed of the training; None if the model does not depend on it alone.
    """
    return {
        "arch": model.arch,
        "imagenet_arch": model.imagenet_arch,
        "dataset": dataset.source.name,
        "input_size": data.input_size,
        "stream": data.stream,
        "split_seed": split_seed,
        "train_seed": train_seed,
        "mean": None if model.mean is None else list(model.mean),
        "std": None if model.std is None else list(model.std),
        "compat": compat,
        "side": dataset.side,
        "classes": list(dataset.names),
        "folder": dataset.root.resolve().name if dataset.files is not None else None,
        "superclasses": data.superclasses,
    }


def check(entry: Mapping[str, Any]) -> str | None:
    """What is wrong with an ``origin`` entry, in words; None if nothing is."""
    for name, kinds in FIELDS.items():
        value = entry.get(name)
        if name in entry and (not isinstance(value, kinds) or isinstance(value, bool) and bool not in kinds):
            return f"origin: {name} is of type {type(value).__name__}; expected {kinds[0].__name__}"
        inner = (str,) if name == "classes" else (int, float)
        if isinstance(value, (list, tuple)) and not all(isinstance(each, inner) for each in value):
            return f"origin: {name} is no list of {'names' if name == 'classes' else 'numbers'}"
    return None


def facts(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of ``origin`` from a checkpoint's entries besides its weights; empty if there are none or they are bad.

    Older files have no ``origin``; their facts are collected from other entries.
    """
    if isinstance(extra.get("origin"), Mapping):
        entry = extra["origin"]
        return {name: entry[name] for name in FIELDS if name in entry} if check(entry) is None else {}
    recipe = extra.get("recipe")
    parts = [recipe.get("data"), recipe.get("model")] if isinstance(recipe, Mapping) else []
    facts = {
        name: part[name]
        for part in parts
        if isinstance(part, Mapping)
        for name in ("dataset", "input_size", "stream", "arch", "imagenet_arch")
        if name in part
    }
    facts |= {name: extra[name] for name in ("arch", "dataset", "split_seed", "compat") if name in extra}
    return facts if check(facts) is None else {}


def classes_differ(extra: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """How a model's classes differ from a data set's, in words; None if they do not or the model does not say.

    Args:
        extra: the checkpoint's entries besides its weights.
        names: names of the data set's classes, in order of their numbers.
    """
    trained = facts(extra).get("classes")
    if not trained or tuple(trained) == tuple(names):
        return None
    if len(trained) != len(names):
        return f"was trained on {len(trained)} classes, this data set has {len(names)}"
    number = next(number for number, (one, other) in enumerate(zip(trained, names)) if one != other)
    return f"was trained with class {number} = {trained[number]}, in this data set class {number} is {names[number]}"
