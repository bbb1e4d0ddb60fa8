#!/usr/bin/env python3
"""Find the weights that matter for the images to forget, as masks for main_forget.py --saliency_mask.

    python main_saliency.py --mask runs/dense/0model_SA_best.pth.tar --forget random:0.1 --save_dir runs/saliency
    python main_forget.py --mask runs/dense/0model_SA_best.pth.tar --forget random:0.1 --unlearn RL \\
        --saliency_mask runs/saliency/with_0.5.pt --save_dir runs/SalUn

Leaves with_0.1.pt to with_1.0.pt, whose numbers are the fractions of weights that may change; with
--saliency fisher it leaves fisher_0.1.pt to fisher_10.0.pt, whose numbers are the least ratio of
Fisher information on the forget set to that on the retain set. --saliency SSD and LFSSD leave the importances over
all training images, which main_forget.py --unlearn SSD --importances FILE uses for any images to forget.
"""

from __future__ import annotations

import arg_parser
from trainer.pipeline import Script
from utils.errors import leave

SCRIPT = Script("main_saliency", arg_parser.parse_saliency, "unlearn.saliency_masks")
main = SCRIPT.main

if __name__ == "__main__":
    leave(main())
