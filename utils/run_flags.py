"""Flags that all runs share: folder, seeds, device and checkpoints. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from utils.options import file_option, option

SEEDS = ("seed", "train_seed", "init_seed")  # tables average runs that differ in these only


@dataclass(frozen=True)
class Keep:
    save_outputs: bool = option(
        False,
        "leave outputs.npz, the model's margin on every image, for main_attack.py; a finished run adds it",
        common="leave outputs.npz for main_attack.py",
        identity=False,
    )


@dataclass(frozen=True)
class Apart:
    """Further seeds of an unlearning run. ``--seed`` draws the forget set, ``--train_seed`` is that of the training."""

    unlearn_seed: int | None = option(
        None, "what the method draws: order of images, noise, labels; without it --seed", low=0, high=2**31
    )
    eval_seed: int = option(
        0, "what scoring draws: order and splits of the attacks' images, networks of ZRF, relearning", low=0, high=2**31
    )


@dataclass(frozen=True)
class Run:
    save_dir: str | None = file_option("folder for everything the run writes (required)", common=True, metavar="DIR")
    seed: int = option(2, "which images are forgotten, what is drawn", common=True, low=0, high=2**31)
    train_seed: int = option(1, "initial weights, and what training draws", common=True, low=0, high=2**31)
    init_seed: int | None = option(
        None, "initial weights alone; without it --train_seed", low=0, high=2**31, identity="changed"
    )
    split_seed: int | None = option(None, "which images validate; without it --seed", low=0, high=2**31)
    compat: str = option(
        "fixed", "do what the papers say, or what their code did (docs/differences.md)", choices=("fixed", "reference")
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", common=True, metavar="DEVICE", identity=False)
    gpu: int | None = option(None, "N is short for --device cuda:N", low=0, identity=False)
    deterministic: bool = option(
        False, "the same bits every time on a GPU too, or an error; slower (docs/reliability.md)", identity=False
    )
    tf32: bool = option(
        False,
        "convolutions and matrix products of a GPU in TF32, whose factors have 10 binary digits: faster (docs/gpu.md)",
        identity="changed",
    )
    compile: bool = option(
        False,
        "compile training steps; a GPU then takes each full one by a single launch (docs/gpu.md)",
        identity="changed",
    )
    no_fast_cpu: bool = option(
        False, "compute on the CPU as torch does: slower, other last digits (docs/reliability.md)", identity="changed"
    )
    checkpoint_every: int = option(
        1,
        "epochs from one checkpoint to the next; a killed run repeats those behind the last one",
        low=1,
        identity=False,
    )
    allow_pickle: bool = option(False, "open files that can run code; only for files you trust", identity=False)
    dry_run: str | None = option(
        None,
        "say what would be done and stop; --dry_run json prints everything that decides the run's numbers",
        choices=("words", "json"),
        common="say what would be done, and stop",
        bare="words",
        identity=False,
    )

    @property
    def weights_seed(self) -> int:
        """The seed of initial weights: ``--init_seed``, or ``--train_seed`` without it."""
        return self.train_seed if self.init_seed is None else self.init_seed
