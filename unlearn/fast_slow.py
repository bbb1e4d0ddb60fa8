"""SFR-on's steps: one step of ascent on the forget loss, then several of descent on the retain loss."""

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

SMALLEST_LOSS = 1e-6  # an image with a loss of 0 would otherwise get all of the weight
DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "quadratic": lambda done: (1 - done) ** 2,
    "none": lambda done: 1.0,
}


class Ascent:
    """The loss of the forget set for gradient ascent, in which images that are not forgotten yet weigh more.

    With losses l_i of the n forget images, the loss of a batch is the mean of w_i * l_i over it, where
        w_i = n * l_i ** -power / sum over all forget images j of l_j ** -power
    is a constant. The sum uses every image's loss when it was last seen, and at first that of the
    starting weights. With ``over`` "batch" the sum runs over the batch only, and n is the batch's number of images.

    Args:
        model: the model at its starting weights.
        forget: the forget set.
        power: 0 weights all images equally.
        over: "set" or "batch".
        size: images per batch when the first losses are computed.
        teach: minimise the loss of wrong targets, instead of maximising that of the true ones.
    Attributes:
        images: the forget set, with positions in it as labels.
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
        self.images = forget.relabelled(torch.arange(len(forget), device=forget.device))  # labels are positions
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
        """``seen``: every image's loss when it was last seen, float32 [n]; None if losses are not kept."""
        return {"seen": self._seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._seen = state["seen"] if state["seen"] is None else state["seen"].to(self._targets.device)

    def objective(self, strength: float, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """The loss to minimise: minus ``strength`` times the weighted loss; the batch's targets are positions."""
        given = replace(batch, targets=self._targets[batch.targets])
        if self._teach:
            losses, figures = self._task.taught(model, given)
            return strength * losses.mean(), figures
        losses, figures = self._task.climbed(model, given)
        return -strength * (self.weights(losses.detach(), batch.targets) * losses).mean(), figures

    def weights(self, losses: Tensor, positions: Tensor) -> Tensor:
        """The weights w_i, float [B], of this process's part of a batch.

        Args:
            losses: present losses of the images, float [B].
            positions: positions of the images in the forget set, int64 [B].
        """
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
    """The ``Ascent`` that SFR-on's flags describe."""
    over = "batch" if context.compat == "reference" else "set"
    power = config.adaptive_power if config.unlearn_loss in (None, "adaga") and not config.no_adaptive else 0.0
    return Ascent(model, context, forget, power, over, config.batch_size, config.unlearn_loss == "rl")


class FastSlow(Plan):
    """Rounds of one masked ascent step on the forget loss and ``forget_freq`` descent steps on the retain loss.

    A round that starts at weights t and ends at weights r leaves t + slow_rate * (r - t). With ``no_fast_slow`` both
    gradients are added up for a single step. With ``--compat reference`` both kinds of step share the momentum of one
    optimiser, weight decay acts on both, and the slow update comes after every retain step instead of every round.

    Args:
        ascent: the loss of the forget set.
        retain: the retain set.
        update_mask: boolean tensors by parameter name, True where the ascent step may change a weight; None for all.
        config: the flags of SFR-on.
    Attributes:
        training: the training that runs this plan.
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
        """The steps of an epoch: pairs of the iteration and whether it is ascent.

        Every iteration has a descent step, and every ``forget_freq``-th an ascent step before it.
        """
        iterations = range(epoch * self.per_epoch, min((epoch + 1) * self.per_epoch, self.iterations))
        both, down = (True, False), (False,)
        return [(i, upward) for i in iterations for upward in (down if i % self.config.forget_freq else both)]

    def _lr(self, iteration: int) -> float:
        falls = self.config.schedule == "cosine"
        return self.config.unlearn_lr * (DECAYS["cosine"](iteration / self.iterations) if falls else 1.0)

    def _climb(self, iteration: int, epoch: int, images: Tensor, positions: Tensor, count: int) -> Step:
        """The ascent step on the forget loss; with ``no_fast_slow`` it leaves its gradients to the next step."""
        strength = self.config.forget_alpha * self.decay(iteration / self.iterations)
        batch = Batch(images, positions, epoch, self.training.random)
        objective = partial(self.ascent.objective, strength)
        step = Step(batch, count, objective, self.schedules[0], group=None, lr=self._lr(iteration), resumable=False)
        step.update_mask, step.moves = self._update, not self.config.no_fast_slow
        return step

    def _repair(self, iteration: int, epoch: int, images: Tensor, targets: Tensor, count: int) -> Step:
        """A descent step on the retain loss; the last one of a round is followed by the slow update."""
        last = (iteration + 1) % self.per_update == 0 or iteration + 1 == self.iterations
        batch = Batch(images, targets, epoch, self.training.random)
        after = self._go_back if self._slow and last else None
        lr, resumable = self._lr(iteration), last or not self._slow
        return Step(batch, count, self._retained, lr=lr, after=after, resumable=resumable)

    def _retained(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """The loss of the descent step."""
        loss, figures = self.task.mean(model, batch)
        return (loss if self.config.remain_alpha == 1 else self.config.remain_alpha * loss), figures

    @torch.no_grad()
    def _go_back(self) -> None:
        torch._foreach_mul_(self._parameters, self.config.slow_rate)
        torch._foreach_add_(self._parameters, self._before, alpha=1 - self.config.slow_rate)


def fisher_mask(model: nn.Module, sets: Sets, config: Any, context: Context) -> Mask:
    """A mask of the weights whose Fisher information on the forget set is large compared with that on the retain set.

    Returns:
        Boolean tensors by parameter name, True where the ratio is at least ``config.fisher_ratio``.
    """

    def find() -> Mask:
        ratio = saliency.fisher_ratio(model, sets.forget, sets.retain, config.batch_size, config.no_aug, context)
        return saliency.at_least(ratio, config.fisher_ratio, context.mask)

    mask = saliency.once(context, f"fisher_{config.fisher_ratio}.pt", model, find)
    context.log.line(f"saliency: {saliency.share(mask, context.mask)}")
    return mask
