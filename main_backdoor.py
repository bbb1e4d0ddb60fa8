#!/usr/bin/env python3
"""Poison a training set, prune, unlearn the poisoned images: attack success (ASR) and accuracy (SA) before and after.

    python main_backdoor.py --num_indexes_to_replace 4500 --rate 0.95 --rewind_epoch 8 --save_dir runs/trojan95
    python main_backdoor.py --sparsities 0,0.75,0.9,0.95,0.99 --rewind_epoch 8 --save_dir runs/trojan
    python main_backdoor.py --mask runs/trojan95/1checkpoint.pth.tar --unlearn FT_prune --save_dir runs/trojan95-l1

The first trains on 4,500 images that carry a black square and the label of class 0, prunes 95 %, trains
again and fine-tunes on the clean images (the paper's Trojan model cleanse). The second makes the paper's whole
figure, with one dense training for all sparsities. The third unlearns a model that was trained before.
A killed run goes on from its last epoch when the same command is given again.
"""

from __future__ import annotations

import arg_parser
from trainer.pipeline import Script
from utils.errors import leave

SCRIPT = Script("main_backdoor", arg_parser.parse_backdoor, "backdoor.cleanse")
main = SCRIPT.main

if __name__ == "__main__":
    leave(main())
