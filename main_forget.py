#!/usr/bin/env python3
"""Make a trained classifier forget images, then score it: UA, RA, TA, MIA-Efficacy, RTE.

    python main_forget.py --mask runs/omp95/1model_SA_best.pth.tar --unlearn FT --save_dir runs/FT
    python main_forget.py --mask runs/omp95/1model_SA_best.pth.tar --unlearn retrain --forget class:3 \\
        --save_dir runs/retrain
    python main_forget.py --mask runs/omp95/0model_SA_best.pth.tar --unlearn GA --forget random:0.1 --save_dir runs/GA

The first two fill class-wise, 95 %-sparse rows of the paper's Table 1, the third a dense row of
random data forgetting. The mask of the checkpoint is held throughout.
A killed run goes on from its last epoch when the same command is given again.
"""

from __future__ import annotations

import arg_parser
from trainer.pipeline import Script
from utils.errors import leave

SCRIPT = Script("main_forget", arg_parser.parse_forget, "unlearn.forgetting")
main = SCRIPT.main

if __name__ == "__main__":
    leave(main())
