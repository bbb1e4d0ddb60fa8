#!/usr/bin/env python3
"""Train a classifier, then prune it by global magnitude, rewind and train again.

    python main_imp.py --arch resnet18 --epochs 182 --save_dir runs/dense
    python main_imp.py --pruning_times 2 --rate 0.95 --prune_type rewind_lt --rewind_epoch 8 --save_dir runs/omp95
    python main_imp.py --pruning_times 14 --rate 0.2 --prune_type rewind_lt --rewind_epoch 8 --save_dir runs/imp

The first gives the dense rows of the paper's Table 1, the second (OMP) its 95 % rows. Round s leaves
{s}checkpoint.pth.tar and {s}model_SA_best.pth.tar: 0 is dense, each later one pruned once more.
A killed run goes on from its last epoch when the same command is given again.
"""

from __future__ import annotations

import arg_parser
from report import text
from utils import preview
from utils.errors import leave, say_last, script


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_imp(argv)
    say_last(arg_parser.remarks(arguments))
    from trainer import pretrain

    checked = pretrain.check(arguments)
    if arguments.run.dry_run:
        facts = pretrain.intended(arguments, checked, "imp") | rewinding(arguments.prune)
        preview.show(arguments.run.dry_run, "main_imp.py: " + describe(arguments.prune), facts, checked.config)
        return 0
    folder, log = pretrain.open_folder(arguments, checked, "imp")
    if folder.result() is None:
        folder.begin("main_imp.py", argv)
        log.line(f"main_imp.py: {arg_parser.reading(arguments)}")
        bench = pretrain.read(arguments, checked)
        facts = pretrain.header(arguments, checked, bench, folder) | rewinding(arguments.prune)
        log.facts("main_imp.py: " + describe(arguments.prune), facts)
        pretrain.train(arguments, checked, bench, pretrain.plan(arguments), folder, log)
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    log.line()
    log.line(text.rounds(folder.result()["rounds"]))
    return 0


def describe(prune: arg_parser.Prune) -> str:
    """The plan in words."""
    if prune.pruning_times == 1:
        return "dense training"
    how = "at random" if prune.random_prune else "by global magnitude (l1)"
    left = (1 - prune.rate) ** (prune.pruning_times - 1)
    kind = "OMP" if prune.pruning_times == 2 else "IMP"
    return (
        f"{kind}: dense training, then {prune.pruning_times - 1} x prune {100 * prune.rate:g} % of what is left {how} and "
        f"train again; the last round keeps {100 * left:.2f} % of the prunable weights"
    )


def rewinding(prune: arg_parser.Prune) -> dict[str, str]:
    """Where pruning goes back to, in words; nothing for dense training."""
    target = {
        "lt": "the initial weights",
        "pt": "the best dense weights",
        "rewind_lt": f"those after epoch {prune.rewind_epoch}",
    }
    return {"rewind to": target[prune.prune_type]} if prune.pruning_times > 1 else {}


if __name__ == "__main__":
    leave(main())
