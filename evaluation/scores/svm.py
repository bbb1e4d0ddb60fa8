"""Membership attacks by support vector machines, the first of which is MIA-Efficacy."""

from __future__ import annotations

from evaluation.scoring import Column, Outputs, score

FEATURES = {
    "correctness": "correctness",
    "entropy": "entropy",
    "m_entropy": "modified entropy",
    "prob": "all probabilities",
}
COLUMNS = {
    f"MIA-{key}": Column(f"MIA-Efficacy by {words} in place of confidence", keys=(key,))
    for key, words in FEATURES.items()
}


@score("SVC_MIA_forget_efficacy", columns=COLUMNS)
def forget_efficacy(outputs: Outputs) -> dict[str, float]:
    """Fraction of the forget set judged never seen, by feature; "confidence" is MIA-Efficacy."""
    from evaluation import mia

    retain, forget, test = mia.arranged(outputs.sets, outputs.compat, outputs.seed)
    return mia.forget_efficacy(retain, test, forget, outputs.compat)


@score("SVC_MIA_training_privacy", reads={"retain", "test"}, columns={})
def training_privacy(outputs: Outputs) -> dict[str, float] | None:
    """``mia.training_privacy`` by feature, in [0, 1]; None if there are fewer than two retain or test images."""
    from evaluation import mia

    if min(len(outputs.sets["retain"]), len(outputs.sets["test"])) < 2:
        return None
    retain, _, test = mia.arranged(outputs.sets, outputs.compat, outputs.seed)
    return mia.training_privacy(retain, test, outputs.compat)
