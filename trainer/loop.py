"""The one training loop: pre-training, retraining and every iterative unlearning method."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from pruner import Mask, MaskEnforcer
from trainer import l1
from trainer.compiled import Compiled, Recorder
from trainer.cpu_arithmetic import cpu_arithmetic
from trainer.meter import EpochMeter
from trainer.pulse import Pulse
from trainer.recipe import OptimizerSchedule, Recipe, ordered_parameters
from trainer.sam import ASAM
from trainer.steps import Pass, Passes, Plan, Step, Trainable
from trainer.task import Classification, Figures, Objective
from utils import finite, lanes, memory, parallel, seeds
from utils.device import compiling, half, synchronise
from utils.log import EpochLog


class Training:
    """The training of a model by a recipe, with all state that a killed run needs to go on.

    Args:
        model: trained in place, on its device.
        recipe: epochs, step sizes, optimiser and so on.
        mask: boolean tensors by parameter name, False where a weight is held at zero; empty for a dense model.
        update_mask: boolean tensors by parameter name, True where a weight may change; None for all weights. The
            gradients of the other weights are set to zero.
        freeze_rest: hold the other weights at their values; False lets momentum and weight decay move them.
        eval_modules: modules that stay in eval mode, so batch norm uses its statistics unchanged and dropout is off.
    Attributes:
        epoch: number of finished epochs.
        random: generator that the task's losses draw from, on the CPU whatever the device.
        quiet: show no progress.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        mask: Mask,
        update_mask: Mask | None = None,
        freeze_rest: bool = True,
        eval_modules: Sequence[nn.Module] = (),
    ):
        self.model, self.recipe, self.epoch, self.quiet = model, recipe, 0, False
        self._update_mask, self._freeze_rest, self._eval_modules = update_mask, freeze_rest, eval_modules
        self.enforce_mask(mask)
        self._parameters = ordered_parameters(model, mask)
        self.device = self._parameters[0].device
        self.random = torch.Generator()
        self.schedule = OptimizerSchedule(self._parameters, recipe)
        self.asam = ASAM(list(model.parameters()), recipe.sam_rho) if recipe.sam_rho else None
        self.average: AveragedModel | None = None
        if recipe.ema_decay:
            self.average = AveragedModel(model)  # the starting weights are the first of the average
        self._compiled: Compiled | None = None
        if compiling():
            recorder = Recorder() if self.device.type == "cuda" else None
            self._compiled = Compiled(model, self.random, recorder)
        self._step, self._meters, self._timed, self._began = 0, dict[int, EpochMeter](), False, lanes.seconds()
        self._latest = self.schedule  # that of the last step
        self._waiting: list[Tensor] = []  # gradients of the last step if it left them to the next (``Step.moves``)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of all steps that have none of their own."""
        return self.schedule.optimizer

    @property
    def compiled(self) -> bool:
        """Whether steps are compiled (``--compile``)."""
        return self._compiled is not None

    def schedule_of(self, recipe: Recipe, optimizer: torch.optim.Optimizer | None = None) -> OptimizerSchedule:
        """A further optimiser for the model's weights, or another step-size schedule for ``optimizer``."""
        return OptimizerSchedule(self._parameters, recipe, optimizer)

    def passes(self, passes: Sequence[Pass]) -> Passes:
        """A plan whose epochs make these passes one after the other."""
        return Passes(passes, self.recipe, self.random, self.schedule_of)

    def enforce_mask(self, mask: Mask) -> None:
        """Hold the weights outside of ``mask`` at zero from now on, and frozen ones at their present values."""
        self.enforcer = MaskEnforcer(self.model, mask)
        self.frozen = None if self._update_mask is None else MaskEnforcer(self.model, self._update_mask, at_zero=False)

    def state(self) -> dict[str, Any]:
        """State to go on from: epochs, optimiser and schedule under the reference's keys, and the place in an epoch."""
        state = {"epoch": self.epoch, **self.schedule.state()}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if self._step:
            state["inside"] = {
                "step": self._step,
                "seconds": lanes.seconds() - self._began,
                "meters": {group: meter.state() for group, meter in self._meters.items()},
                "random": self.random.get_state(),
                "torch": torch.get_rng_state(),
                "device": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            }
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; the model's weights are loaded separately."""
        self.epoch = state["epoch"]
        self.schedule.restore(state)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        inside = state.get("inside")
        if inside is not None:
            self._step, self._began = inside["step"], lanes.seconds() - inside["seconds"]
            for group, stored in inside["meters"].items():
                self._meters[group] = EpochMeter(self.device)
                self._meters[group].restore(stored)
            self._restore_random(inside)

    def _restore_random(self, inside: dict[str, Any]) -> None:
        """Restore the random generators; on another kind of device, layers such as dropout draw other numbers then."""
        torch.set_rng_state(inside["torch"])
        self.random.set_state(inside["random"])
        if self.device.type == "cuda":
            if inside["device"] is None:
                torch.cuda.manual_seed(seeds.derive(torch.initial_seed(), "other device", self._step))
            else:
                torch.cuda.set_rng_state(inside["device"], self.device)

    def run(
        self,
        images: Trainable | Callable[[int], Trainable] | Sequence[Pass] | Plan,
        seed: int,
        objective: Objective | None = None,
        before: Callable[[int], None] | None = None,
        save: Callable[[], None] | None = None,
        every: int = 1000,
    ) -> Iterator[EpochLog]:
        """Train the remaining epochs, yielding after each.

        Every epoch draws from its own seed, so a resumed run repeats an undisturbed one.

        Args:
            images: the set to train on, or a function from an epoch's number (from 0) to a set, or the passes or the
                plan that an epoch consists of.
            seed: fixes order, augmentation and all other random numbers of the epochs.
            objective: what to minimise on batches of a set; None for a classifier's mean loss. Not read for passes and
                plans, which have their own.
            before: called before every epoch with its number, from 0.
            save: called within epochs after every ``every`` steps, when ``state`` includes the place in the epoch. It
                is never called with several processes, since each of them draws its own random numbers.
            every: steps between calls of ``save``.
        Raises:
            DivergedError: the loss, or a weight, is no longer finite.
        """
        if isinstance(images, Plan):
            plan = images
        elif isinstance(images, Sequence):
            plan = self.passes(images)
        else:
            plan = self.passes([Pass(images, objective or Classification().mean)])
        while self.epoch < self.recipe.epochs:
            if not self._step:
                self._begin(seeds.derive(seed, "epoch", self.epoch), before)
            self.model.train(not self.recipe.eval_mode)
            for module in self._eval_modules:
                module.eval()
            yield self._one_epoch(plan, seed, save if parallel.size() == 1 else None, every)

    def _begin(self, seed: int, before: Callable[[int], None] | None) -> None:
        """Start an epoch: reset the meters, and seed the generators that layers and losses draw from."""
        if before is not None:
            before(self.epoch)
        self._meters, self._began = {}, lanes.seconds()
        if self._compiled is not None:
            self._compiled.begin()
        seed = seed if parallel.is_main() else seeds.derive(seed, "process", parallel.rank())
        torch.manual_seed(seed)
        self.random.manual_seed(seed)

    def _one_epoch(self, plan: Plan, seed: int, save: Callable[[], None] | None, every: int) -> EpochLog:
        """Take the remaining steps of an epoch; its loss and figures are those of the last group of steps."""
        start, total = self._step, plan.count(self.epoch)
        if self.recipe.steps is not None:
            total = min(total, self.recipe.steps - self.epoch * total)
        lr, saved = self.schedule.lr, start
        reports = parallel.is_main() and not self.quiet
        shown = sys.stderr.isatty() and reports and not lanes.inside()
        steps, title = plan.steps(self.epoch, seed, start), f"epoch {self.epoch + 1}/{self.recipe.epochs}"
        steps = islice(steps, total - start)
        bar = tqdm(steps, total=total, initial=start, desc=title, leave=False, disable=not shown)
        pulse = Pulse(self.epoch, self.recipe.epochs, total - start, not self._timed, reports and not shown)
        for taken, step in enumerate(bar):
            with memory.steps(*step.limit):
                meter = lanes.meet((self, step)) if lanes.inside() else self.take(step)
            lr = lr if step.lr is None else step.lr
            pulse.beat(taken)
            if reports and step.count == len(step.batch) == 1 and self.epoch == 0:
                self._warn_of_one_image(step)
            self._step += 1
            if meter is not None and meter.broken:
                break
            if save is not None and step.resumable and self._step - saved >= every and self._step < total:
                save()
                saved = self._step
        self._timed = True
        return self._end(plan, lr)

    def _warn_of_one_image(self, step: Step) -> None:
        """Print a warning if batch norm would take statistics from a last batch of one image."""
        size, flag = step.limit
        if size != 1 and any(isinstance(module, _BatchNorm) and module.training for module in self.model.modules()):
            text = f"the last batch of an epoch holds 1 image, on which batch norm is noise; change {flag} (now {size})"
            print(f"warning: {text}", file=sys.stderr)

    def take(self, step: Step) -> EpochMeter | None:
        """Take one step; returns the meter that counted it, or None if the step is not counted."""
        self.begin(step)
        if self._compiled is None:
            self._work(step)
        else:
            self._compiled.take(step, self._latest, self._work)
        return self.complete(step)

    def begin(self, step: Step) -> None:
        """Prepare a step: set its step size, and make its meter."""
        schedule = self._latest = step.schedule or self.schedule
        if step.lr is None:
            schedule.before_step(self.epoch, *step.position)
        else:
            schedule.set_lr(step.lr)
        if step.group is not None and step.group not in self._meters:
            self._meters[step.group] = EpochMeter(self.device)

    def _work(self, step: Step) -> None:
        """Compute gradients, new weights and figures of a step: the part that can be recorded (``--compile``)."""
        self.move(step, *self.gradients(step))

    def move(self, step: Step, loss: Tensor, figures: Figures) -> None:
        """Update the weights by the present gradients, and add the loss and figures to the step's meter.

        Args:
            loss, figures: those of this process's part of the batch.
        """
        if step.moves:
            self.advance(step.schedule or self.schedule)
        else:
            self._waiting = [parameter.grad.clone() for parameter in self._parameters if parameter.grad is not None]
        if step.group is not None:
            self._meters[step.group].sum_up(loss, figures, len(step.batch), step.count)

    def complete(self, step: Step) -> EpochMeter | None:
        """Finish a step on the CPU's side; returns the meter that counted it, or None if the step is not counted."""
        if step.after is not None:
            step.after()
        if step.group is None:
            return None
        if self.average is not None:
            self._follow(self.average.module)
        meter = self._meters[step.group]
        meter.count_in(len(step.batch), step.count)
        return meter

    def _end(self, plan: Plan, lr: float) -> EpochLog:
        """Count the epoch as finished.

        Raises:
            DivergedError: the loss, a weight, or what the optimiser remembers is no longer finite.
        """
        loss, figures = 0.0, dict[str, float]()
        for group in sorted(self._meters):
            loss, figures = self._meters[group].means(
                f"in epoch {self.epoch + 1}, step {{step}}, at learning rate {self._latest.now:g}"
            )
        for schedule in (self.schedule, *plan.schedules):
            schedule.after_epoch()
        moments = (
            pair for state in self.optimizer.state.values() for pair in state.items() if isinstance(pair[1], Tensor)
        )
        finite.check(
            [*finite.state(self.model), *moments],
            f"in epoch {self.epoch + 1} at learning rate {lr:g}; try a smaller one",
        )
        self.epoch, self._step = self.epoch + 1, 0
        synchronise(self.device)
        return EpochLog(self.epoch, lr, loss, figures, lanes.seconds() - self._began)

    def gradients(self, step: Step) -> tuple[Tensor, Figures]:
        """Compute the gradients of a batch over all processes, masked and clipped; returns loss and figures."""
        compiled = self._compiled is not None and self._compiled.active
        with nullcontext() if compiled else cpu_arithmetic(self.model, step.count):
            loss_and_figures = self._gradient(step)
            if self.asam is not None:
                self.asam.up()
                loss_and_figures = self._gradient(step)
                self.asam.back()
        self.confine(step)
        return loss_and_figures

    def confine(self, step: Step) -> None:
        """Mask the gradients, clip them, and add those that the step before has left (``Step.moves``)."""
        update, recipe = step.update_mask or self.frozen, (step.schedule or self.schedule).recipe
        if recipe.clip_first:
            self._clip(recipe.max_norm)
        if update is not None:
            update.gradients()
        if self._waiting:
            own = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
            torch._foreach_add_(own, self._waiting)
            self._waiting = []
        if not recipe.clip_first:
            self._clip(recipe.max_norm)

    def _clip(self, max_norm: float) -> None:
        """Scale the gradients down to the length ``max_norm``; 0 leaves them unchanged."""
        if max_norm:
            self.enforcer.gradients()
            nn.utils.clip_grad_norm_(self.model.parameters(), max_norm)

    def advance(self, schedule: OptimizerSchedule) -> None:
        """Update the weights by the present gradients, and hold pruned and frozen weights."""
        schedule.optimizer.step()
        self.enforcer()
        if self.frozen is not None and self._freeze_rest:
            self.frozen()

    def _gradient(self, step: Step) -> tuple[Tensor, Figures]:
        weight = parallel.weight(step.count)
        with half(self.device, self.recipe.amp):
            loss, figures = step.objective(self.model, step.batch)
        self.model.zero_grad(set_to_none=True)
        (loss * weight if weight != 1 else loss).backward()
        parallel.average_gradients(self.model.parameters())
        return self.penalised(step, loss), figures

    def penalised(self, step: Step, loss: Tensor) -> Tensor:
        """The loss plus the step's l1 penalty; the gradient of the penalty is added to those of the weights."""
        if not step.l1:
            return loss
        trained = l1.trained(self.model.parameters())
        l1.add_slope(trained, step.l1)
        return loss.detach() + step.l1 * l1.norm(trained)

    @torch.no_grad()
    def _follow(self, average: nn.Module) -> None:
        """Update the moving average of the weights.

        ``AveragedModel``'s own update makes the CPU wait for the GPU. ``lerp`` would lose digits where average and
        weights are close to each other.
        """
        averages: list[Tensor] = list(average.parameters())
        weights: list[Tensor] = list(self.model.parameters())
        torch._foreach_mul_(averages, self.recipe.ema_decay)
        torch._foreach_add_(averages, weights, alpha=1 - self.recipe.ema_decay)
        if buffers := list(average.buffers()):
            torch._foreach_copy_(buffers, list(self.model.buffers()))

    def finish(self) -> None:
        """Put the moving average in place of the weights, if one is kept."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
            self.enforcer()
            if self.frozen is not None and self._freeze_rest:
                self.frozen()  # averaging the same number again and again has rounded it
