"""Distance of the outputs from those of the model retrained without the forget set."""

from __future__ import annotations

from typing import Any

from evaluation.scoring import Column, Outputs, score

COLUMNS = {
    "KL": Column("divergence of outputs on the forget set from --reference_model's, nats", False, ("KL", "forget")),
    "JS": Column("the same, symmetric, at most 0.6931", False, ("JS", "forget")),
    "AD": Column(
        "activation distance: mean length of the difference of the outputs, forget set", False, ("AD", "forget")
    ),
    "agreement": Column("forget images on which the model answers as Retrain does", True, ("agreement", "forget")),
    "PS": Column(
        "worst-case privacy score: 1 where no threshold tells the outputs on the forget set from Retrain's",
        False,
        ("privacy_score", "score"),
    ),
    "ToW": Column(
        "product over retain, forget and test of 1 - |difference of accuracy from Retrain's|; 1 is Retrain",
        False,
        ("ToW",),
    ),
    "RD": Column(
        "retention deviation, sum of |accuracy / Retrain's - 1|; 0 is Retrain, none where Retrain's is 0",
        False,
        ("RD",),
    ),
    "SAPE": Column("mean over the three sets of |a - b| / (a + b), b Retrain's accuracy", True, ("SAPE",)),
}


@score("to_retrained", columns=COLUMNS)
def to_retrained(outputs: Outputs) -> dict[str, Any] | None:
    """``divergence.compare`` with the retrained model; None if there is none."""
    from evaluation import divergence

    return None if outputs.retrained is None else divergence.compare(outputs.sets, outputs.retrained)
