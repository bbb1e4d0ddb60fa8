#!/usr/bin/env bash
# The whole pipeline on scikit-learn's 1,797 digits in a few minutes on two cores, without a download.
# Step sizes and alphas were chosen by hand for this small model, separately for each scenario and model.
RUNS=${RUNS:-runs/demo}
COMMON="--dataset digits --input_size 8 --arch resnet20s"
TRAIN="--epochs 20 --decreasing_lr 10,15 --batch_size 64 --pruning_times 2 --rate 0.9 --prune_type rewind_lt --rewind_epoch 2"
METHODS="retrain FT GA fisher_new wfisher FT_prune"

hyper() {
  case "$1 $2 round$3" in
    retrain*) echo "--unlearn_epochs 20 --decreasing_lr 10,15 --batch_size 64" ;;
    "FT class:0 round0") echo "--unlearn_lr 0.2 --batch_size 64" ;;
    "FT class:0 round1") echo "--unlearn_lr 0.12 --batch_size 64" ;;
    "FT random:0.1 "*) echo "--batch_size 64" ;;
    "FT_prune class:0 round0") echo "--unlearn_lr 0.2 --alpha 1e-4 --batch_size 64" ;;
    "FT_prune class:0 round1") echo "--unlearn_lr 0.1 --alpha 1e-3 --batch_size 64" ;;
    "FT_prune random:0.1 "*) echo "--alpha 5e-4 --batch_size 64" ;;
    GA*) echo "--unlearn_lr 1e-3 --batch_size 64" ;;
    "wfisher class:0 round0") echo "--alpha 5" ;;
    "wfisher class:0 round1") echo "--alpha 1" ;;
    "wfisher random:0.1 round0") echo "--alpha 2" ;;
    "wfisher random:0.1 round1") echo "--alpha 0.2" ;;
  esac
}
source "$(dirname "${BASH_SOURCE[0]}")/table1.sh"
