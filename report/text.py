"""Numbers and tables as text. Imports neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Set
from typing import Any


def percent(fraction: float | None) -> str:
    """A fraction in [0, 1] as per cent with two decimals; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def minutes(value: float | None) -> str:
    """Minutes with three decimals; a dash for None."""
    return "-" if value is None else f"{value:.3f}"


def aligned(head: list[str], rows: list[list[str]]) -> str:
    """Plain text columns: the first flush left, the others flush right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(head: list[str], rows: list[list[str]], best: Set[tuple[str, str]] = frozenset()) -> str:
    """A Markdown table; all columns but the first are right-aligned.

    Args:
        best: cells in bold, by row name and column title.
    """
    cells = [[f"**{cell}**" if (row[0], title) in best else cell for title, cell in zip(head, row)] for row in rows]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *([cell.replace("|", r"\|") for cell in row] for row in cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def rounds(summaries: list[dict[str, Any]]) -> str:
    """The table that ``main_imp.py`` prints at its end: one line per round, in per cent."""
    head = ["round", "density %", "sparsity %", "best val %", "its test %", "last test %", "file of the best"]
    rows = []
    for summary in summaries:
        density, scores = summary["density"], [summary[key] for key in ("best_val", "test_of_best", "test_of_last")]
        pruned = f"{100 - 100 * density:.2f}"
        rows.append([str(summary["round"]), percent(density), pruned, *map(percent, scores), summary["best"]])
    return aligned(head, rows)


def accuracies(scores: dict[str, Any]) -> list[str]:
    """The lines "SET acc: VALUE" in per cent that the paper's code prints.

    Args:
        scores: with "accuracy", fractions by set.
    """
    return [f"{name} acc: {percent(value)}" for name, value in scores["accuracy"].items()]


def attacks(scores: dict[str, Any]) -> list[str]:
    """Lines with the figures of every membership inference attack, in per cent, which ``--verbose`` prints.

    Args:
        scores: content of ``result.json``, or its part with the attacks' entries.
    """
    by_title = {
        "SVC, forget unseen": scores["SVC_MIA_forget_efficacy"],
        "SVC, members told": scores.get("SVC_MIA_training_privacy"),
        "threshold, forget unseen": {key: pair[1] for key, pair in scores.get("threshold_attacks", {}).items()},
    }
    by_title = {title: found for title, found in by_title.items() if found}  # of very few images some have none
    keys = list(scores["SVC_MIA_forget_efficacy"])
    cells = [[title, *(percent(scores_of.get(key)) for key in keys)] for title, scores_of in by_title.items()]
    rows = [aligned(["attacks, right in %", *keys], cells)]
    rows += ["", f"entropy attack: {percent(scores['entropy_attack'])} % of forget judged members"]
    if "to_retrained" in scores:
        rows.append(_to_retrained(scores["to_retrained"]))
    if "deepunlearn" in scores:  # results of earlier versions lack it
        cells = [
            [name, percent(scores_of["attack"]), percent(scores_of["indiscernibility"])]
            for name, scores_of in scores["deepunlearn"].items()
        ]
        rows += ["", aligned(["attack on losses, right in %", "attack", "indiscernibility"], cells)]
    return rows


def _to_retrained(scores: dict[str, Any]) -> str:
    listed = {key: (f"{name} {value:.4f}" for name, value in scores[key].items()) for key in ("KL", "JS")}
    nats = "  ".join(f"{key} {' '.join(values)}" for key, values in listed.items())
    return f"to the retrained model: {nats} nats  ToW {scores['ToW']:.4f}"
