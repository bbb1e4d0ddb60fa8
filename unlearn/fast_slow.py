"""Forget fast, repair slowly: what SFR-on does with one step up the forget loss and several down the retain loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dataset.combined import endless
from dataset.images import Images
from pruner import Mask, MaskEnforcer
from trainer.loop import Training
from trainer.recipe import recipe
from trainer.steps import Plan, Step
from trainer.task import Batch, Figures
from unlearn import saliency
from unlearn.context import Context, Sets
from utils import parallel, seeds

SMALLEST_LOSS = 1e-6  # an image with no loss at all would take all of the weight
DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "quadratic": lambda done: (1 - done) ** 2,
    "none": lambda done: 1.0,
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
        teach: whether it goes down the loss of wrong targets in place of up the loss.
        size: images per batch in which the first losses are found.
    Source: Huang et al. 2024 (SFR-on), adaptive coefficients; "batch" is their code's.
    """

    def __init__(
        self,
        model: nn.Module,
        context: Context,
        forget: Images,
        power: float,
        over: str,
        size: int,
        teach: bool = False,
    ):
        self.images = forget.relabelled(torch.arange(len(forget), device=forget.device))  # labels tell the positions
        self._task, self._targets, self._power, self._seen = context.task, forget.labels, power, None
        self._teach = teach
        if teach:
            seed = seeds.derive(context.seed, "relabel", 0)
            self._targets = self._task.wrong_targets(self._targets, seed, exclude_true=context.compat == "fixed")
        if over == "set" and power:
            model.eval()
            with torch.no_grad():
                self._seen = torch.cat([context.climbed(model, *batch) for batch in forget.batches(size)])

    def state(self) -> dict[str, Any]:
        """The losses as they were last seen, float32 [n] or None."""
        return {"seen": self._seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._seen = state["seen"] if state["seen"] is None else state["seen"].to(self._targets.device)

    def objective(self, strength: float, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """To descend: minus ``strength`` times the weighted loss of images whose targets are their positions."""
        given = replace(batch, targets=self._targets[batch.targets])
        if self._teach:
            losses, figures = self._task.taught(model, given)
            return strength * losses.mean(), figures
        losses, figures = self._task.climbed(model, given)
        return -strength * (self.weights(losses.detach(), batch.targets) * losses).mean(), figures

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
        news = losses.new_zeros(2, len(self._seen))
        news[:, positions] = torch.stack([losses, torch.ones_like(losses)])
        parallel.add_up(news)
        self._seen = torch.where(news[1] > 0, news[0] / news[1].clamp(min=1), self._seen)
        coefficients = self._seen.clamp(min=SMALLEST_LOSS) ** -self._power
        return (coefficients * len(coefficients) / coefficients.sum())[positions]


def ascent(model: nn.Module, forget: Images, config: Any, context: Context) -> Ascent:
    """What SFR-on's flags say of forgetting."""
    over = "batch" if context.compat == "reference" else "set"
    power = config.adaptive_power if config.unlearn_loss in (None, "adaga") and not config.no_adaptive else 0.0
    return Ascent(model, context, forget, power, over, config.batch_size, config.unlearn_loss == "rl")


class FastSlow(Plan):
    """Alternates one masked step up the forget loss with ``forget_freq`` steps down the retain loss.

    Such a round starts at weights t and ends at weights r; it leaves t + slow_rate * (r - t). With
    ``no_fast_slow`` both gradients are added and stepped along at once. With ``--compat reference``
    both kinds of step share one optimiser's momentum, weight decay acts on both, and the slow
    update comes after every retain step instead of every round.

    Args:
        update_mask: weights that the step up may change; None for all.
        config: the flags of SFR-on.
    Attributes:
        training: runs this plan.
    """

    def __init__(
        self, model: nn.Module, ascent: Ascent, retain: Images, update_mask: Mask | None, config: Any, context: Context
    ):
        self.ascent, self.retain, self.config, self.task = ascent, retain, config, context.task
        per_pass = max(len(retain.sizes(config.batch_size)), 1)
        self.iterations = config.unlearn_epochs * per_pass if config.iterations is None else config.iterations
        self.per_epoch = -(-per_pass // config.forget_freq) * config.forget_freq  # whole rounds, about one pass
        reference = context.compat == "reference"
        self.per_update = 1 if reference else config.forget_freq
        self.decay = DECAYS[config.forget_decay or ("cosine" if reference else "linear")]
        epochs = -(-self.iterations // self.per_epoch)
        repairing = recipe(config, epochs, config.unlearn_lr, schedule="constant", max_norm=config.retain_max_norm)
        self.training = Training(model, repairing, context.mask)
        shared = self.training.optimizer if reference or config.no_fast_slow else None
        forgetting = replace(repairing, weight_decay=0.0, max_norm=config.max_norm)
        self.schedules = (self.training.schedule_of(forgetting, shared),)
        self._update = None if update_mask is None else MaskEnforcer(model, update_mask, at_zero=False)
        self._slow = config.slow_rate != 1 and not config.no_fast_slow
        self._parameters: list[Tensor] = list(model.parameters())
        self._before: list[Tensor] = []

    def state(self) -> dict[str, Any]:
        return {**super().state(), **self.ascent.state()}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.ascent.restore(state)

    def count(self, epoch: int) -> int:
        return len(self._order(epoch))

    def steps(self, epoch: int, seed: int, start: int) -> Iterator[Step]:
        size, order, first = self.config.batch_size, self._order(epoch), epoch * self.per_epoch
        repaired = first + sum(not upward for _, upward in order[:start])
        climbed = first // self.config.forget_freq + sum(upward for _, upward in order[:start])
        forget = endless(self.ascent.images, size, seeds.derive(seed, "forget"), climbed)
        retain = endless(self.retain, size, seeds.derive(seed, "retain"), repaired)
        for iteration, upward in order[start:]:
            if self._slow and iteration % self.per_update == 0 and (upward or iteration % self.config.forget_freq):
                self._before = [parameter.detach().clone() for parameter in self._parameters]
            yield (self._climb if upward else self._repair)(iteration, epoch, *next(forget if upward else retain))

    def _order(self, epoch: int) -> list[tuple[int, bool]]:
        """Iterations of an epoch, each with whether its step climbs; every ``forget_freq``-th has one of both kinds."""
        iterations = range(epoch * self.per_epoch, min((epoch + 1) * self.per_epoch, self.iterations))
        both, down = (True, False), (False,)
        return [(i, upward) for i in iterations for upward in (down if i % self.config.forget_freq else both)]

    def _lr(self, iteration: int) -> float:
        falls = self.config.schedule == "cosine"
        return self.config.unlearn_lr * (DECAYS["cosine"](iteration / self.iterations) if falls else 1.0)

    def _climb(self, iteration: int, epoch: int, images: Tensor, positions: Tensor, count: int) -> Step:
        """The step up the forget loss; without fast and slow steps it leaves its gradients to the next one."""
        strength = self.config.forget_alpha * self.decay(iteration / self.iterations)
        batch = Batch(images, positions, epoch, self.training.random)
        objective = partial(self.ascent.objective, strength)
        step = Step(batch, count, objective, self.schedules[0], group=None, lr=self._lr(iteration), resumable=False)
        step.update_mask, step.moves = self._update, not self.config.no_fast_slow
        return step

    def _repair(self, iteration: int, epoch: int, images: Tensor, targets: Tensor, count: int) -> Step:
        """The step down the retain loss; at the end of a round it takes the weights part of the way back."""
        last = (iteration + 1) % self.per_update == 0 or iteration + 1 == self.iterations
        batch = Batch(images, targets, epoch, self.training.random)
        after = self._go_back if self._slow and last else None
        lr, resumable = self._lr(iteration), last or not self._slow
        return Step(batch, count, self._retained, lr=lr, after=after, resumable=resumable)

    def _retained(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """The loss that the step down descends."""
        loss, figures = self.task.mean(model, batch)
        return (loss if self.config.remain_alpha == 1 else self.config.remain_alpha * loss), figures

    @torch.no_grad()
    def _go_back(self) -> None:
        torch._foreach_mul_(self._parameters, self.config.slow_rate)
        torch._foreach_add_(self._parameters, self._before, alpha=1 - self.config.slow_rate)


def fisher_mask(model: nn.Module, sets: Sets, config: Any, context: Context) -> Mask:
    """Weights whose Fisher information on the forget set is at least ``fisher_ratio`` times that on the retain set."""

    def find() -> Mask:
        ratio = saliency.fisher_ratio(model, sets.forget, sets.retain, config.batch_size, config.no_aug, context)
        return saliency.at_least(ratio, config.fisher_ratio, context.mask)

    mask = saliency.once(context, f"fisher_{config.fisher_ratio}.pt", model, find)
    context.log.line(f"saliency: {saliency.share(mask, context.mask)}")
    return mask
