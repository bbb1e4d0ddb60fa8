#!/usr/bin/env python3
"""Prune a new network before training (SynFlow and other scores), then train it.

    python main_synflow.py --rate 0.95 --save_dir runs/synflow95
    python main_synflow.py --score snip --rate 0.9 --save_dir runs/snip90

SynFlow needs no data: in 100 exponential steps it removes the weights that carry least flow from an
all-ones image. Leaves 0checkpoint.pth.tar and 0model_SA_best.pth.tar, which main_forget.py --mask takes.
A killed run goes on from its last epoch when the same command is given again.
"""

from __future__ import annotations

import arg_parser
from trainer.pipeline import Script
from utils.errors import leave

SCRIPT = Script("main_synflow", arg_parser.parse_synflow, "trainer.training")
main = SCRIPT.main

if __name__ == "__main__":
    leave(main())
