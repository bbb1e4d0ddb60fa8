"""One HTML page with tables and pictures inside it: it opens in any browser, from any place, without a network."""
from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #111; background: #fff; margin: 2rem auto; max-width: 110rem; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; border-top: 1px solid #bbb; padding-top: 1rem; }
nav a { margin-right: 1.2rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; font-size: 0.85rem; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; } th { vertical-align: bottom; border-bottom: 2px solid #111; white-space: normal; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tr.published td { color: #555; font-style: italic; border-bottom-color: #999; } td.gone { color: #666; background: #f2f2f2; } td.differs { font-weight: bold; }
img { max-width: 100%; height: auto; display: block; margin: 1.2rem 0; } p.note, li { color: #333; font-size: 0.85rem; max-width: 70rem; }
"""


@dataclass
class Section:
    """One table with its notes and pictures (files that are read when the page is made)."""

    title: str
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)


def page(title: str, sections: list[Section]) -> str:
    """The whole page."""
    links = "".join(f'<a href="#s{place}">{escape(section.title)}</a>' for place, section in enumerate(sections))
    body = "".join(_section(place, section) for place, section in enumerate(sections))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n<nav>{links}</nav>\n{body}</body>\n</html>\n"
    )


def _section(place: int, section: Section) -> str:
    table = ""
    if section.head:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in section.head)
        table = f'<div class="wide"><table>\n<tr>{head}</tr>\n{"".join(map(_row, section.rows))}</table></div>\n'
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in section.notes)
    return f'<h2 id="s{place}">{escape(section.title)}</h2>\n{table}{notes}{"".join(map(_picture, section.pictures))}'


def _row(row: list[str]) -> str:
    kind = ' class="published"' if row[0].endswith(", published") else ""
    return f"<tr{kind}>" + "".join(f"<td{_look(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>\n"


def _look(cell: str) -> str:
    if cell.startswith(("- (", "failed")):
        return ' class="gone"'
    return ' class="differs"' if cell.endswith("≠") else ""


def _picture(path: Path) -> str:
    kind = {".svg": "svg+xml", ".png": "png"}[path.suffix]
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(path.stem)}" src="data:image/{kind};base64,{content}">\n'
