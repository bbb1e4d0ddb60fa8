"""Choose among the weights of all epochs after training (SCRUB's rewinding)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from evaluation.predict import accuracy_on
from unlearn.context import Context, Sets


def rewind(model: nn.Module, sets: Sets, context: Context, train: Callable[[Callable[[int], None]], None]) -> None:
    """Train, then return to the weights whose error on the forget set is nearest to the goal.

    The goal is the last weights' error on validation images of the forgotten classes. Without such images the last
    weights are kept. Weights and accuracies of all epochs are stored in ``context.memory``, for a run that goes on
    after a kill.

    Args:
        train: trains the model. Its argument is a function to call before every epoch with its number.
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
    )  # rounded, so that of equally near epochs the first is chosen
    if best > 0 or context.compat == "fixed":
        model.load_state_dict(students[best])
