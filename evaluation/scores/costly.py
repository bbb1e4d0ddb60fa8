"""Columns of the scores that a flag asks for; ``unlearn.further_scores`` adds them to the result of a finished run."""

from __future__ import annotations

from evaluation.scoring import Column, Outputs, score

RELEARN = {
    "relearn": Column(
        "epochs on the forget set until it is known again (95 % of the original's accuracy; --relearn_epochs), none "
        "where they did not suffice; close to Retrain's is good",
        False,
        ("unlearned", "epochs"),
    ),
    "AIN": Column("the same over that of --reference_model", False, ("AIN",)),
}
CKA = {
    "CKA": Column(
        "mean over blocks of the linear CKA with --reference_model's features of the forget set (--cka)",
        False,
        ("retrained", "forget", "mean"),
    )
}


@score("relearn", reads=(), columns=RELEARN)
def relearn(outputs: Outputs) -> None:
    """Always None, since outputs do not suffice to measure this; see the module's docstring."""


@score("CKA", reads=(), columns=CKA)
def cka(outputs: Outputs) -> None:
    """Always None, since outputs do not suffice to measure this; see the module's docstring."""
