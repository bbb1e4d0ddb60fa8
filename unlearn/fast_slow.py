"""Forget fast, repair slowly: what SFR-on does with one step up the forget loss and several down the retain loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset.combined import endless
from dataset.images import Images
from pruner import Mask
from trainer.loop import EpochLog, EpochMeter, Objective, Recipe, Training, cross_entropy
from utils import parallel, seeds

if TYPE_CHECKING:
    from unlearn.context import Context
    from unlearn.methods.sfron import Config

SMALLEST_LOSS = 1e-6  # an image with no loss at all would take all of the weight
DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "quadratic": lambda done: (1 - done) ** 2,
}


class Ascent:
    """The loss that forgetting climbs, each image weighted by how little it is forgotten yet.

    With losses l_i of the n forget images, the loss of a batch is the mean of w_i * l_i over it, where
        w_i = n * l_i ** -power / sum over all forget images j of l_j ** -power
    is a constant. The sum uses every image's loss when it was last seen, and at first that of the
    starting weights. With ``over`` "batch" it runs over the batch alone, and n counts the batch's images.

    Args:
        power: 0 weights all images equally.
        over: "set" or "batch".
    Source: Huang et al. 2024 (SFR-on), adaptive coefficients; "batch" is their code's.
    """

    def __init__(self, model: nn.Module, forget: Images, power: float, over: str, size: int):
        self.images = forget.relabelled(torch.arange(len(forget), device=forget.device))  # labels tell the positions
        self._labels, self._power = forget.labels, power
        self._seen = _losses(model, forget, size) if over == "set" and power else None

    def state(self) -> dict[str, Any]:
        """The losses as they were last seen, float32 [n] or None."""
        return {"seen": self._seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._seen = state["seen"] if state["seen"] is None else state["seen"].to(self._labels.device)

    def objective(self, strength: float) -> Objective:
        """To descend: minus ``strength`` times the weighted loss of images whose labels are their positions."""

        def objective(model: nn.Module, images: Tensor, positions: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
            logits = model(images)
            losses = F.cross_entropy(logits.float(), self._labels[positions], reduction="none")
            return -strength * (self.weights(losses.detach(), positions) * losses).mean(), logits

        return objective

    def weights(self, losses: Tensor, positions: Tensor) -> Tensor:
        """w_i of a batch whose losses, float [B], are known now; the present process's part of it."""
        if not self._power:
            return torch.ones_like(losses)
        if self._seen is None:
            coefficients = 1 / (losses**self._power + 1e-15)
            total, count = parallel.add_up(
                torch.stack([coefficients.sum(), coefficients.new_tensor(float(len(losses)))])
            )
            return coefficients * count / total
        news = torch.zeros(2, len(self._seen), device=losses.device)
        news[:, positions] = torch.stack([losses, torch.ones_like(losses)])
        parallel.add_up(news)
        self._seen = torch.where(news[1] > 0, news[0] / news[1].clamp(min=1), self._seen)
        coefficients = self._seen.clamp(min=SMALLEST_LOSS) ** -self._power
        return (coefficients * len(coefficients) / coefficients.sum())[positions]


@torch.no_grad()
def _losses(model: nn.Module, images: Images, size: int) -> Tensor:
    """Cross-entropy of every image in eval mode, float32 [n], in the set's order."""
    model.eval()
    return torch.cat(
        [F.cross_entropy(model(batch), labels, reduction="none") for batch, labels in images.batches(size)]
    )


class FastSlow:
    """Alternates one masked step up the forget loss with ``forget_freq`` steps down the retain loss.

    Such a round starts at weights t and ends at weights r; it leaves t + slow_rate * (r - t). With
    ``no_fast_slow`` both gradients are added and stepped along at once. With ``--compat reference``
    both kinds of step share one optimiser's momentum, weight decay acts on both, and the slow
    update comes after every retain step instead of every round.

    Args:
        only: weights that the step up may change; None for all.
    """

    def __init__(
        self, model: nn.Module, ascent: Ascent, retain: Images, only: Mask | None, config: Config, context: Context
    ):
        self.ascent, self.retain, self.config = ascent, retain, config
        per_pass = max(len(retain.sizes(config.batch_size)), 1)
        self.iterations = config.unlearn_epochs * per_pass if config.iterations is None else config.iterations
        self.per_epoch = -(-per_pass // config.forget_freq) * config.forget_freq  # whole rounds, about one pass
        self.epochs = -(-self.iterations // self.per_epoch)
        self.per_update = 1 if context.compat == "reference" else config.forget_freq
        self.decay = DECAYS[config.forget_decay or ("cosine" if context.compat == "reference" else "linear")]
        plain = {"optimizer": config.optimizer, "momentum": config.momentum, "schedule": "constant", "amp": config.amp}
        repairing = Recipe(self.epochs, config.unlearn_lr, weight_decay=config.weight_decay, **plain)
        forgetting = Recipe(self.epochs, config.unlearn_lr, weight_decay=0.0, max_norm=config.max_norm, **plain)
        self.repair = Training(model, repairing, context.mask)
        shared = self.repair.optimizer if context.compat == "reference" or config.no_fast_slow else None
        self.forget = Training(model, forgetting, context.mask, only, held=False, optimizer=shared)
        self._parameters = list(model.parameters())
        self._before: list[Tensor] = []

    def run(self, seed: int) -> Iterator[EpochLog]:
        """The epochs that are not finished yet; see ``Context.phase``."""
        size, start = self.config.batch_size, self.repair.epoch * self.per_epoch
        forget = endless(self.ascent.images, size, seeds.derive(seed, "forget"), start // self.config.forget_freq)
        retain = endless(self.retain, size, seeds.derive(seed, "retain"), start)
        while start < self.iterations:
            stop = min(start + self.per_epoch, self.iterations)
            tally = self.repair.begin_epoch(seeds.derive(seed, "epoch", self.repair.epoch))
            for iteration in range(start, stop):
                lr = self._set_lr(iteration)
                with self._slow(iteration):
                    upward = self._up(iteration, *next(forget)) if iteration % self.config.forget_freq == 0 else []
                    self._down(upward, tally, *next(retain))
            yield self.repair.end_epoch(tally, lr)
            start = stop

    def _set_lr(self, iteration: int) -> float:
        done = iteration / self.iterations
        lr = self.config.unlearn_lr * (DECAYS["cosine"](done) if self.config.schedule == "cosine" else 1.0)
        for training in (self.forget, self.repair):
            training.set_lr(lr)
        return lr

    def _up(self, iteration: int, images: Tensor, positions: Tensor, count: int) -> list[Tensor]:
        """Step up the forget loss, or without fast and slow steps return the gradients for ``_down`` to add."""
        strength = self.config.forget_alpha * self.decay(iteration / self.iterations)
        self.forget.gradients(self.ascent.objective(strength), images, positions, count)
        if self.config.no_fast_slow:
            return [parameter.grad for parameter in self._parameters]
        self.forget.advance()
        return []

    def _down(self, upward: list[Tensor], tally: EpochMeter, images: Tensor, labels: Tensor, count: int) -> None:
        tally.add(*self.repair.gradients(cross_entropy, images, labels, count), labels, count)
        if upward:
            torch._foreach_add_([parameter.grad for parameter in self._parameters], upward)
        self.repair.advance()

    @contextmanager
    def _slow(self, iteration: int) -> Iterator[None]:
        """Around every iteration: take back part of what the weights moved since the slow update before."""
        slow = self.config.slow_rate != 1 and not self.config.no_fast_slow
        if slow and iteration % self.per_update == 0:
            self._before = [parameter.detach().clone() for parameter in self._parameters]
        yield
        if slow and ((iteration + 1) % self.per_update == 0 or iteration + 1 == self.iterations):
            with torch.no_grad():
                torch._foreach_mul_(self._parameters, self.config.slow_rate)
                torch._foreach_add_(self._parameters, self._before, alpha=1 - self.config.slow_rate)
