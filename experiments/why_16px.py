#!/usr/bin/env python3
"""Why FT comes nearer to Retrain at 98 % sparsity, not at 95 %: one thing changed, on the models of table1-16px.yaml.

    python main_sweep.py experiments/table1-16px.yaml
    python main_sweep.py experiments/sparsity-16px.yaml
    python experiments/why_16px.py --seeds 1 2 3

The runs go to the folder of those sweeps, and finished ones are not made again:

epochs: FT for the paper's 10 epochs in place of 3, on the dense and the 95 %-sparse model.
norms: FT on the dense model with each convolution scaled to the norm that it has in the 98 %-sparse model, and the
    other way round. A batch norm follows each convolution, so neither model's outputs change.
width: the whole protocol on a ResNet-18 with 40 channels in place of 64. 95 % sparse, it keeps as many weights as the
    98 %-sparse one with 64.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402

import main_forget  # noqa: E402
import main_imp  # noqa: E402
from models import architecture, resnet  # noqa: E402
from trainer import checkpoints  # noqa: E402
from utils.errors import UsageError, leave, script  # noqa: E402

FOLDER = Path("runs/table1-16px")
DENSE, AT_95, AT_98 = "dense/0", "omp-rate=0.95/1", "omp-rate=0.98/1"
NARROW = "resnet18_40_channels"
DATA = "--dataset cifar10 --data data/cifar10-100 --input_size 16 --batch_size 32 --schedule cosine --no_aug".split()
TRAINING = "--epochs 12 --lr 0.01 --warmup 1 --rate 0.95 --prune_type rewind_lt --rewind_epoch 1".split()
RETRAIN = "--unlearn retrain --unlearn_epochs 12 --unlearn_lr 0.01 --warmup 1"
METHODS = {
    "raw": "--unlearn raw",
    "retrain": RETRAIN,
    "FT": "--unlearn FT --unlearn_epochs 3 --unlearn_lr 3e-3",
    "FT-tuned": "--unlearn FT --unlearn_epochs 3 --unlearn_lr 0.02",
    "FT-10": "--unlearn FT --unlearn_epochs 10 --unlearn_lr 3e-3",
    "l1-sparse": "--unlearn FT_prune --unlearn_epochs 3 --unlearn_lr 0.01 --alpha 0.01",
}

architecture(NARROW)(partial(resnet.ResNet, resnet.BasicBlock, (2, 2, 2, 2), width=40))


def run(main, folder: Path, *flags: str) -> None:
    """Run a script with the flags of the data and ``flags``.

    Raises:
        UsageError: the script did not end well.
    """
    if main([*DATA, *flags, "--save_dir", str(folder)]):
        raise UsageError(f"{folder}: the run did not end; see the lines above")


def forget(model: Path, folder: Path, seed: int, arch: str, *methods: str) -> None:
    """Forget class 0 by each of the methods, named as in ``METHODS``, and score."""
    for name in methods:
        flags = [
            "--arch",
            arch,
            "--seed",
            str(seed),
            "--train_seed",
            str(seed),
            "--mask",
            str(model),
            "--forget",
            "class:0",
        ]
        run(main_forget.main, folder / name, *flags, *METHODS[name].split())


def train(folder: Path, seed: int, arch: str, *flags: str) -> None:
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
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.write(content, target)
    return target


def study(seed: int) -> None:
    """Everything for one seed."""
    folder = FOLDER / f"seed{seed}"
    forgotten = folder / "class"
    dense, at_95, at_98 = (folder / f"{name}checkpoint.pth.tar" for name in (DENSE, AT_95, AT_98))
    forget(dense, forgotten / "dense", seed, "resnet18", "FT-10")
    forget(at_95, forgotten / "sparse-rate=0.95", seed, "resnet18", "FT-10")
    scaled = rescale(dense, at_98, folder / "scaled/dense.pth.tar")
    forget(scaled, forgotten / "dense-norms-of-0.98", seed, "resnet18", "raw", "FT")
    scaled = rescale(at_98, dense, folder / "scaled/sparse-rate=0.98.pth.tar")
    forget(scaled, forgotten / "sparse-rate=0.98-norms-of-dense", seed, "resnet18", "raw", "FT")
    train(folder / "narrow", seed, NARROW)
    first = folder / "narrow/0checkpoint.pth.tar"
    train(folder / "narrow-omp", seed, NARROW, "--resume", "--checkpoint", str(first), "--pruning_times", "2")
    for name, model in {"narrow": first, "narrow-sparse": folder / "narrow-omp/1checkpoint.pth.tar"}.items():
        forget(model, forgotten / name, seed, NARROW, "raw", "retrain", "FT", "FT-tuned", "l1-sparse")


@script
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and make the runs; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    for seed in parser.parse_args(argv).seeds:
        study(seed)
    return 0


if __name__ == "__main__":
    leave(main())
