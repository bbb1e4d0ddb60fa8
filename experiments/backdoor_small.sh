#!/usr/bin/env bash
# The paper's figure of Trojan cleanse at a size for a laptop: attack success and accuracy against sparsity, before
# and after fine-tuning on the clean images. DATA holds train/<class>/*, test/<class>/* with 1,000 and 200 images of
# each CIFAR-10 class; resnet20s, OMP. See docs/backdoor.md.
#   bash experiments/backdoor_small.sh DATA
# Environment: PYTHON (interpreter), RUNS (folder for everything), MORE (further flags, e.g. --seed 3). --amp is twice
# as fast on processors that multiply bfloat16 in hardware and slower on others; AMP= leaves it out.
set -euo pipefail
DATA=$(realpath "${1:?the folder of the images}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
${PYTHON:-python} main_backdoor.py --dataset cifar10 --data "$DATA" --arch resnet20s --save_dir "${RUNS:-runs/backdoor-small}" \
  --epochs 12 --batch_size 32 --lr 0.05 --schedule cosine ${AMP---amp} \
  --sparsities 0,0.5,0.75,0.9,0.95 --rewind_epoch 1 --unlearn FT --unlearn_epochs 4 ${MORE:-}
