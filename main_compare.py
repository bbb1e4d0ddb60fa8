#!/usr/bin/env python3
"""One page that sets models of one split side by side: the original, unlearned ones, Retrain.

    python main_compare.py runs/FT runs/retrain
    python main_compare.py runs/omp95/1model_SA_best.pth.tar runs/FT runs/GA runs/retrain --out runs
    python main_compare.py runs/FT runs/retrain --map tsne --data data/cifar10

RUN is the folder of a finished run of main_forget.py, main_imp.py or main_synflow.py, or a checkpoint in it. Every
model is run once over the split's images. compare.html then shows accuracy per class, predictions, attacks by a
threshold, similarity per layer, a map of features and the images themselves, with filters for all of them. It is one
file below 5 MB that needs no server and no network. main_report.py links to it where it lies in the report's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compare import entries
from report.page import COMPARED
from utils import files
from utils.errors import leave, script
from utils.options import Parser, add_options, build, option

ANSWERS = 400_000  # of all models together, which leaves a page room for pictures


@dataclass(frozen=True)
class Wanted:
    out: str | None = option(None, "where to write (default: the folder that holds the first run)", metavar="DIR")
    data: str | None = option(None, "folder of the data set (./data or ../data)", metavar="DIR")
    map: str = option("pca", "how features are placed; umap needs umap-learn", choices=("pca", "tsne", "umap"))
    images: int = option(70_000, "look at no more images than this; retained ones are left out first", low=100)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", metavar="DEVICE")


@script
def main(argv: list[str] | None = None) -> int:
    places, wanted = parse(argv)
    found = entries.read(places)
    from compare import whole_page

    whole_page.check_library()
    from compare import content, embedding, opening, thumbnails
    from utils.device import resolve

    embedding.check(wanted.map)
    most = min(wanted.images, ANSWERS // len(found))
    opened = opening.open_all(found, wanted.data, resolve(wanted.device), most)
    out = Path(wanted.out) if wanted.out else found[0].folder.parent
    files.make_folder(out)
    shown = content.collect(found, opened, wanted.map)
    title = f"{opened.dataset}: {', '.join(entry.name for entry in found)}"
    made = f"Made by main_compare.py from {', '.join(str(entry.path) for entry in found)}."
    text = whole_page.page(title, shown, made, lambda most: thumbnails.sheet(opened.sets, shown.pictured, most))
    files.write_text(out / COMPARED, text)
    for line in shown.remarks:
        print(line)
    print(f"written: {out / COMPARED} ({len(text.encode()) / 1e6:.1f} MB)", flush=True)
    return 0


def parse(argv: list[str] | None) -> tuple[list[str], Wanted]:
    """What was typed; raises UsageError at an unknown flag, or without a run."""
    parser = Parser(prog="main_compare.py", description="One page that sets models of one split side by side.")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folders of finished runs, or checkpoints in them")
    add_options(parser, Wanted)
    typed = parser.read(argv)
    return typed.pop("runs"), build(Wanted, typed)


if __name__ == "__main__":
    leave(main())
