"""UNSIR: learn images that the model does not take for the forgotten class, train on them, then repair."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unlearn.registry import Iterative, about, method
from unlearn.signature import Context, Sets, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Iterative):
    unlearn_epochs: int = changed(Iterative, "unlearn_epochs", 1, help="passes over noise and retain images")
    unlearn_lr: float = changed(Iterative, "unlearn_lr", 1e-4)
    batch_size: int = changed(Iterative, "batch_size", 32)
    optimizer: str = changed(Iterative, "optimizer", "adam")
    weight_decay: float = changed(Iterative, "weight_decay", 0.0)
    schedule: str = changed(Iterative, "schedule", "constant")
    no_aug: bool = changed(Iterative, "no_aug", True)
    noise_images: int = option(32, "images of noise that are learned for each forgotten class or subclass", low=1)
    noise_steps: int | None = option(
        None, "steps of learning them (25; 250 for subclasses)", low=0, search=(5, 250, "linear")
    )
    noise_lr: float = option(0.1, "Adam's step size of learning them", above=0)
    noise_penalty: float = option(0.1, "weight of their squared length", low=0)
    noise_copies: int = option(80, "how often each of them is trained on in a pass", low=1)
    images_per_copy: int | None = option(
        None, "of each copy only so many images (all; 3 with --compat reference)", low=1
    )
    noise_mode: str | None = option(
        None,
        "batch norm's statistics while noise is learned: the running ones (eval), or the batch's (train, with "
        "--compat reference)",
        choices=("eval", "train"),
    )
    samples_per_class: int = option(500, "retain images of each other class or subclass", low=1)
    repair_lr: float = option(1e-4, "step size of the repair", above=0, search=(1e-5, 1e-1, "log"))
    repair_batch_size: int = option(128, "images per step of the repair", low=1)


@method("UNSIR", config=Config, reads={"retain"}, tasks={"classification"}, whole_classes=True, pixels=True)
@about(
    "train on noise that stands for the forgotten class, then repair on some retain images; for whole classes",
    source="Tarun et al. 2021 (UNSIR), section IV",
)
def impair_and_repair(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Train on learned noise and some retain images, then on the latter alone; no image to forget is read.

    Noise n, [N, 3, H, W] in the space of normalised images, descends -cross-entropy(f(n), c) + penalty * mean |n|^2.
    With ``--compat reference`` the gradients that this leaves in the model are added to those of the first step.
    """
    from dataset.combined import union
    from models.normalize import normalised_input
    from unlearn import noise_images

    reference = context.compat == "reference"
    used = config.images_per_copy or (3 if reference else config.noise_images)
    with normalised_input(model) as normalise:
        noise, stale = noise_images.learn(model, sets.retain, config, context)
        some = noise_images.first_of_others(sets.retain, config.samples_per_class, context, normalise)
        both = union(noise_images.repeated(noise, used, config.noise_copies), some)
        objective = noise_images.with_gradients(context.task.mean, stale, context.memory) if reference else None
        context.fit(model, both, config, objective)
        context.fit(model, some, replace(config, unlearn_lr=config.repair_lr, batch_size=config.repair_batch_size))
