"""The page of generators, from the files that their scores left: nothing is drawn or judged again."""

from __future__ import annotations

from collections.abc import Sequence

from compare import generator_content, scored_entries
from compare.whole_page import page


def make(generators: Sequence[scored_entries.Scored], _: object = None) -> tuple[str, list[str]]:
    """The page of the generators of ``scored_entries.read``, and what its reader must know."""
    shown = generator_content.collect(generators)
    title = f"{shown.plain['dataset']}: {', '.join(entry.name for entry in generators)}"
    made = f"Made by main_compare.py from {', '.join(str(entry.place) for entry in generators)}."
    return page(title, shown, made, lambda most: generator_content.sheet(generators, most)), shown.remarks
