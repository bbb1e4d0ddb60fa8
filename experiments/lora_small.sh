#!/usr/bin/env bash
# FT against FT with LoRA: scores on a ResNet and a small ViT, then the cost of a step for these and for models of real size.
# About half an hour on one core. Needs peft and transformers, and data/cifar10-small (train/<class>/*, test/<class>/*) with
# 300 training and 100 test images of each class of CIFAR-10.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS=1
PYTHON=${PYTHON:-python}
RUNS=runs/lora-small

mkdir -p $RUNS/vit
cat > $RUNS/vit/config.json <<END
{"model_type": "vit", "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 256,
 "image_size": 32, "patch_size": 8}
END
for table in lora-small lora-small-sparse; do
  $PYTHON main_sweep.py experiments/$table.yaml --max_concurrent 1
done
$PYTHON experiments/lora_table.py $RUNS results/lora
$PYTHON experiments/lora_cost.py $RUNS results/lora
