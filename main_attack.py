#!/usr/bin/env python3
"""Judge unlearning by a population of models: U-LiRA, LiRA, RMIA and KLoM from the ``outputs.npz`` below folders.

    python main_attack.py runs/study
    python main_attack.py runs/study runs/from-the-cluster --attack ulira,klom --out results/study
    python main_attack.py runs/study --data data/cifar10

Runs leave outputs.npz with --save_outputs. One table per density, a row per method, with originals (which forgot
nothing) and retrained models (which have nothing to forget) as controls; AUC, balanced accuracy and true positive rates
at 1 and 0.1 % false positives, with intervals over splits. ROC curves, how vulnerable single images are, and the
most and least forgotten ones as pictures. attack.json has all numbers, and main_report.py then shows them too. Attacks
that need more models than there are, are named with the reason. docs/populations.md leads from training to table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from utils import files
from utils.errors import leave, script
from utils.names import lookup
from utils.options import Parser, add_options, build, option


@dataclass(frozen=True)
class Wanted:
    attack: tuple[str, ...] = option(("ulira", "lira", "rmia", "klom"), "which attacks", metavar="NAME,NAME")
    out: str | None = option(None, "where to write (default: the first folder)", metavar="DIR")
    level: float = option(0.95, "level of the intervals", above=0, below=1)
    bootstrap: int = option(1000, "samples of splits that an interval is made of", low=10, high=10**6)
    data: str | None = option(None, "folder of the data set, to show images", metavar="DIR")
    no_plots: bool = option(False, "tables only")


@script
def main(argv: list[str] | None = None) -> int:
    folders, wanted = parse(argv)
    from dataset.gallery import gallery
    from evaluation.populations import all_attacks
    from evaluation.populations.roc import Bootstrap
    from report import attack_pictures, attack_table, population_files
    from report.writer import Report

    data = population_files.read(folders)
    images = None if wanted.no_plots else gallery(data.dataset, wanted.data, data.input_size, data.data)
    out, bootstrap = Path(wanted.out or folders[0]), Bootstrap(wanted.bootstrap, wanted.level)
    files.make_folder(out)
    findings = {title: all_attacks.run(models, wanted.attack, bootstrap) for title, models in data.columns.items()}
    report = Report(out, not wanted.no_plots)
    attack_table.add(report, data, findings, bootstrap)
    if report.plots:
        attack_pictures.add(report, findings, images)
    report.finish(", ".join(place.resolve().name for place in folders), "attack")
    attack_table.write_json(out, data, findings, bootstrap)
    return 0


def parse(argv: list[str] | None) -> tuple[list[Path], Wanted]:
    """The folders and the typed flags; raises UsageError at an unknown flag or attack, or without a folder."""
    parser = Parser(prog="main_attack.py", description="Judge unlearning by populations of models.")
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="folders of runs at any depth")
    add_options(parser, Wanted)
    typed = parser.read(argv)
    folders, wanted = [Path(folder) for folder in typed.pop("folders")], build(Wanted, typed)
    from evaluation.populations import all_attacks

    chosen = [lookup(name, all_attacks.ATTACKS, "--attack") for name in wanted.attack]
    return folders, replace(wanted, attack=tuple(name for name in all_attacks.ATTACKS if name in chosen))


if __name__ == "__main__":
    leave(main())
