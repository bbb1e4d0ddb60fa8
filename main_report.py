#!/usr/bin/env python3
"""Tables and plots in the paper's layout from the ``result.json`` files below a folder.

    python main_report.py runs/demo
    python main_report.py runs/table1 runs/table1-reference --out tables --settings
    python main_report.py runs/table1 --out results/table1 --pack && python main_report.py results/table1

One table per data set, architecture, scenario, split and --compat: gap to Retrain in brackets, average gap, number of
seeds, and published numbers; what sparsity changes; methods in order of their gap over all scenarios and models;
one table per poison (main_backdoor.py) and per transfer (main_transfer.py); with --claims whether claims hold. Each is
written as Markdown and CSV, the first kind as LaTeX too, with pictures as PNG and SVG; report.html has them all. What
is missing, failed or in no table is named. A run counts once. --pack writes all runs into one file, read like their
folders.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evaluation import scoring
from report import claim_file, further
from report.runs import PACKED, collect
from utils import files
from utils.errors import leave, script
from utils.options import Parser


@script
def main(argv: list[str] | None = None) -> int:
    wanted = parse(argv)
    collection = collect(wanted.folders)
    from report import assemble, writer
    from unlearn import unlearn_flags

    claim_file.check_known(wanted.claims, unlearn_flags.known_names, collection)
    files.make_folder(wanted.out)
    report = writer.Report(wanted.out, wanted.plots)
    assemble.add_unlearning(report, collection, wanted.folders, wanted.scores, wanted.settings, wanted.claims)
    assemble.add_others(report, collection)
    assemble.add_left_out(report, collection, wanted.folders[0])
    report.finish(", ".join(place.resolve().name for place in wanted.folders))
    if wanted.pack:
        collection.pack(wanted.out / PACKED)
    return 0


@dataclass(frozen=True)
class Wanted:
    """The command line, with defaults for what was not typed."""

    folders: list[Path]
    out: Path
    plots: bool
    scores: list[str]
    claims: list[claim_file.Claim]
    settings: bool
    pack: bool


def parse(argv: list[str] | None) -> Wanted:
    """The command line; raises UsageError at an unknown flag or score, without a folder, or at a wrong claims file."""
    parser = Parser(prog="main_report.py", description="Tables and plots from the result.json files below a folder.")
    parser.add_argument("folders", metavar="PATH", nargs="+", help="folders of runs at any depth, or packed files")
    parser.add_argument("--out", metavar="DIR", default=None, help="where to write (default: the first folder)")
    parser.add_argument("--no_plots", action="store_true", help="tables only")
    listed = f"a further table of these scores, or of all: {', '.join(scoring.columns())}"
    parser.add_argument("--scores", metavar="NAME,NAME", default=None, help=listed)
    parser.add_argument("--claims", metavar="FILE", default=None, help="whether the claims of this YAML file hold")
    parser.add_argument("--settings", action="store_true", help="a last column with each row's hyper-parameters")
    parser.add_argument("--pack", action="store_true", help=f"write all runs into one file, {PACKED}, too")
    typed = parser.read(argv)
    folders, scores = [Path(folder) for folder in typed["folders"]], further.scores_named(typed["scores"])
    claims = claim_file.read(typed["claims"])
    out = Path(typed["out"] or (folders[0].parent if folders[0].is_file() else folders[0]))
    return Wanted(folders, out, not typed["no_plots"], scores, claims, typed["settings"], typed["pack"])


if __name__ == "__main__":
    leave(main())
