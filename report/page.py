"""The report as one HTML file that contains its tables and pictures and needs no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

COMPARED = "compare.html"  # the page of ``main_compare.py``
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #111; background: #fff; margin: 2rem auto; max-width: 110rem;
  padding: 0 1.5rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; border-top: 1px solid #bbb; padding-top: 1rem; }
nav a { display: inline-block; margin-right: 1.2rem; }
.wide { overflow: auto; max-height: 90vh; overflow-wrap: normal; }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; white-space: nowrap;
  font-size: 0.85rem; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; }
th { vertical-align: bottom; border-bottom: 2px solid #111; white-space: normal; position: sticky; top: 0;
  background: #fff; z-index: 1; min-width: 4rem; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; white-space: normal;
  min-width: 6rem; max-width: 14rem; }
th:first-child { z-index: 2; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid #06c; }
th button::after { content: "\\a0\\2195"; color: #999; }
th[aria-sort=ascending] button::after { content: "\\a0\\2191"; color: #111; }
th[aria-sort=descending] button::after { content: "\\a0\\2193"; color: #111; }
td.words { text-align: left; white-space: normal; min-width: 22rem; }
tr.published td { color: #555; font-style: italic; border-bottom-color: #999; }
td.missing { color: #666; background: #f2f2f2; }
td.differs { color: #a00; }
td.best { font-weight: bold; background: #e3f1e0; }
.wide img { width: max(100%, 45rem); height: auto; display: block; } .picture { margin: 1.2rem 0; max-height: none; }
p.note, li, dl, summary { color: #333; font-size: 0.85rem; max-width: 70rem; }
p.warning { border-left: 4px solid #c60; padding-left: 0.7rem; max-width: 70rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 0.8rem; }
dt { font-weight: bold; }
dd { margin: 0; }
summary { cursor: pointer; }
@media (max-width: 40rem) {
  body { padding: 0 0.7rem; margin-top: 1rem; }
  th:first-child, td:first-child { min-width: 4.5rem; max-width: 6rem; } }
"""
SCRIPT = """
function value(row, column) {
  const text = row.cells[column] ? row.cells[column].textContent : "";
  const number = text.match(/^[≈<]?([+-]?\\d+(\\.\\d+)?)/);
  return column === 0 ? text.toLowerCase() : number ? parseFloat(number[1]) : null;
}
function sort(head) {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  const groups = [];  // a row with the published one below it
  for (const row of body.rows) {
    if (row.className === "published" && groups.length) groups.at(-1).push(row); else groups.push([row]);
  }
  const key = group => value(group[0], column);
  groups.sort((a, b) => {
    const one = key(a), other = key(b);
    if (one === null || other === null) return (one === null) - (other === null);
    return (one < other ? -1 : one > other ? 1 : 0) * (down ? -1 : 1);
  });
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  for (const row of groups.flat()) body.append(row);
}
for (const head of document.querySelectorAll("th")) head.querySelector("button").onclick = () => sort(head);
"""


@dataclass
class Section:
    """A table of a report with its title, notes and pictures.

    Attributes:
        head, rows: column titles and cells of the table.
        notes: sentences below the table.
        pictures: SVG or PNG files, read when the page is made.
        best: cells to mark, by row name and column title.
        warnings: sentences above the table.
        explained: explanations of columns, by the start of their titles.
        runs: head and rows of a second table, which the page shows folded up.
        runs_note: a sentence below the second table.
        slug: the start of its file names.
        long: what its CSV file holds; None for the table itself.
    """

    title: str
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    best: Set[tuple[str, str]] = frozenset()
    warnings: list[str] = field(default_factory=list)
    explained: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[list[str], list[list[str]]] = ([], [])
    runs_note: str = ""
    slug: str = ""
    long: DataFrame | None = None


def page(title: str, sections: list[Section], beside: Mapping[str, str] = MappingProxyType({})) -> str:
    """The HTML text of a report. A click on a column's title sorts its table; wide tables scroll on their own.

    Args:
        beside: further pages in the same folder to link to, file names by title.
    """
    others = "".join(f'<a href="{escape(name)}">{escape(words)}</a>' for words, name in beside.items())
    links = others + "".join(
        f'<a href="#s{place}">{escape(section.title)}</a>' for place, section in enumerate(sections)
    )
    body = "".join(_section(place, section) for place, section in enumerate(sections))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<nav>{links}</nav>\n{body}"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _section(index: int, section: Section) -> str:
    warnings = "".join(f'<p class="warning"><b>Warning.</b> {escape(line)}</p>\n' for line in section.warnings)
    table = _table(section.head, section.rows, section.best) if section.head else ""
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in section.explained.items())
    explained = f"<dl>{terms}</dl>\n" if terms else ""
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in section.notes)
    runs = _table(*section.runs) + (f'<p class="note">{escape(section.runs_note)}</p>\n' if section.runs_note else "")
    folded = f"<details><summary>Settings, commit and day of every row</summary>\n{runs}</details>\n"
    folded = folded if section.runs[1] else ""
    pictures = "".join(map(_picture, section.pictures))
    return f'<h2 id="s{index}">{escape(section.title)}</h2>\n{warnings}{table}{explained}{notes}{folded}{pictures}'


def _table(head: list[str], rows: list[list[str]], best: Set[tuple[str, str]] = frozenset()) -> str:
    titles = "".join(f"<th><button>{escape(cell)}</button></th>" for cell in head)
    body = "".join(_row(head, row, best) for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>{body}</tbody></table></div>\n'


def _row(head: list[str], row: list[str], best: Set[tuple[str, str]]) -> str:
    kind = ' class="published"' if row[0].endswith(", published") else ""
    cells = "".join(
        f"<td{' class=best' if (row[0], title) in best else _look(title, cell)}>{escape(cell)}</td>"
        for title, cell in zip(head, row)
    )
    return f"<tr{kind}>{cells}</tr>\n"


def _look(title: str, cell: str) -> str:
    if cell.startswith(("- (", "failed")):
        return ' class="missing"'
    if title in ("settings", "claim"):
        return ' class="words"'
    return ' class="differs"' if cell.endswith("≠") else ""


def _picture(path: Path) -> str:
    kind = {".svg": "svg+xml", ".png": "png"}[path.suffix]
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<div class="wide picture"><img alt="{escape(path.stem)}" src="data:image/{kind};base64,{content}"></div>\n'
