"""Tables as LaTeX: what stands in them, and that a real LaTeX typesets them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from conftest import ROOT
from test_report import NONE, RUNS, made, result, write

import main_report
from report import marks
from report.latex import ESCAPES, escaped, latex

COMMITTED = [path.parent for path in sorted((ROOT / "results").glob("*/runs.jsonl"))]
needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex (apt-get install texlive-latex-recommended)"
)


def typeset(folder, bodies):
    """Have pdflatex make a document of these bodies, each on a page of its own; fail where it complains."""
    lines = [
        r"\documentclass{article}",
        r"\usepackage{booktabs}",
        r"\usepackage{graphicx}",
        r"\pagestyle{empty}",
        r"\begin{document}",
    ]
    for body in bodies:
        lines += [r"\noindent", body, r"\clearpage"]
    (folder / "paper.tex").write_text("\n".join([*lines, r"\end{document}", ""]))
    ended = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = ended.stdout[-3000:]
    assert ended.returncode == 0 and (folder / "paper.pdf").stat().st_size > 1000, said
    assert "Missing character" not in (folder / "paper.log").read_text(errors="replace")


def columns(tex):
    """Of every row of a table, the number of its columns; a head over several counts as so many."""
    found = []
    for line in tex.splitlines():
        if line.endswith(r" \\"):
            spanned = sum(int(count) - 1 for count in re.findall(r"\\multicolumn\{(\d+)\}", line))
            found.append(len(re.findall(r"(?<!\\)&", line)) + 1 + spanned)
    return found


def test_every_row_has_as_many_columns_as_the_table():
    for settings in (None, {"FT": "unlearn_lr 0.1"}):
        [table] = made(RUNS)
        tex = latex(table, NONE, settings=settings)
        width = len(re.search(r"\\begin\{tabular\}\{([lr]+)", tex)[1]) + bool(settings)
        assert (
            width == 15 + bool(settings) and set(columns(tex)) == {width} and len(columns(tex)) == 2 + len(table.rows)
        )
        assert [line.split(" & ")[:3] for line in tex.splitlines() if line.startswith("method")] == [
            ["method", "dense", r"95 \% sparse"]
        ]
    assert r"unlearn\_lr 0.1 \\" in tex and "p{7cm}}" in tex


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The folder of reports from the results that are kept here, a folder each."""
    out = tmp_path_factory.mktemp("committed")
    for folder in COMMITTED:
        words = ["--scores", "all"] if list(folder.glob("*-scores.md")) else []
        words += ["--claims", "experiments/claims.yaml"] if (folder / "claims.md").exists() else []
        assert main_report.main([str(folder), "--out", str(out / folder.name), "--no_plots", *words]) == 0
    return out


def test_committed_tables_are_those_of_the_committed_runs(committed):
    assert len(COMMITTED) >= 2
    for folder in COMMITTED:
        kept = {path.name: path.read_text() for kind in ("md", "csv") for path in folder.glob(f"*.{kind}")}
        made = {
            path.name: path.read_text()
            for kind in ("md", "csv")
            for path in (committed / folder.name).glob(f"*.{kind}")
        }
        assert (
            kept.items() <= made.items() and len(kept) >= 3
        )  # nearer.csv, of all pairs of methods, is too large to keep


def test_committed_tables_have_no_escaped_separators(committed):
    found = list(committed.rglob("*.tex"))
    assert len(found) >= 4
    for path in found:
        assert len(set(columns(path.read_text()))) == 1 and r"\&" not in path.read_text(), path


def test_the_best_of_a_column_is_bold():
    [table] = made([*RUNS, result("IU", 0.95, 1, (0.9, 1.0, 0.9, 0.8, 0.1))])
    tex = latex(table, NONE, marks.best(table))
    [finetuned] = [line for line in tex.splitlines() if line.startswith("FT")]
    assert (
        r"\textbf{90.00 (10.00)}" in finetuned and finetuned.count(r"\textbf") == 3
    )  # UA, MIA-Efficacy, average gap; RA and TA tie
    [ascent] = [line for line in tex.splitlines() if line.startswith("GA")]
    assert ascent.count(r"\textbf") == 1 and r"\textbf{0.100}" in ascent  # RTE


def test_special_characters_by_hand():
    assert (
        escaped(r"a_b & 5 % #1 $x$ ~ ^ \ {y}")
        == r"a\_b \& 5 \% \#1 \$x\$ \textasciitilde{} \textasciicircum{} \textbackslash{} \{y\}"
    )
    assert escaped("±≠ é 猫") == r"$\pm$$^{\neq}$ é [U+732B]"


@needs_latex
def test_latex_typesets_every_character(tmp_path):
    letters = "".join(map(chr, [*range(32, 127), *range(160, 0x200), 0x3B1, 0x732B, 0x1F600])) + "".join(ESCAPES)
    typeset(tmp_path, [" \\par ".join(escaped(letter) for letter in letters)])


@needs_latex
def test_latex_typesets_tables_with_whatever_is_in_them(tmp_path, committed):
    """Names of methods and files with every special character, the settings of each row, the committed tables."""
    odd = r"[a]*_b & 5 % #1 $x$ ~ ^ \ {y} é 猫 <|>"
    runs = [result("retrain", 0, 1, (1.0, 1.0, 0.9, 0.9, 2.0), "Retrain", words=odd)]
    runs += [
        result(name, 0, 1, (0.5, 0.4, 0.9, 0.8, lr), name, words=odd, hyper={"unlearn_lr": lr, "from": f"{odd} {name}"})
        for name in (odd, "FT")
        for lr in (0.1, 0.2)
    ]
    folder = write(tmp_path / "runs", runs)
    assert main_report.main([str(folder), "--out", str(tmp_path / "out"), "--no_plots", "--settings"]) == 0
    [path] = (tmp_path / "out").glob("*.tex")
    files = [path, *committed.rglob("*.tex")]
    typeset(tmp_path, [rf"\resizebox{{\linewidth}}{{!}}{{\input{{{file}}}}}" for file in files])
    if shutil.which("pdftotext"):
        read = subprocess.run(
            ["pdftotext", "-layout", "paper.pdf", "-"], cwd=tmp_path, capture_output=True, text=True
        ).stdout
        assert (
            read.count("\f") == len(files)
            and re.search("FT, unlearn.lr 0.2", read)
            and "[U+732B]" in read
            and "&" in read
        )
