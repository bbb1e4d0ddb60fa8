#!/usr/bin/env bash
# Table 1 at a size for a laptop: 500 training and 200 test images per class of CIFAR-10 below
# data/cifar10 (train/<class>/*, test/<class>/*), resnet20s, 90 % sparse. One to two hours on two cores.
# GA's step sizes and IU's alphas: see docs/cifar10-small.md.
RUNS=${RUNS:-runs/cifar10-small}
COMMON="--dataset cifar10 --data data/cifar10 --arch resnet20s"
TRAIN="--epochs 24 --decreasing_lr 12,18 --batch_size 64 --pruning_times 2 --rate 0.9 --prune_type rewind_lt --rewind_epoch 2"
METHODS="raw retrain FT FT_prune GA GA_l1 fisher_new wfisher"

hyper() {
  case "$1 $2" in
    retrain*) echo "--unlearn_epochs 24 --decreasing_lr 12,18 --batch_size 64" ;;
    FT*) echo "--batch_size 64" ;;
    "GA class:0") echo "--unlearn_lr 1e-4 --batch_size 64" ;;
    "GA_l1 class:0") echo "--unlearn_lr 1e-5 --batch_size 64" ;;
    GA*) echo "--unlearn_lr 1e-3 --batch_size 64" ;;
    "wfisher class:0") echo "--alpha 0.5" ;;
    wfisher*) echo "--alpha 0.1" ;;
  esac
}
source "$(dirname "${BASH_SOURCE[0]}")/table1.sh"
