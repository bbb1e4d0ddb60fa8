#!/usr/bin/env bash
# FT against FT with LoRA: scores on a ResNet and a small ViT (experiments/lora-small.yaml), then the cost alone of models of
# real size, three epochs of a few images without training before. About half an hour on one core. Needs peft and
# transformers, and data/cifar10-small (train/<class>/*, test/<class>/*). "cost" as an argument leaves the scores out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-python}
RUNS=${RUNS:-runs/lora-small}

$PYTHON - "$RUNS/vit" <<'END'
import json, pathlib, sys
sizes = {"hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 256, "image_size": 32, "patch_size": 8}
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text(json.dumps({"model_type": "vit", **sizes}))
END
for table in lora-small lora-small-sparse; do
  [ "${1:-}" = cost ] || $PYTHON main_sweep.py experiments/$table.yaml --max_concurrent 1
done

tree() {  # folder, classes, training images of each
  for part in train test; do
    for class in $(ls data/cifar10-small/$part | sed -n "1,$2p"); do
      mkdir -p "$1/$part/$class"
      ls data/cifar10-small/$part/$class/* | sed -n "1,$3p" | xargs -I{} cp {} "$1/$part/$class/"
    done
  done
}

cost() {  # architecture, side, batch, classes, training images of each
  local models="$RUNS/cost/$1" common="--dataset folder --data $RUNS/cost/data-$1 --arch $1 --input_size $2 --batch_size $3"
  tree "$RUNS/cost/data-$1" "$4" "$5"
  $PYTHON main_imp.py $common --epochs 0 --pruning_times 2 --rate 0.9 --save_dir "$models/model"
  for round in 0 1; do
    for way in plain lora held; do
      case $way in plain) more="" ;; lora) more="--lora" ;; held) more="--lora --lora_merge held" ;; esac
      [ "$round $way" = "0 held" ] || $PYTHON main_forget.py $common --mask "$models/model/${round}checkpoint.pth.tar" \
        --unlearn FT --unlearn_epochs 3 --unlearn_lr 1e-6 --forget random:2 $more --save_dir "$models/$round-$way"
    done
  done
}
cost resnet18 32 32 10 14
cost vit_b_16 224 8 2 5
$PYTHON experiments/lora_table.py "$RUNS" results/lora
