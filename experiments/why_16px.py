#!/usr/bin/env python3
"""Why FT comes nearer to Retrain at 98 % sparsity, not at 95 %: one thing changed, on the models of table1-16px.yaml.

    python main_sweep.py experiments/table1-16px.yaml
    python main_sweep.py experiments/sparsity-16px.yaml
    python experiments/why_16px.py

The runs go to the folder of those sweeps, and finished ones are not made again. At the end the script prints a table,
and writes it and its scores to runs/table1-16px/why. --table FILE prints the table of such a file of scores.

epochs: FT for the paper's 10 epochs instead of 3, on the dense and the 95 %-sparse model.
norms: FT on the dense model with each convolution scaled to the norm that it has in the 95 %-sparse and in the
    98 %-sparse model, on the 95 %-sparse model with the norms of the 98 %-sparse one, and on the 98 %-sparse model with
    the norms of the dense one. A batch norm follows each convolution, so outputs stay the same, but for its epsilon.
width: a ResNet-18 with 40 channels instead of 64, dense and 95 % sparse: Retrain, FT at two step sizes, and l1-sparse
    with the settings of the wide one. At 95 % it keeps as many weights as the wide one at 98 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402

import main_forget  # noqa: E402
import main_imp  # noqa: E402
import models  # noqa: E402
from models import architecture, resnet  # noqa: E402
from report.runs import METRICS, collect  # noqa: E402
from report.text import markdown  # noqa: E402
from report.verdict import average_gap  # noqa: E402
from trainer import checkpoints  # noqa: E402
from utils import files  # noqa: E402
from utils.errors import UsageError, leave, script  # noqa: E402

FOLDER = Path("runs/table1-16px")
MODELS = {"dense": "dense/0", "sparse-rate=0.95": "omp-rate=0.95/1", "sparse-rate=0.98": "omp-rate=0.98/1"}
NARROW = "resnet18_40_channels"
DATA = "--dataset cifar10 --data data/cifar10-100 --input_size 16 --batch_size 32 --schedule cosine --no_aug".split()
TRAINING = "--epochs 12 --lr 0.01 --warmup 1 --rate 0.95 --prune_type rewind_lt --rewind_epoch 1".split()
METHODS = {
    "raw": "--unlearn raw",
    "retrain": "--unlearn retrain --unlearn_epochs 12 --unlearn_lr 0.01 --warmup 1",
    "FT": "--unlearn FT --unlearn_epochs 3 --unlearn_lr 3e-3",
    "FT-tuned": "--unlearn FT --unlearn_epochs 3 --unlearn_lr 0.02",
    "FT-10": "--unlearn FT --unlearn_epochs 10 --unlearn_lr 3e-3",
    "l1-sparse": "--unlearn FT_prune --unlearn_epochs 3 --unlearn_lr 0.01 --alpha 0.01",
}

SCALED = {  # models whose convolutions get the norms of another one: what they are made of, and whose norms they get
    "dense-norms-of-0.95": ("dense", "sparse-rate=0.95"),
    "dense-norms-of-0.98": ("dense", "sparse-rate=0.98"),
    "sparse-rate=0.95-norms-of-0.98": ("sparse-rate=0.95", "sparse-rate=0.98"),
    "sparse-rate=0.98-norms-of-dense": ("sparse-rate=0.98", "dense"),
}
ROWS = {  # rows of the table, by the question that they answer: names of models and methods
    "epochs": [(model, method) for method in ("FT", "FT-10") for model in ("dense", "sparse-rate=0.95")],
    "norms": [(model, "FT") for model in sorted([*SCALED, "dense", "sparse-rate=0.95", "sparse-rate=0.98"])],
    "width": [
        (model, method)
        for method in ("FT", "FT-tuned", "l1-sparse")
        for model in ("dense", "sparse-rate=0.95", "sparse-rate=0.98", "narrow", "narrow-sparse")
    ],
}

narrow = partial(resnet.ResNet, resnet.BasicBlock, (2, 2, 2, 2), width=40)  # takes the number of classes


def run(main: Callable[[list[str]], int], folder: Path, *flags: str) -> None:
    """Run a script with the flags of the data and ``flags``.

    Raises:
        UsageError: the script did not end well.
    """
    if main([*DATA, *flags, "--save_dir", str(folder)]):
        raise UsageError(f"{folder}: the run did not end; see the lines above")


def forget(model: Path, folder: Path, seed: int, arch: str, *methods: str) -> None:
    """Forget class 0 by each of the methods, named as in ``METHODS``, and score."""
    for name in methods:
        flags = f"--arch {arch} --seed {seed} --train_seed {seed} --mask {model} --forget class:0".split()
        run(main_forget.main, folder / name, *flags, *METHODS[name].split())


def train(folder: Path, seed: int, arch: str, *flags: str) -> None:
    """Train, and prune if ``flags`` ask for it."""
    run(main_imp.main, folder, "--arch", arch, "--seed", str(seed), "--train_seed", str(seed), *TRAINING, *flags)


def rescale(source: Path, model: Path, target: Path) -> Path:
    """Write ``source`` with the norm of each of its convolutions as in the checkpoint ``model``; the file's path.

    The statistics of the batch norm behind a convolution are scaled with it, so outputs stay as they are.
    """
    content = torch.load(source, weights_only=True)
    state = content["state_dict"]
    norms = {key: value.norm() for key, value in checkpoints.read(model, "--mask").weights.items() if value.dim() == 4}
    weights, _ = checkpoints.unpack(state)
    for name, norm in norms.items():
        factor = norm / weights[name].norm()
        state[name if name in state else name + checkpoints.ORIGINAL] *= factor
        behind = name.replace("conv", "bn").replace("downsample.0", "downsample.1").removesuffix("weight")
        state[f"{behind}running_mean"] *= factor
        state[f"{behind}running_var"] *= factor**2
    files.make_folder(target.parent)
    checkpoints.write(content, target)
    return target


def trained_models(seed: int) -> dict[str, Path]:
    """The checkpoints that the sweeps have left.

    Raises:
        UsageError: one is missing.
    """
    found = {name: FOLDER / f"seed{seed}" / f"{place}checkpoint.pth.tar" for name, place in MODELS.items()}
    for path in found.values():
        if not path.is_file():
            raise UsageError(f"{path}: is not there; first run python main_sweep.py experiments/sparsity-16px.yaml")
    return found


def study(seed: int) -> None:
    """Everything for one seed."""
    folder, trained = FOLDER / f"seed{seed}", trained_models(seed)
    forgotten = folder / "class"
    for name in ("dense", "sparse-rate=0.95"):
        forget(trained[name], forgotten / name, seed, "resnet18", "FT-10")
    for name, (source, other) in SCALED.items():
        scaled = rescale(trained[source], trained[other], folder / "scaled" / f"{name}.pth.tar")
        forget(scaled, forgotten / name, seed, "resnet18", "raw", "FT")
    train(folder / "narrow", seed, NARROW)
    first = folder / "narrow/0checkpoint.pth.tar"
    train(folder / "narrow-omp", seed, NARROW, "--resume", "--checkpoint", str(first), "--pruning_times", "2")
    for name, model in {"narrow": first, "narrow-sparse": folder / "narrow-omp/1checkpoint.pth.tar"}.items():
        forget(model, forgotten / name, seed, NARROW, "raw", "retrain", "FT", "FT-tuned", "l1-sparse")


def scores(places: Sequence[Path]) -> list[dict[str, Any]]:
    """The scores of all runs in the table, and of Retrain, below ``places``: model, method, seed and fractions.

    Raises:
        UsageError: two runs of one seed have different scores.
    """
    wanted = {pair for rows in ROWS.values() for pair in rows}
    wanted |= {(retrained(model), "retrain") for model, _ in wanted}
    runs: dict[tuple[str, str, int], dict[str, float]] = {}
    for run in collect(places).runs_of("main_forget.py"):
        model, method = run.folder.parts[-2:]
        if run.content["scenario"]["kind"] != "class" or (model, method) not in wanted:
            continue
        four = {score: run.content["scores"][score] for score in METRICS}
        if runs.setdefault((model, method, run.content["seed"]), four) != four:
            raise UsageError(f"{run.path}: another run of {method} on {model} with this seed has other scores")
    return [{"model": key[0], "method": key[1], "seed": key[2], **four} for key, four in sorted(runs.items())]


def retrained(model: str) -> str:
    """The model whose Retrain a model is compared with: its own, or that of the model that was rescaled."""
    return model.partition("-norms")[0]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Gap to Retrain by seed, and mean scores in per cent, of the runs in ``lines``; as Markdown.

    A last line names the rows that are left out, because no seed has both the run and its Retrain.
    """
    runs = {(line["model"], line["method"], line["seed"]): line for line in lines}
    seeds = sorted({seed for _, _, seed in runs})
    rows, missing = [], []
    for question, pairs in ROWS.items():
        for model, method in pairs:
            keys = [((model, method, seed), (retrained(model), "retrain", seed)) for seed in seeds]
            compared = [(runs[own], runs[exact]) for own, exact in keys if own in runs and exact in runs]
            if not compared:
                missing.append(f"{method} on {model} ({question})")
                continue
            gaps = [100 * average_gap(*pair) for pair in compared]
            means = [100 * statistics.mean(own[score] for own, _ in compared) for score in METRICS]
            figures = [", ".join(f"{gap:.1f}" for gap in gaps), f"{statistics.mean(gaps):.1f}"]
            rows.append([question, model, method, *figures, *(f"{mean:.1f}" for mean in means)])
    text = markdown(["changed", "model", "method", "gap, by seed", "gap, mean", *METRICS], rows)
    return text + (f"\nleft out, no run with its Retrain: {', '.join(missing)}\n" if missing else "")


def read_scores(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of scores.

    Raises:
        UsageError: it is none.
    """
    source, kinds = (
        f"--table {path}",
        {"model": str, "method": str, "seed": int, **dict.fromkeys(METRICS, (int, float))},
    )
    try:
        lines = [json.loads(line) for line in files.read_text(path, source).splitlines()]
    except ValueError:
        lines = []
    if not lines or not all(
        isinstance(line, dict) and all(isinstance(line.get(key), kind) for key, kind in kinds.items()) for line in lines
    ):
        raise UsageError(f"{source}: holds no scores of this script; give the scores.jsonl that it wrote")
    return lines


@script
def main(argv: list[str] | None = None) -> int:
    """Parse the command line, make the runs and write the table; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the runs (1 2 3)")
    parser.add_argument(
        "--also", type=Path, nargs="+", default=[], help="more places of runs, results/pruning-16px say"
    )
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of these scores, and run nothing")
    wanted = parser.parse_args(argv)
    if wanted.table:
        print(table(read_scores(wanted.table)), end="")
        return 0
    collect(wanted.also)
    for seed in wanted.seeds:
        trained_models(seed)
    if NARROW not in models.names():
        architecture(NARROW)(narrow)
    for seed in wanted.seeds:
        study(seed)
    lines = scores([FOLDER, *wanted.also])
    files.make_folder(FOLDER / "why")
    files.write_text(FOLDER / "why" / "scores.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    files.write_text(FOLDER / "why" / "table.md", table(lines))
    print(table(lines), end="")
    return 0


if __name__ == "__main__":
    leave(main())
