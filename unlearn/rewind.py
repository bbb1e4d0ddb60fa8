"""Choosing among the weights of all epochs after the fact."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from evaluation.predict import accuracy_on
from unlearn.context import Context, Sets


def rewind(model: nn.Module, sets: Sets, context: Context, train: Callable[[Callable[[int], None]], None]) -> None:
    """Train, then go back to the weights whose forget error is nearest to the goal; the accuracies outlive a kill.

    The goal is the error on validation images of the forgotten classes; without any the last weights stay.

    Args:
        train: takes what it calls before every epoch.
    """
    known = sets.val.of_classes(sets.forget.labels)
    if not len(known):
        context.log.line("no validation images of the forgotten classes: the last epoch's weights are kept")
        train(lambda epoch: None)
        return
    accuracies, students = (context.memory.setdefault(key, []) for key in ("accuracies", "students"))

    def remember(epoch: int | None = None) -> None:
        accuracies.append(accuracy_on(model, sets.forget, name="forget"))
        students.append({key: value.detach().cpu().clone() for key, value in model.state_dict().items()})

    train(remember)
    remember()
    goal = accuracy_on(model, known)
    best = min(
        range(len(accuracies)), key=lambda epoch: round(abs(accuracies[epoch] - goal), 9)
    )  # of equally near ones the first, whatever the rounding
    if best > 0 or context.compat == "fixed":
        model.load_state_dict(students[best])
