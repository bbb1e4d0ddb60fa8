"""Tables as LaTeX for a paper."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from report.comparison import Table
from report.marks import GAP, TIME, Marks
from report.page import Section
from report.paper_table import paper_table
from report.paper_values import Published
from report.runs import METRICS

_LETTERS = '\\{}&%_#$~^<>|"`±≠≈ℓ√→×[*α–—’\N{NO-BREAK SPACE}'
_TYPESET = r"""
    \textbackslash{} \{ \} \& \% \_ \# \$ \textasciitilde{} \textasciicircum{} \textless{} \textgreater{} \textbar{} ''
    \textasciigrave{} $\pm$ $^{\neq}$ $\approx$ $\ell$ $\surd$ $\rightarrow$ $\times$ {[} {*} $\alpha$ -- --- ' ~
"""
ESCAPES = dict(zip(_LETTERS, _TYPESET.split()))
# grave, acute, circumflex, tilde, macron, breve, dot, diaeresis, ring, double acute, caron
ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c"
NEEDS = r"needs \usepackage{booktabs}"


def escaped(text: str) -> str:
    """Text escaped for pdflatex. A letter that its default fonts lack becomes its code point, ``[U+732B]``."""
    return "".join(
        ESCAPES.get(letter) or (letter if letter.isascii() or _accented(letter) else f"[U+{ord(letter):04X}]")
        for letter in text
    )


def _accented(letter: str) -> bool:
    """Whether the default fonts have the letter: some ligatures, and ASCII letters with one of TeX's accents."""
    parts = unicodedata.normalize("NFD", letter)
    return (
        letter in "æøåßœłÆØŒŁ"
        or len(parts) == 2
        and parts[0].isascii()
        and parts[0].isalpha()
        and ord(letter) < 0x180
        and parts[1] in ACCENTS
    )


def latex(
    table: Table,
    published: Published,
    best: Marks = frozenset(),
    settings: dict[str, str] | None = None,
    remarks: Iterable[str] = (),
) -> str:
    """A table of runs as LaTeX with ``booktabs`` rules; a metric's columns, one per model, share a title.

    Args:
        best: cells in bold, by row name and column title.
        settings: texts of a further last column, by row name; None for no such column.
        remarks: comments below the table, one a line.
    """
    head, rows = paper_table(table, published)
    names = [model.name for model in table.models]
    groups = [*METRICS, GAP, TIME, "n"]
    spans = " & ".join(rf"\multicolumn{{{len(names)}}}{{c}}{{{escaped(group)}}}" for group in groups)
    firsts = range(2, len(head) + 1, len(names))
    rules = " ".join(rf"\cmidrule(lr){{{first}-{first + len(names) - 1}}}" for first in firsts)
    titles = ["method", *names * len(groups), *(["settings"] if settings else [])]
    hint = r"wider than a page: \resizebox{\linewidth}{!}{\input{this file}} with \usepackage{graphicx}"
    top = [rf" & {spans}{' &' if settings else ''} \\", rules, _line(map(escaped, titles))]
    body = [_cells(row, head, best) + ([escaped(settings.get(row[0], ""))] if settings else []) for row in rows]
    columns = "l" + "r" * (len(head) - 1) + ("p{7cm}" if settings else "")
    return _tabular([table.title, NEEDS, hint], columns, top, body, remarks)


def plain(section: Section) -> str:
    """A section's table as LaTeX with ``booktabs`` rules, its best cells in bold, warnings and notes as comments."""
    top = [_line(map(escaped, section.head))]
    body = [_cells(row, section.head, frozenset(section.best)) for row in section.rows]
    columns = "l" + "r" * (len(section.head) - 1)
    return _tabular([section.title, NEEDS], columns, top, body, section.warnings + section.notes)


def _tabular(
    comments: list[str], columns: str, top: list[str], body: Iterable[list[str]], remarks: Iterable[str]
) -> str:
    """A ``tabular`` environment of escaped cells, with comments above and below."""
    lines = [*(f"% {comment}" for comment in comments), rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *top]
    lines += [r"\midrule", *map(_line, body), r"\bottomrule", r"\end{tabular}", *(f"% {remark}" for remark in remarks)]
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cells(row: list[str], head: list[str], best: Marks) -> list[str]:
    """The escaped cells of a row, the best of a column in bold, published values in italics."""
    cells = []
    for title, text in zip(head, row):
        if (row[0], title) in best:
            cells.append(rf"\textbf{{{escaped(text)}}}")
        elif row[0].endswith(", published") and text:
            cells.append(rf"\textit{{{escaped(text)}}}")
        else:
            cells.append(escaped(text))
    return cells
