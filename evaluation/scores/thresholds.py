"""Membership attacks by one threshold per class."""

from __future__ import annotations

from evaluation.scoring import Outputs, score


@score("threshold_attacks", columns={})
def threshold_attacks(outputs: Outputs) -> dict[str, list[float]]:
    """Pairs by feature: members judged members, forgotten judged non-members; fractions in [0, 1]."""
    from evaluation import mia

    retain, forget, test = mia.arranged(outputs.sets, outputs.compat, outputs.seed)
    shadows = min(len(test), len(retain) // 2)
    accuracies = mia.threshold_attacks(retain[:shadows], test[:shadows], retain[shadows:], forget)
    return {key: list(pair) for key, pair in accuracies.items()}
