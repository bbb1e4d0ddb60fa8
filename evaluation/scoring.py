"""The list of scores, and what each declares about itself.

A score is one file in ``evaluation/scores``, found automatically, or a module of another package (``docs/adding.md``).
Tables are made without torch and numpy but read this module and those files, which import both inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from utils.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from evaluation.predict import Predictions


@dataclass(frozen=True)
class Outputs:
    """What a score is computed from.

    Attributes:
        sets: outputs of the unlearned model on "retain", "forget", "val", "test" and "forget_test" (test images of
            classes that are forgotten whole), as far as there are such sets.
        retrained: outputs of the model retrained without the forget set, or None.
        compat: "fixed" or "reference".
        trained_on_val: whether the method saw validation images, so that no attack may take them for never seen.
        random: outputs of untrained networks, one entry each, on "forget_test" or, without such a set, on "forget".
        weights: parameters by name, of the "unlearned" and, if there is one, the "retrained" model.
        seed: seeds the random numbers of scores.
    """

    sets: Mapping[str, Predictions]
    retrained: Mapping[str, Predictions] | None = None
    compat: str = "fixed"
    trained_on_val: bool = False
    random: Sequence[Mapping[str, Predictions]] = ()
    weights: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class Column:
    """One number of a score, as tables show it.

    Attributes:
        says: what it is, for the note below the table.
        percent: whether it is a fraction in [0, 1], printed in per cent with two decimals; else it has four.
        keys: keys that lead to the number in what the score returns; empty if the score returns the number itself.
    """

    says: str
    percent: bool = True
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        run: maps outputs to a number, to plain data that holds several, or to None if the score has no meaning here.
        reads: the sets that it needs; if one is missing, the score is left out.
        columns: its numbers, by the names that they have in tables and for ``--scores``.
    """

    run: Callable[[Outputs], Any]
    reads: Collection[str]
    columns: Mapping[str, Column] = field(default_factory=dict)


_scores: Registry[Score] = Registry("--scores", "score", "evaluation.scores", "unlearn_sparse.scores")


def score(
    name: str,
    says: str = "",
    percent: bool = True,
    reads: Collection[str] = ("retain", "forget", "test"),
    columns: Mapping[str, Column] | None = None,
) -> Callable[[Callable[[Outputs], Any]], Callable[[Outputs], Any]]:
    """Decorator that registers a function of ``Outputs`` as the score ``name``, its entry in ``result.json``.

    Args:
        says, percent: those of ``Column``, for a score that is one number.
        reads: the sets that it needs.
        columns: its numbers in tables, for a score that returns several.
    Raises:
        ValueError: the name is taken.
    """

    def register(run: Callable[[Outputs], Any]) -> Callable[[Outputs], Any]:
        shown = {name: Column(says, percent)} if columns is None else columns
        _scores.add(name, Score(run, reads, shown), module=run.__module__)
        return run

    return register


def measure(outputs: Outputs) -> dict[str, Any]:
    """The result of every score by its name, without scores that lack a set or return None."""
    values = {}
    for name in _scores:
        one = _scores.get(name)
        if outputs.sets.keys() >= set(one.reads) and (value := one.run(outputs)) is not None:
            values[name] = value
    return values


def columns() -> dict[str, Column]:
    """All columns by name; their ``keys`` begin with the score's name, as in ``result.json``."""
    return {
        title: Column(column.says, column.percent, (name, *column.keys))
        for name in _scores
        for title, column in _scores.get(name).columns.items()
    }


def stored(content: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    """The number below ``keys`` in measured scores or a ``result.json``; None where there is none."""
    value: Any = content
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, (int, float)) else None
