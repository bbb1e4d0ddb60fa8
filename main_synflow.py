#!/usr/bin/env python3
"""Prune a new network before training (SynFlow and other scores), then train it.

    python main_synflow.py --rate 0.95 --save_dir runs/synflow95
    python main_synflow.py --score snip --rate 0.9 --save_dir runs/snip90

SynFlow needs no data: in 100 exponential steps it removes the weights that carry least flow from an
all-ones image. Leaves 0checkpoint.pth.tar and 0model_SA_best.pth.tar, which main_forget.py --mask takes.
A killed run goes on from its last epoch when the same command is given again.
"""

from __future__ import annotations

from typing import Any

import arg_parser
from report import text
from utils import preview
from utils.errors import leave, say_last, script


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_synflow(argv)
    say_last(arg_parser.remarks(arguments))
    from trainer import pretrain

    checked = pretrain.check(arguments)
    if arguments.run.dry_run:
        facts = pretrain.intended(arguments, checked, "synflow")
        preview.show(arguments.run.dry_run, "main_synflow.py: " + describe(arguments.prune), facts, checked.config)
        return 0
    folder, log = pretrain.open_folder(arguments, checked, "synflow")
    if folder.result() is None:
        folder.begin("main_synflow.py", argv)
        log.line(f"main_synflow.py: {arg_parser.reading(arguments)}")
        bench = pretrain.read(arguments, checked)
        log.facts("main_synflow.py: " + describe(arguments.prune), pretrain.header(arguments, checked, bench, folder))
        pretrain.train(arguments, checked, bench, plan(arguments), folder, log, prune(arguments, bench, log))
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    log.line()
    log.line(text.rounds(folder.result()["rounds"]))
    return 0


def prune(arguments: arg_parser.SynflowArguments, bench: Any, log: Any) -> dict[str, Any]:
    """The mask of the new model: by ``--score``, at ``--rate``."""
    from trainer import pretrain

    flags = arguments.prune
    return pretrain.prune_first(bench, flags.score, flags.rate, flags.steps, arguments.run.train_seed, log)


def plan(arguments: arg_parser.SynflowArguments) -> Any:
    """One round of training."""
    from trainer.rounds import Plan

    run = arguments.run
    return Plan(
        1,
        0.0,
        "lt",
        0,
        "magnitude",
        seed=run.train_seed,
        augmented_validation=run.compat == "reference",
        label_smoothing=arguments.train.label_smoothing,
    )


def describe(prune: arg_parser.PruneAtStart) -> str:
    """What is done, in words."""
    if prune.rate == 0:
        return "dense training"
    steps = "" if prune.steps is None else f" in {prune.steps} steps"
    return f"prune {100 * prune.rate:g} % of the new network's prunable weights by {prune.score}{steps}, then train"


if __name__ == "__main__":
    leave(main())
