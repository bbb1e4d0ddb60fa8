"""The page of classifiers: each is opened and run once over the images of the split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compare import classifier_content, embedding, entries, opening, thumbnails
from compare.whole_page import page
from utils.device import resolve

ANSWERS = 400_000  # of all models together, which leaves a page room for pictures


def make(found: Sequence[entries.Entry], wanted: Any) -> tuple[str, list[str]]:
    """The page of the models of ``entries.read``, and what its reader must know.

    Args:
        wanted: the flags ``data``, ``map``, ``images`` and ``device`` of ``main_compare.py``.
    """
    embedding.check(wanted.map)
    most = min(wanted.images, ANSWERS // len(found))
    opened = opening.open_all(found, wanted.data, resolve(wanted.device), most)
    shown = classifier_content.collect(found, opened, wanted.map)
    title = f"{opened.dataset}: {', '.join(entry.name for entry in found)}"
    made = f"Made by main_compare.py from {', '.join(str(entry.path) for entry in found)}."
    text = page(title, shown, made, lambda most: thumbnails.sheet(opened.sets, shown.pictured, most))
    return text, shown.remarks
