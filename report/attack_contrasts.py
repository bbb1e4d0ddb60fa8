"""What sparsity changes in what population attacks find, method by method."""

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


def sparsity(dataset: str, found: Mapping[str, Findings], how: Bootstrap) -> list[Section]:
    """A section for each sparse model, against the dense one; none where there is no dense one.

    Args:
        found: by the title of the density.
    """
    if DENSE not in found:
        return []
    sections = [_against_dense(dataset, title, found, how) for title in found if title != DENSE]
    return [section for section in sections if section.rows]


def _against_dense(dataset: str, title: str, found: Mapping[str, Findings], how: Bootstrap) -> Section:
    dense, sparse = ({(one.row, one.attack): one for one in found[name].found} for name in (DENSE, title))
    both = [key for key in dense if key in sparse]
    names = [name for name in HEADS if any(attack == name for _, attack in both)]
    rows = [
        [row, *(_change(dense[row, name], sparse[row, name], how) if (row, name) in both else "-" for name in names)]
        for row in dict.fromkeys(row for row, _ in both)
    ]
    note = (
        f"Dense → {title}, in brackets the difference with its {100 * how.level:g} % interval over splits, both models "
        f"on the same samples of splits; below 0, forgotten images are found less on the sparse model. {UNEQUAL}: the "
        "interval is without 0. AUC in per cent, KLoM in nats."
    )
    heads = ["method", *(HEADS[name] for name in names)]
    return Section(
        f"{dataset}, {title}: what sparsity changes", heads, rows, [note], slug=file_name(f"attack-{title}-sparsity")
    )


def _change(dense: Finding, sparse: Finding, how: Bootstrap) -> str:
    """``dense → sparse (difference [interval])``."""
    key = KEYS[dense.attack]
    factor, form = (1, ".2f") if key.startswith("klom") else (100, ".1f")
    before, after = (factor * one.numbers[key] for one in (dense, sparse))
    text = f"{before:{form}} → {after:{form}} ({after - before:+{form}}"
    if dense.samples is None or sparse.samples is None or dense.splits != sparse.splits:
        return f"{text})"
    low, high = interval(factor * (sparse.samples - dense.samples), how.level)
    return f"{text} [{low:+{form}}, {high:+{form}}])" + (f" {UNEQUAL}" if low > 0 or high < 0 else "")
