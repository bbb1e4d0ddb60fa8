"""Membership attacks by one threshold per class."""

from __future__ import annotations

from evaluation.scoring import Outputs, score


@score("threshold_attacks", columns={})
def threshold_attacks(outputs: Outputs) -> dict[str, list[float]] | None:
    """By feature the fractions, in [0, 1], of retain images judged members and of forget images judged non-members.

    None if there are fewer than two retain images: one to choose thresholds by, and one to judge.
    """
    from evaluation import mia

    if len(outputs.sets["retain"]) < 2:
        return None
    retain, forget, test = mia.arranged(outputs.sets, outputs.compat, outputs.seed)
    shadows = min(len(test), len(retain) // 2)
    accuracies = mia.threshold_attacks(retain[:shadows], test[:shadows], retain[shadows:], forget)
    return {key: list(pair) for key, pair in accuracies.items()}
