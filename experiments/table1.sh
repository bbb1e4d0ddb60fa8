#!/usr/bin/env bash
# One seed of the paper's Table 1: a dense and a pruned model, every method on both, class-wise and
# random forgetting, then the tables. Sourced by a file that sets
#   RUNS     folder for everything        COMMON   flags of every command (data, architecture, batch)
#   TRAIN    flags of main_imp.py         METHODS  names for --unlearn
# and defines  hyper METHOD SCENARIO MODEL  which prints further flags of one main_forget.py run.
# Environment: PYTHON (interpreter), JOBS (runs at a time, one thread each when more than one).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHON=${PYTHON:-python}
JOBS=${JOBS:-2}
SEED=${SEED:-2}

echo "training a dense model, pruning it, training again (log: $RUNS/model.log)"
mkdir -p "$RUNS"
$PYTHON main_imp.py $COMMON $TRAIN --seed "$SEED" --save_dir "$RUNS/model" > "$RUNS/model.log" 2>&1 ||
  { tail -n 1 "$RUNS/model.log"; exit 1; }
tail -n 3 "$RUNS/model.log"

plan() {
  for scenario in class:0 random:0.1; do
    for round in 0 1; do
      for method in $METHODS; do
        echo "main_forget.py $COMMON --mask $RUNS/model/${round}model_SA_best.pth.tar --unlearn $method" \
          "--forget $scenario --seed $SEED $(hyper "$method" "$scenario" "$round")" \
          "--save_dir $RUNS/${scenario%%:*}-round$round/$method"
      done
    done
  done
}

one() {
  folder=${1##*--save_dir }
  mkdir -p "$folder"
  if $PYTHON $1 > "$folder/output.txt" 2>&1; then
    echo "done   $folder  $(tail -n 1 "$folder/output.txt")"
  else
    echo "FAILED $folder  $(tail -n 1 "$folder/output.txt")"
    exit 1
  fi
}
export -f one

plan > "$RUNS/commands.txt"
echo
echo "unlearning: $(wc -l < "$RUNS/commands.txt") runs, $JOBS at a time (commands: $RUNS/commands.txt)"
if [ "$JOBS" -gt 1 ]; then export OMP_NUM_THREADS=1; fi
xargs -P "$JOBS" -I{} bash -c 'one "$1"' one {} < "$RUNS/commands.txt"
unset OMP_NUM_THREADS

echo
$PYTHON main_report.py "$RUNS"
