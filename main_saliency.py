#!/usr/bin/env python3
"""Find the weights that matter for the images to forget, as masks for main_forget.py --saliency_mask.

    python main_saliency.py --mask runs/dense/0model_SA_best.pth.tar --forget random:0.1 --save_dir runs/saliency
    python main_forget.py --mask runs/dense/0model_SA_best.pth.tar --forget random:0.1 --unlearn RL \\
        --saliency_mask runs/saliency/with_0.5.pt --save_dir runs/SalUn

Leaves with_0.1.pt to with_1.0.pt, whose numbers are the fractions of weights that may change; with
--saliency fisher it leaves fisher_0.1.pt to fisher_10.0.pt, whose numbers are the least ratio of
Fisher information on the forget set to that on the retain set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arg_parser
import main_forget
from utils import preview
from utils.errors import leave, say_last, script

PREFIX = {"gradient": "with", "fisher": "fisher"}  # the references' file names


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_saliency(argv)
    say_last(arg_parser.remarks(arguments))
    checked = main_forget.check(arguments)
    if arguments.run.dry_run:
        facts = main_forget.intended(arguments, checked, label(arguments), outputs(arguments))
        preview.show(arguments.run.dry_run, "main_saliency.py: " + describe(arguments.hyper), facts, checked.config)
        return 0
    from dataset import split_file
    from utils.log import Log
    from utils.run_folder import RunFolder, fingerprint

    folder = RunFolder(Path(arguments.run.save_dir), label(arguments), fingerprint(checked.config), outputs(arguments))
    log = Log(folder.path)
    if folder.result() is None:
        folder.begin("main_saliency.py", argv)
        log.line(f"main_saliency.py: {arg_parser.reading(arguments)}")
        job = main_forget.read_data(arguments, checked)
        split_file.write(folder.path, vars(job.split), job.split.digest)
        log.facts(
            "main_saliency.py: " + describe(arguments.hyper), main_forget.header(arguments, checked, job, folder.path)
        )
        finish(arguments, checked, job, folder, find(arguments, checked, job, folder, log))
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    for name, words in folder.result()["masks"].items():
        log.line(f"{name:<13} {words}")
    return 0


def label(arguments: Any) -> str:
    """The run's name in its folder."""
    return f"saliency_{arguments.hyper.saliency}"


def outputs(arguments: Any) -> list[str]:
    """The files that the run writes."""
    return [f"{PREFIX[arguments.hyper.saliency]}_*.pt"]


def find(arguments: Any, checked: Any, job: Any, folder: Any, log: Any) -> dict[str, str]:
    """Write a mask for every threshold; how many weights each leaves free, in words, by file name."""
    import pruner
    from unlearn import saliency
    from unlearn.context import Context
    from utils import memory

    run, flags = arguments.run, arguments.hyper
    context = Context(
        job.mask,
        checked.device,
        run.seed,
        run.compat,
        job.data.name,
        len(job.data.classes),
        checked.scenario,
        job.split.whole_classes,
        log,
    )
    pruner.MaskEnforcer(job.model, job.mask)
    forget, retain, how = job.sets["forget"], job.sets["retain"], (flags.batch_size, flags.no_aug, context)
    if flags.saliency == "gradient":
        with memory.steps(flags.batch_size):
            scores = saliency.gradient(job.model, forget, *how)
        found = {density: saliency.largest(scores, density, job.mask) for density in saliency.DENSITIES}
    else:
        scores = saliency.fisher_ratio(job.model, forget, retain, *how)
        found = {ratio: saliency.at_least(scores, ratio, job.mask) for ratio in saliency.RATIOS}
    masks = {f"{PREFIX[flags.saliency]}_{threshold}.pt": only for threshold, only in found.items()}
    for name, only in masks.items():
        saliency.write(folder.path / name, only)
    return {name: saliency.share(only, job.mask) for name, only in masks.items()}


def finish(arguments: Any, checked: Any, job: Any, folder: Any, masks: dict[str, str]) -> None:
    """Write ``result.json``."""
    from utils.run_folder import environment

    folder.finish(
        {
            "label": folder.label,
            "script": "main_saliency.py",
            "status": "done",
            "masks": masks,
            "scenario": {"words": main_forget.words(checked, job), **checked.scenario.facts()},
            "split": {"digest": job.split.digest, "base_digest": job.split.base_digest},
            "config": checked.config,
            "device": str(checked.device),
            "environment": environment(),
        }
    )


def describe(flags: arg_parser.Saliency) -> str:
    """What is found, in words."""
    if flags.saliency == "gradient":
        return "the weights with the largest gradients on the forget set"
    return "the weights with more Fisher information on the forget set than on the retain set"


if __name__ == "__main__":
    leave(main())
