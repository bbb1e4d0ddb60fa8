"""The page of classifiers: each is opened and run once over the images of the split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compare import classifier_content, embedding, entries, opening, thumbnails
from compare.whole_page import page
from utils.device import resolve

ANSWERS = 400_000  # most answers (images times models) on a page, which leaves room for pictures


def make(models: Sequence[entries.Entry], flags: Any) -> tuple[str, list[str]]:
    """Open and run classifiers, and make their page.

    Args:
        models: what ``entries.read`` returned.
        flags: the flags ``data``, ``map``, ``images`` and ``device`` of ``main_compare.py``.
    Returns:
        The HTML text, and remarks about what is left out, a sentence each.
    Raises:
        UsageError: a package is missing, or data or a checkpoint do not belong to the runs.
        RunError: a model's output is not finite, or a label is none of its classes.
    """
    embedding.check(flags.map)
    most = min(flags.images, ANSWERS // len(models))
    opened = opening.open_all(models, flags.data, resolve(flags.device), most)
    shown = classifier_content.collect(models, opened, flags.map)
    title = f"{opened.dataset}: {', '.join(entry.name for entry in models)}"
    made = f"Made by main_compare.py from {', '.join(str(entry.path) for entry in models)}."
    text = page(title, shown, made, lambda most: thumbnails.sheet(opened.sets, shown.pictured, most))
    return text, shown.remarks
