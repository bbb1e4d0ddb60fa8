"""The fraction of the forget set judged members by the entropy of the outputs."""

from __future__ import annotations

from evaluation.scoring import Outputs, score


@score("entropy_attack", "forget images judged members by their entropy")
def entropy_attack(outputs: Outputs) -> float:
    """SFR-on's attack, in [0, 1]; see ``mia.entropy_attack``."""
    from evaluation import mia

    retain, forget, test = mia.arranged(outputs.sets, outputs.compat, outputs.seed)
    return mia.entropy_attack(retain, test, forget)
