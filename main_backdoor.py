#!/usr/bin/env python3
"""Poison a training set, prune, unlearn the poisoned images: attack success (ASR) and accuracy (SA) before and after.

    python main_backdoor.py --num_indexes_to_replace 4500 --rate 0.95 --rewind_epoch 8 --save_dir runs/trojan95
    python main_backdoor.py --sparsities 0,0.75,0.9,0.95,0.99 --rewind_epoch 8 --save_dir runs/trojan
    python main_backdoor.py --mask runs/trojan95/1checkpoint.pth.tar --unlearn FT_prune --save_dir runs/trojan95-l1

The first trains on 4,500 images that carry a black square and the label of class 0, prunes 95 %, trains
again and fine-tunes on the clean images (the paper's Trojan model cleanse); the second is its whole figure,
with one dense training for all sparsities; the third unlearns a model that is there already.
A killed run goes on from its last epoch when the same command is given again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import arg_parser
from utils import preview
from utils.errors import leave, say_last, script

if TYPE_CHECKING:
    from backdoor.job import Checked


@script
def main(argv: list[str] | None = None) -> int:
    arguments = arg_parser.parse_backdoor(argv)
    say_last(arg_parser.remarks(arguments))
    from backdoor.job import check

    checked = check(arguments)
    if arguments.run.dry_run:
        from backdoor.backdoor_header import intended

        title = f"main_backdoor.py: {checked.method.name}, {checked.method.summary}"
        preview.show(arguments.run.dry_run, title, intended(arguments, checked), checked.config)
        return 0
    if arguments.sparsities is None:
        single(arguments, checked, argv)
    else:
        from backdoor.curve import curve

        curve(arguments, checked, argv)
    return 0


def single(arguments: arg_parser.BackdoorArguments, checked: Checked, argv: list[str] | None) -> None:
    """Train or load a poisoned model, and cleanse it."""
    from backdoor import cleanse, job
    from backdoor.backdoor_header import header
    from report.backdoor_table import printed
    from report.verdict import backdoor_words
    from trainer.rounds import Names
    from unlearn.session import clear

    folder, log = cleanse.open_folder(arguments, checked)
    if folder.result() is None:
        folder.begin("main_backdoor.py", argv)
        log.line(f"main_backdoor.py: {arg_parser.reading(arguments)}")
        poisoned = job.read_data(arguments, checked)
        job.check_origin(arguments, checked, poisoned)
        log.facts(
            f"main_backdoor.py: {checked.method.name}, {checked.method.summary}",
            header(arguments, checked, poisoned, folder.path),
        )
        with folder.failing(cleanse.facts(arguments, checked, poisoned)):
            if checked.given is not None:
                trained = cleanse.load(checked, poisoned)
            else:
                trained = cleanse.train(arguments, checked, poisoned, Names(folder.path), log)
            if checked.given is None and arguments.unlearn.mask is not None:
                cleanse.keep(arguments, checked, poisoned, trained)
            cleanse.cleanse(arguments, checked, poisoned, trained, folder, log)
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    clear(checked.method, folder)
    log.line(f"\n{printed([folder.result()])}\n\n{backdoor_words(folder.result())}")


if __name__ == "__main__":
    leave(main())
