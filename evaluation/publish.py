"""A table in every form: printed, as Markdown, as CSV and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from evaluation.tables import aligned, markdown
from utils import files


def publish(
    stem: Path,
    title: str,
    head: list[str],
    rows: list[list[str]],
    long_rows: list[list[str]],
    draw: Callable[[Path], None],
) -> None:
    """Print a table and write ``stem`` with .md, .csv and .png behind it.

    Args:
        head, rows: for people.
        long_rows: for the CSV file, its own head first.
        draw: writes the picture to a path.
    """
    print(f"{title}\n\n{aligned(head, rows)}\n", flush=True)
    files.write_text(stem.with_name(f"{stem.name}.md"), f"{title}\n\n{markdown(head, rows)}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(long_rows)
    files.write_text(stem.with_name(f"{stem.name}.csv"), text.getvalue())
    draw(stem.with_name(f"{stem.name}.png"))
    print(f"written: {stem}.md, .csv and .png\n", flush=True)
