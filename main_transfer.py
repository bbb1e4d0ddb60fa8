#!/usr/bin/env python3
"""Remove source classes from a trained classifier, then carry it over to a target data set: accuracy and time of both.

    python main_transfer.py --mask runs/omp95/1model_SA_best.pth.tar --target data/pets --removed 0,1,3 \\
        --save_dir runs/pets
    python main_transfer.py --mask runs/omp95/1model_SA_best.pth.tar --target data/pets --removed 0,1,3 \\
        --unlearn retrain --save_dir runs/pets-retrain
    python main_report.py runs

The first unlearns 0, 1 and 3 classes by l1-sparse and fits a new head to each model's frozen features,
the second trains anew without these classes, which is what the first should come close to in less
time, the third puts both into one table (Jia et al. 2023, improving transfer learning by unlearning).
A killed run goes on from its last epoch when the same command is given again.
"""

from __future__ import annotations

import arg_parser
from trainer.pipeline import Script
from utils.errors import leave

SCRIPT = Script("main_transfer", arg_parser.parse_transfer, "transfer.transferring")
main = SCRIPT.main

if __name__ == "__main__":
    leave(main())
