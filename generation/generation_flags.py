"""Flags of ``main_generate.py``. Imports no torch, because ``--help`` needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from dataset.scenario import Scenario
from trainer.training_flags import Arguments
from unlearn.unlearn_flags import Saliency
from utils.options import NO_IDENTITY, changed, file_option, option

METHODS = "retrain is train --forget; FT, GA, RL, SalUn, SFRon, SA and what else needs losses alone"


@dataclass(frozen=True)
class Generator:
    """The network and the noise; the defaults are the reference's for CIFAR-10."""

    width: int = option(128, "channels at the finest level", common=True, low=2)
    multipliers: tuple[int, ...] = option((1, 2, 2, 2), "channels of every level over --width", low=1, metavar="N,N")
    blocks: int = option(2, "residual blocks of every level", low=1)
    attention: tuple[int, ...] = option((16,), "sides of the levels with attention, in pixels", low=1, metavar="N,N")
    norm_groups: int = option(32, "groups of every group norm; divides all numbers of channels", low=1)
    dropout: float = option(0.1, "share of inputs that is zero while training", low=0, below=1)
    diffusion_steps: int = option(1000, "times from a clean image to noise, T", low=2)
    beta_schedule: str = option(
        "linear", "share of noise by time", choices=("linear", "quad", "const", "jsd", "sigmoid")
    )
    beta_start: float = option(1e-4, "the least share of noise that a time adds", above=0, below=1)
    beta_end: float = option(0.02, "the largest", above=0, below=1)


@dataclass(frozen=True)
class Transformer:
    """The network of DiT; the defaults are XL/2."""

    layers: int = option(28, "blocks (S and B: 12, L: 24, XL: 28)", common=True, low=1)
    heads: int = option(16, "heads of attention (S: 6, B: 12, L and XL: 16)", low=1)
    head_width: int = option(72, "numbers of each head (S, B and L: 64, XL: 72)", low=1)
    patch: int = option(2, "side of a token, in latents", low=1)
    vae: str | None = file_option(
        "folder of the frozen autoencoder whose latents are denoised (a diffusers AutoencoderKL; needed)",
        common="folder of the autoencoder (needed)",
        metavar="DIR",
    )


@dataclass(frozen=True)
class Pretraining:
    steps: int = option(800_000, "training steps", common=True, low=1)
    batch_size: int = option(128, "images per step", common=True, low=1)
    lr: float = option(2e-4, "step size", common=True, above=0)
    schedule: str = option("constant", "step size over the steps", choices=("constant", "cosine"))
    warmup_steps: int = option(0, "first steps over which the step size grows, rounded to whole epochs", low=0)
    max_norm: float = option(1.0, "longest gradient that is not scaled down to this; 0 is off", low=0)
    ema_decay: float = option(
        0.9999, "share that the moving average of the weights keeps at every step", low=0, below=1
    )
    class_drop: float = option(0.1, "share of samples whose class is dropped", low=0, high=1)


@dataclass(frozen=True)
class Start:
    model: str | None = file_option(
        "the generator that the run begins with: generator.pt of an earlier run, or the reference's ckpt.pth (needed)",
        common="generator.pt of an earlier run (needed)",
    )
    raw_weights: bool = option(
        False,
        "take the weights as trained, not their moving average; always with --compat reference",
        identity="changed",
    )


@dataclass(frozen=True)
class Begin(Start):
    arch: str = option(
        "ddpm",
        "ddpm: a U-Net on pixels; dit: a transformer on latents, which needs diffusers",
        common=True,
        choices=("ddpm", "dit"),
    )
    model: str | None = changed(
        Start, "model", None, help="go on with the weights of this generator, not with new ones", common=False
    )


@dataclass(frozen=True)
class Convert(Start):
    model: str | None = changed(
        Start, "model", None, help="Facebook's file, such as DiT-XL-2-256x256.pt (needed)", common=True
    )
    vae: str | None = changed(Transformer, "vae", None)
    heads: int = option(16, "heads of attention, which weights do not tell (S: 6, B: 12, L and XL: 16)", low=1)


@dataclass(frozen=True)
class Encode:
    vae: str | None = changed(Transformer, "vae", None)
    batch_size: int = option(64, "images at once", low=1, identity=False)


@dataclass(frozen=True)
class Erase:
    unlearn: str = option("SFRon", METHODS, common="unlearning method: FT, GA, RL, SalUn, SFRon, SA", metavar="NAME")
    stand_in: str = option(
        "next",
        "what RL, SalUn and SFRon --unlearn_loss rl teach the forgotten class to be drawn as: the next class, another "
        "at random, no class, or the mean over all others",
        common="what the forgotten class is drawn as",
        choices=("next", "random", "null", "mix"),
    )
    class_drop: float = option(0.1, "share of samples whose class is dropped", low=0, high=1)
    save_every: int = option(500, "steps after which a long epoch is stored", low=1, identity=False)


@dataclass(frozen=True)
class Masking(Saliency):
    saliency: str = changed(
        Saliency,
        "saliency",
        "gradient",
        help="what makes a weight salient: the forget loss's gradient (SalUn), or Fisher information on forget over "
        "retain set (SFR-on)",
        choices=("gradient", "fisher"),
    )
    batch_size: int = changed(Saliency, "batch_size", 128)
    no_aug: bool = changed(Saliency, "no_aug", False, help="with --compat reference: take gradients without flip")


@dataclass(frozen=True)
class Drawing:
    n_samples_per_class: int = option(50, "pictures of each class", common=True, low=1)
    classes_to_generate: str | None = option(
        None, "classes to draw, with commas between, or x0,x1 for all but these; all without it", metavar="C,C"
    )
    sample_type: str = option(
        "generalized",
        "generalized (DDIM and what lies between it and DDPM), ddpm, pipeline (as the folder of --model says), or a "
        "scheduler of diffusers by its name, such as LMSDiscreteScheduler",
        metavar="NAME",
    )
    skip_type: str = option("uniform", "where the times lie", choices=("uniform", "quad"))
    timesteps: int = option(1000, "times of a picture's way out of noise", common=True, low=1)
    eta: float = option(1.0, "of generalized: share of DDPM's noise; 0 is DDIM", common=True, low=0)
    cond_scale: float = option(2.0, "guidance: 0 is none, -1 draws without classes", common=True, low=-1)
    sample_batch_size: int = option(512, "pictures at once", low=1)
    prompts_file: str | None = file_option(
        "of Stable Diffusion: draw these prompts in place of classes; a CSV file with the column prompt and, where "
        "there are, case_number and evaluation_seed"
    )


@dataclass(frozen=True)
class Prompts:
    """The prompts that stand for classes in Stable Diffusion."""

    template: str = option("an image of a {}", "the prompt of a class, {} its name", metavar="TEXT", identity="changed")
    class_names: tuple[str, ...] = option(
        (), "names of the classes in prompts, in order; those of the data set without it", metavar="A,B"
    )
    concept: str | None = option(
        None, "the prompt to forget, in place of the forgotten class's", metavar="TEXT", identity="changed"
    )
    instead: str | None = option(
        None,
        "the prompt whose pictures RL, SalUn and SFRon --unlearn_loss rl teach in its place, in place of --stand_in",
        metavar="TEXT",
        identity="changed",
    )


@dataclass(frozen=True)
class Counting:
    nudenet: float | None = option(
        None,
        "count exposed body parts that NudeNet is at least so sure of (needs nudenet)",
        low=0,
        high=1,
        identity="changed",
    )


@dataclass(frozen=True)
class Judging:
    judge: str | None = file_option("judge.pt of an earlier score on the same images; trained without it")
    judge_epochs: int = option(30, "passes over the data that train the judge", low=1)
    retrained: str | None = file_option("generator.pt that was trained without the forgotten class, to compare with")
    inception_weights: str | None = file_option(
        "Inception's weights as torch-fidelity has them, weights-inception-2015-12-05-6726825d.pth: adds FID and "
        "Inception Score (needs torch-fidelity)"
    )


@dataclass(frozen=True, kw_only=True)
class GenerateArguments(Arguments):
    """The parsed command line of ``main_generate.py``.

    Attributes:
        work: "convert", "encode", "train", "sample", "saliency", "forget" or "score".
        settings: the main flags of that work: ``Convert``, ``Encode``, ``Pretraining``, ``Drawing``, ``Masking`` or the
            method's configuration.
        generator: the flags of a new network.
        begin: the flags that name the generator to start from.
        scenario: the classes to forget, or None.
    """

    training: ClassVar[str] = "settings"
    work: str
    settings: Any
    generator: Generator | Transformer | None = None
    begin: Start | None = None
    erase: Erase | None = None
    judging: Judging | None = None
    counting: Counting | None = None
    prompts: Prompts | None = field(default=None, metadata={"identity": "changed"})
    scenario: Scenario | None = field(default=None, metadata=NO_IDENTITY)  # a Setup adds it with its numbers resolved

    @property
    def kind(self) -> str:
        """The back end: "ddpm", "dit" or "sd"."""
        return self.model.arch

    def reading(self) -> str:
        """What the run reads, in words, for the log."""
        return f"reading {self.start}" if self.unseen else super().reading()

    @property
    def unseen(self) -> bool:
        """Whether the run reads no data set."""
        return self.work == "convert" or (self.work == "sample" and self.kind != "ddpm")

    @property
    def start(self) -> str | None:
        return None if self.begin is None else self.begin.model
