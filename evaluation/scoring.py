"""The list of scores, and what each declares about itself.

A score is one file in ``evaluation/scores``, found by itself, or a module of another package (``docs/adding.md``).
Tables need this module and those files, so they import torch and numpy inside functions.
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
    """What a score is worked out from.

    Attributes:
        sets: outputs of the unlearned model on "retain", "forget", "val", "test" and "forget_test" (test images of what
            is forgotten whole), as far as there are such sets.
        retrained: outputs of the model retrained without the forget set, or None.
        compat: "fixed" or "reference".
        trained_on_val: whether the method saw validation images, so that no attack may take them for never seen.
        random: outputs of networks with new weights on "forget_test", or without such a set on "forget"; one each.
        weights: parameters by name, of the "unlearned" and, if there is one, the "retrained" model.
        seed: of what scores draw.
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
        keys: where it is in what the score returns; nothing where that is the number itself.
    """

    says: str
    percent: bool = True
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        run: from outputs to a number, or plain data that holds several; None where it has no meaning.
        reads: the sets that it needs; without one of them it is left out.
        columns: its numbers by the names that tables and ``--scores`` have for them.
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
        says, percent: of its column, where the score is one number.
        reads: the sets that it needs.
        columns: its numbers in tables, where it returns several.
    Raises:
        ValueError: the name is taken.
    """

    def register(run: Callable[[Outputs], Any]) -> Callable[[Outputs], Any]:
        shown = {name: Column(says, percent)} if columns is None else columns
        _scores.add(name, Score(run, reads, shown), module=run.__module__)
        return run

    return register


def measure(outputs: Outputs) -> dict[str, Any]:
    """What every score returns, by its name, without those that lack a set or have no meaning here."""
    values = {}
    for name in _scores:
        one = _scores.get(name)
        if outputs.sets.keys() >= set(one.reads) and (value := one.run(outputs)) is not None:
            values[name] = value
    return values


def columns() -> dict[str, Column]:
    """All columns by name, with the keys to their numbers in ``result.json``, whose first is the score's name."""
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
