"""Compares what population attacks find on sparse models with what they find on the dense one, method by method."""

from __future__ import annotations

from collections.abc import Mapping

from evaluation.populations.all_attacks import Finding, Findings
from evaluation.populations.roc import Bootstrap, interval
from report.attack_columns import HEADS, KEYS
from report.page import Section
from report.paper_table import UNEQUAL
from report.row_names import model_name
from utils.names import file_name

DENSE = model_name(0.0)


def sparsity(dataset: str, by_density: Mapping[str, Findings], bootstrap: Bootstrap) -> list[Section]:
    """One section per sparse model, which compares it with the dense one; none without a dense model.

    Args:
        dataset: its name, for titles.
        by_density: findings by the name of the model, "dense" or "95 % sparse" for example.
        bootstrap: how the intervals were drawn.
    """
    if DENSE not in by_density:
        return []
    dense = by_density[DENSE].found
    sparse = {title: findings.found for title, findings in by_density.items() if title != DENSE}
    return [_against_dense(dataset, title, dense, findings, bootstrap) for title, findings in sparse.items()]


def _against_dense(
    dataset: str, title: str, dense: list[Finding], sparse: list[Finding], bootstrap: Bootstrap
) -> Section:
    after = {(finding.row, finding.attack): finding for finding in sparse}
    changes: dict[str, dict[str, str]] = {}
    for finding in dense:
        if other := after.get((finding.row, finding.attack)):
            changes.setdefault(finding.row, {})[finding.attack] = _change(finding, other, bootstrap)
    attacks = [attack for attack in HEADS if any(attack in by_attack for by_attack in changes.values())]
    rows = [[row, *(by_attack.get(attack, "-") for attack in attacks)] for row, by_attack in changes.items()]
    note = (
        f"Dense → {title}, in brackets the difference with its {100 * bootstrap.level:g} % interval over splits, both "
        "models on the same samples of splits; below 0, forgotten images are found less on the sparse model. "
        f"{UNEQUAL}: the interval is without 0. AUC in per cent, KLoM in nats."
    )
    head = ["method", *(HEADS[attack] for attack in attacks)]
    slug = file_name(f"attack-{title}-sparsity")
    return Section(f"{dataset}, {title}: what sparsity changes", head, rows, [note], slug=slug)


def _change(dense: Finding, sparse: Finding, bootstrap: Bootstrap) -> str:
    """``dense → sparse (difference [interval])``."""
    key = KEYS[dense.attack]
    factor, form = (1, ".2f") if key.startswith("klom") else (100, ".1f")
    before, after = (factor * finding.numbers[key] for finding in (dense, sparse))
    text = f"{before:{form}} → {after:{form}} ({after - before:+{form}}"
    if dense.samples is None or sparse.samples is None or dense.splits != sparse.splits:
        return f"{text})"
    low, high = interval(factor * (sparse.samples - dense.samples), bootstrap.level)
    return f"{text} [{low:+{form}}, {high:+{form}}])" + (f" {UNEQUAL}" if low > 0 or high < 0 else "")
