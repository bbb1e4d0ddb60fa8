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
from trainer.pipeline import Script
from utils.errors import leave

SCRIPT = Script("main_imp", arg_parser.parse_imp, "trainer.training")
main = SCRIPT.main

if __name__ == "__main__":
    leave(main())
