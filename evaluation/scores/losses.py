"""Deep Unlearn's attack, which tells forgotten from unseen images by their losses."""

from __future__ import annotations

from evaluation.scoring import Column, Outputs, score

COLUMNS = {
    "loss_attack": Column(
        "a logistic regression tells forget from test images by their loss; 50 is a guess", keys=("test", "attack")
    ),
    "indiscernibility": Column("1 - |2 loss_attack - 1|", keys=("test", "indiscernibility")),
}


@score("deepunlearn", reads={"forget", "test"}, columns=COLUMNS)
def loss_attacks(outputs: Outputs) -> dict[str, dict[str, float | None]]:
    """``deepunlearn.scores`` by set of unseen images: test, and validation unless the method trained on it."""
    from evaluation import deepunlearn

    unseen = ["test"] if outputs.trained_on_val or "val" not in outputs.sets else ["val", "test"]
    return deepunlearn.scores(outputs.sets, unseen, outputs.seed)
