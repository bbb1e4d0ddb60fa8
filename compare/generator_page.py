"""The page of generators, made of the files that ``main_generate.py score`` left; no picture is drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

from compare import generator_content, scored_entries
from compare.whole_page import page


def make(generators: Sequence[scored_entries.Scored], _: object = None) -> tuple[str, list[str]]:
    """Make the page of generators.

    Args:
        generators: what ``scored_entries.read`` returned.
    Returns:
        The HTML text, and remarks about what is left out, a sentence each.
    """
    shown = generator_content.collect(generators)
    title = f"{shown.plain['dataset']}: {', '.join(entry.name for entry in generators)}"
    made = f"Made by main_compare.py from {', '.join(str(entry.place) for entry in generators)}."
    return page(title, shown, made, lambda most: generator_content.sheet(generators, most)), shown.remarks
