"""A table as LaTeX for a paper."""

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


def escaped(text: str) -> str:
    """Text as pdflatex's defaults typeset it; a letter that they lack stands as its code point, ``[U+732B]``."""
    return "".join(
        ESCAPES.get(letter) or (letter if letter.isascii() or _accented(letter) else f"[U+{ord(letter):04X}]")
        for letter in text
    )


def _accented(letter: str) -> bool:
    """Whether the default fonts have it: some ligatures, and ASCII letters with an accent of TeX's."""
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
    """The table with ``booktabs`` rules: each metric over its models, the best of a column in bold.

    Args:
        best: cells in bold, by row name and column title.
        settings: by row name, what stands in a last column of its own.
        remarks: comments below the table, one a line.
    """
    head, rows = paper_table(table, published)
    names = [model.name for model in table.models]
    groups = [*METRICS, GAP, TIME, "n"]
    spans = " & ".join(rf"\multicolumn{{{len(names)}}}{{c}}{{{escaped(group)}}}" for group in groups)
    spans_of = ((2 + place * len(names), 1 + (place + 1) * len(names)) for place in range(len(groups)))
    rules = " ".join(rf"\cmidrule(lr){{{first}-{last}}}" for first, last in spans_of)
    titles = ["method", *names * len(groups), *(["settings"] if settings else [])]
    lines = [
        f"% {table.title}",
        r"% needs \usepackage{booktabs}",
        r"% wider than a page: \resizebox{\linewidth}{!}{\input{this file}} with \usepackage{graphicx}",
        r"\begin{tabular}{l" + "r" * (len(head) - 1) + ("p{7cm}" if settings else "") + "}",
        r"\toprule",
        rf" & {spans}{' &' if settings else ''} \\",
        rules,
        " & ".join(map(escaped, titles)) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        cells = [_cell(text, row[0], title, best) for title, text in zip(head, row)]
        lines.append(" & ".join(cells + ([escaped(settings.get(row[0], ""))] if settings else [])) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {remark}" for remark in remarks)]
    return "\n".join(lines) + "\n"


def _cell(text: str, row: str, title: str, best: Marks) -> str:
    if (row, title) in best:
        return rf"\textbf{{{escaped(text)}}}"
    return rf"\textit{{{escaped(text)}}}" if row.endswith(", published") and text else escaped(text)


def plain(section: Section) -> str:
    """A section's table with ``booktabs`` rules, the best of a column in bold; notes are comments below it."""
    lines = [
        f"% {section.title}",
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{l" + "r" * (len(section.head) - 1) + "}",
        r"\toprule",
        " & ".join(map(escaped, section.head)) + r" \\",
        r"\midrule",
    ]
    for row in section.rows:
        lines.append(
            " & ".join(_cell(text, row[0], title, frozenset(section.best)) for title, text in zip(section.head, row))
            + r" \\"
        )
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {remark}" for remark in section.warnings + section.notes)]
    return "\n".join(lines) + "\n"
