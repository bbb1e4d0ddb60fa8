"""Every score of one run in words, as ``main_forget.py`` says them."""

from __future__ import annotations

from typing import Any

from report.text import aligned, percent


def accuracies(scores: dict[str, Any]) -> list[str]:
    """The reference's lines "SET acc: VALUE", in per cent."""
    return [f"{name} acc: {percent(value)}" for name, value in scores["accuracy"].items()]


def attacks(scores: dict[str, Any]) -> list[str]:
    """Every attack's figures, for ``--verbose``."""
    keys = list(scores["SVC_MIA_forget_efficacy"])
    by_title = {
        "SVC, forget unseen": scores["SVC_MIA_forget_efficacy"],
        "SVC, members told": scores["SVC_MIA_training_privacy"],
        "threshold, forget unseen": {key: pair[1] for key, pair in scores["threshold_attacks"].items()},
    }
    keys = list(scores["SVC_MIA_forget_efficacy"])
    cells = [[title, *(percent(found.get(key)) for key in keys)] for title, found in by_title.items()]
    rows = [aligned(["attacks, right in %", *keys], cells)]
    rows += ["", f"entropy attack: {percent(scores['entropy_attack'])} % of forget judged members"]
    if "to_retrained" in scores:
        rows.append(_to_retrained(scores["to_retrained"]))
    if "deepunlearn" in scores:  # results of earlier versions lack it
        cells = [
            [name, percent(found["attack"]), percent(found["indiscernibility"])]
            for name, found in scores["deepunlearn"].items()
        ]
        rows += ["", aligned(["attack on losses, right in %", "attack", "indiscernibility"], cells)]
    return rows


def _to_retrained(found: dict[str, Any]) -> str:
    listed = {key: (f"{name} {value:.4f}" for name, value in found[key].items()) for key in ("KL", "JS")}
    nats = "  ".join(f"{key} {' '.join(values)}" for key, values in listed.items())
    return f"to the retrained model: {nats} nats  ToW {found['ToW']:.4f}"
