#!/usr/bin/env python3
"""One page that sets models of one split side by side: the original, unlearned ones, Retrain.

    python main_compare.py runs/FT runs/retrain
    python main_compare.py runs/omp95/1model_SA_best.pth.tar runs/FT runs/GA runs/retrain --out runs
    python main_compare.py runs/FT runs/retrain --map tsne --data data/cifar10
    python main_compare.py runs/ddpm runs/SalUn runs/ddpm-retrain

RUN is the folder of a finished run of main_forget.py, main_imp.py or main_synflow.py, or a checkpoint in it. Every
model is run once over the split's images. compare.html then shows accuracy per class, predictions, attacks by a
threshold, similarity per layer, a map of features and the images themselves, with filters for all of them.

Or RUN is the folder of a run of main_generate.py train or forget, whose subfolder scores holds what main_generate.py
score wrote. compare.html then shows what the generators drew, what the judge said of it, and all scores.

The page is one file below 5 MB that needs no server and no network. main_report.py links to it where it lies in the
report's folder.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from compare import model_kinds
from report.page import COMPARED
from utils import files
from utils.errors import UsageError, leave, script
from utils.options import Parser, add_options, build, option

OPENING = ("data", "map", "images", "device")  # flags that are read only where models are opened: for classifiers


@dataclass(frozen=True)
class Flags:
    out: str | None = option(None, "where to write (default: the folder that holds the first run)", metavar="DIR")
    data: str | None = option(None, "folder of the data set (./data or ../data)", metavar="DIR")
    map: str = option("pca", "how features are placed; umap needs umap-learn", choices=("pca", "tsne", "umap"))
    images: int = option(70_000, "look at no more images than this; retained ones are left out first", low=100)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", metavar="DEVICE")


@script
def main(argv: list[str] | None = None) -> int:
    places, typed = parse(argv)
    flags, kind = build(Flags, typed), model_kinds.of(places)
    idle = [name for name in OPENING if name in typed and kind == "generators"]
    if idle:
        raise UsageError(f"--{idle[0]}: is for classifiers, which are opened; leave it out")
    entries = importlib.import_module(model_kinds.ENTRIES[kind]).read(places)
    importlib.import_module("compare.whole_page").check_library()
    text, remarks = importlib.import_module(model_kinds.PAGES[kind]).make(entries, flags)
    out = Path(flags.out) if flags.out else entries[0].folder.parent
    files.make_folder(out)
    files.write_text(out / COMPARED, text)
    for line in remarks:
        print(line)
    print(f"written: {out / COMPARED} ({len(text.encode()) / 1e6:.1f} MB)", flush=True)
    return 0


def parse(argv: list[str] | None) -> tuple[list[str], dict[str, str]]:
    """The runs and the values of the typed flags; raises UsageError at an unknown flag, or without a run."""
    parser = Parser(prog="main_compare.py", description="One page that sets models of one split side by side.")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders of finished runs, or checkpoints in them")
    add_options(parser, Flags)
    typed = parser.read(argv)
    return typed.pop("runs"), typed


if __name__ == "__main__":
    leave(main())
