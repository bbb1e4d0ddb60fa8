"""JiT (just in time): make outputs change less when noise is added to the images to forget."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

from unlearn.benchmark import Benchmarked
from unlearn.registry import about, method
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option

LEAST = 1e-12  # least length of noise, so that nothing is divided by zero


@dataclass(frozen=True)
class Config(Benchmarked):
    unlearn_epochs: int = changed(Benchmarked, "unlearn_epochs", 1, help="passes over the forget set")
    unlearn_lr: float = changed(Benchmarked, "unlearn_lr", 3e-4)
    batch_size: int = changed(Benchmarked, "batch_size", 64)
    momentum: float = changed(Benchmarked, "momentum", 0.0)
    weight_decay: float = changed(Benchmarked, "weight_decay", 0.0)
    noise_std: float = option(
        0.5, "standard deviation of the noise, of normalised images", low=0, search=(0.01, 1.5, "log")
    )
    noisy_copies: int = option(25, "noisy copies of every image", low=1)
    noise_space: str = option(
        "normalised", "noise is added to normalised images, or to pixels in [0, 1]", choices=("normalised", "pixels")
    )
    noise_mode: str | None = option(
        None,
        "batch norm uses its running statistics (eval), those of the batch (train, with --compat reference), or "
        "those of the batch for clean images alone (mixed)",
        choices=("eval", "train", "mixed"),
    )


@method("JiT", config=Config, reads={"forget"}, tasks={"classification"}, pixels=True)
@about(
    "smooth the model around the images to forget; reads neither labels nor the retain set",
    source="Foster et al. 2024 (Information-theoretic unlearning, JiT), algorithm 1",
)
def just_in_time(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend sum_i mean_k |f(x_i) - f(x_ik)| / |x_i - x_ik| over noisy copies x_ik, clamped to the batch's range.

    With ``--compat reference`` gradients add up over the batches of a run, in train mode.
    """
    import torch
    from torch import nn

    from models.normalize import normalised_input
    from trainer.task import accuracy

    mode = config.noise_mode or ("eval" if context.compat == "fixed" else "train")

    @torch.no_grad()
    def noisy(clean: Tensor, batch: Batch, training: bool) -> tuple[list[Tensor], list[Tensor]]:
        model.train(training)
        outputs, lengths = [], []
        for _ in range(config.noisy_copies):
            noise = config.noise_std * context.draws.step(clean, batch.random)
            moved = (clean + noise).clamp(clean.min(), clean.max())
            outputs.append(model(moved))
            lengths.append((clean - moved).flatten(1).norm(dim=1).clamp(min=LEAST))
        model.train(mode != "eval")
        return outputs, lengths

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        clean = normalise(batch.inputs)
        first = noisy(clean, batch, training=False) if mode == "mixed" else None
        logits = model(clean)
        copies, lengths = first or noisy(clean, batch, mode == "train")
        slopes = [(logits - other).norm(dim=1) / length for other, length in zip(copies, lengths)]
        return torch.stack(slopes).sum() / len(slopes), accuracy(logits, batch.targets)

    momentum = 1.0 if context.compat == "reference" else config.momentum  # 1 is to never clear the gradients
    config = replace(config, eval_mode=mode == "eval", momentum=momentum)
    with normalised_input(model) if config.noise_space == "normalised" else nullcontext(nn.Identity()) as normalise:
        context.fit(model, sets.forget, config, objective)
