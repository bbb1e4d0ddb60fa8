"""One step of several trainings at once: their networks are computed as one (``models.stacked``), all else separately.

Each training runs in a lane (``utils.lanes``) and asks for its next step. It keeps its own order, augmentation, losses,
step sizes, masks, optimiser, log and checkpoints. Trainings that are not alike take their steps one by one.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.stacked import Stack, signature
from trainer.cpu_arithmetic import cpu_arithmetic
from trainer.loop import Training
from trainer.meter import EpochMeter
from trainer.steps import Step
from trainer.task import Figures
from utils.device import half
from utils.errors import UsageError, exhausted
from utils.lanes import Lane

Request = tuple[Training, Step]


class Together:
    """Takes the steps for which the trainings in lanes wait, those of trainings that are alike together.

    Args:
        max_models: most models in one step.
    """

    def __init__(self, max_models: int):
        self._max_models = max_models
        self._stacks: list[tuple[list[Training], Stack]] = []
        self._before: list[Tensor] | None = None  # buffers of a stack that has taken no step yet
        self._layers: weakref.WeakKeyDictionary[Training, _Layers] = weakref.WeakKeyDictionary()
        self._unfit: set[Any] = set()  # signatures of models that cannot be stacked

    def __call__(self, waiting: Sequence[Lane]) -> None:
        """Take the steps of all lanes if they are alike. Otherwise those with the largest batches wait for the others.

        Trainings whose epochs end with a smaller batch at different steps thus get in step with each other again.
        """
        active = {lane.request[0] for lane in waiting}
        self._keep(active.issuperset)
        groups: dict[Any, list[Lane]] = {}
        for lane in waiting:
            groups.setdefault(self._kind(*lane.request), []).append(lane)
        kinds = sorted(groups, key=lambda kind: (0 if kind is None else kind[0], len(groups[kind])))
        for kind in kinds[:-1] or kinds:
            size = 1 if kind is None else self._max_models
            for start in range(0, len(groups[kind]), size):
                self._answer(groups[kind][start : start + size])

    def _kind(self, training: Training, step: Step) -> Any:
        """Key that steps share if they can be taken as one, beginning with the batch size; None to take it alone."""
        if training not in self._layers:
            self._layers[training] = _Layers(training.model)
        layers, inputs = self._layers[training], _inputs(step)
        images = all(isinstance(each, Tensor) and each.ndim == 4 for each in inputs)
        special = training.asam is not None or training.compiled
        if special or not images or layers.signature in self._unfit or layers.changed:
            return None
        shapes = tuple((each.shape, each.dtype, each.device) for each in inputs)
        return len(step.batch), shapes, layers.signature, layers.modes, training.recipe.amp, _code(step.objective)

    def _answer(self, group: list[Lane]) -> None:
        pairs: list[Request] = [lane.request for lane in group]
        results = self._take(pairs) if len(group) > 1 else None
        for number, (lane, (training, step)) in enumerate(zip(group, pairs)):
            lane.answer = functools.partial(training.take, step)
            if results is not None:
                lane.answer = functools.partial(_complete, training, step, *results[number])

    def _take(self, pairs: list[Request]) -> list[tuple[Tensor, Figures]] | None:
        """Compute gradients of all trainings; returns loss and figures of each, or None to take the steps alone."""
        trainings = [training for training, _ in pairs]
        # Part of a stack that will soon be complete again is not worth a new stack.
        part = any(set(trainings) < set(members) for members, _ in self._stacks)
        stack = None if part else self._stack(trainings)
        if stack is None:
            return None
        try:
            results = take(stack, pairs)
        except (MemoryError, RuntimeError) as error:
            if exhausted(error) is None or self._before is None:
                raise
        else:
            self._before = None
            return results
        for buffer, value in zip(stack.network.buffers(), self._before):
            buffer.copy_(value)
        self._max_models = max(1, len(pairs) // 2)
        _say(f"memory does not suffice for {len(pairs)} models at once; going on with {self._max_models}")
        self._keep(lambda members: False)
        return None

    def _stack(self, trainings: list[Training]) -> Stack | None:
        """The models of these trainings as one network; None, with a note, if they cannot be stacked."""
        for members, stack in self._stacks:
            if members == trainings:
                return stack
        self._keep(set(trainings).isdisjoint)
        try:
            stack = Stack([training.model for training in trainings])
        except UsageError as error:
            self._unfit.add(self._layers[trainings[0]].signature)
            _say(f"{error}; models of this architecture are trained one by one")
            return None
        self._stacks.append((trainings, stack))
        self._before = [buffer.clone() for buffer in stack.network.buffers()]
        return stack

    def _keep(self, keeps: Callable[[list[Training]], bool]) -> None:
        """Release the stacks for whose trainings ``keeps`` returns False."""
        for members, stack in self._stacks:
            if not keeps(members):
                stack.release()
        self._stacks = [pair for pair in self._stacks if keeps(pair[0])]


class _Layers:
    """What must be known of a model's layers before every step."""

    def __init__(self, model: nn.Module):
        self.signature = signature(model)
        self._all = list(model.modules())

    @property
    def modes(self) -> tuple[bool, ...]:
        """For each layer whether it is in train mode."""
        return tuple(layer.training for layer in self._all)

    @property
    def changed(self) -> bool:
        """Whether a layer has hooks or a replaced ``forward``."""
        return any(layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer) for layer in self._all)


def take(stack: Stack, pairs: Sequence[Request]) -> list[tuple[Tensor, Figures]]:
    """Compute gradients of all trainings at once, in their models; returns each one's loss, a scalar, and figures."""
    stack.begin()
    shared = _Outputs(stack, [_inputs(step) for _, step in pairs])
    first, step = pairs[0]
    results = []
    with cpu_arithmetic(stack.network, step.count), half(first.device, first.recipe.amp):
        for number, (training, step) in enumerate(pairs):
            training.begin(step)
            with shared.instead_of(training.model, number):
                results.append(step.objective(training.model, step.batch))
    shared.check()
    torch.autograd.backward([loss for loss, _ in results])
    stack.end()
    return [(training.penalised(step, loss), figures) for (training, step), (loss, figures) in zip(pairs, results)]


class _Outputs:
    """The outputs of all models of a stack on their own inputs, computed when the first of them is asked for.

    Args:
        inputs: for every model one or several batches of images.
    """

    def __init__(self, stack: Stack, inputs: Sequence[tuple[Tensor, ...]]):
        self._stack, self._inputs = stack, inputs
        self._outputs: dict[int, list[Tensor]] = {}  # outputs that were not asked for yet, by number of the batch

    @contextmanager
    def instead_of(self, model: nn.Module, number: int) -> Iterator[None]:
        """Context in which model ``number`` returns its part of the stack's outputs; other inputs it computes alone."""

        def forward(inputs: Tensor) -> Tensor:
            for batch, own in enumerate(self._inputs[number]):
                if inputs is own and self._is_first(batch, number):
                    return self._outputs[batch].pop(0)
            with cpu_arithmetic(model, len(inputs)):
                return type(model).forward(model, inputs)

        vars(model)["forward"] = forward
        try:
            yield
        finally:
            del vars(model)["forward"]

    def check(self) -> None:
        """Make sure that every model asked for its outputs, since its batch norms have counted these images."""
        assert not any(self._outputs.values()), "models of one stack ask for the outputs on the same batches"

    def _is_first(self, batch: int, number: int) -> bool:
        """Whether this model asks for this batch for the first time; the models must ask in their order."""
        if batch not in self._outputs and number == 0:
            together = torch.stack([own[batch] for own in self._inputs])
            self._outputs[batch] = list(self._stack(together).unbind())
        left = len(self._inputs) - len(self._outputs.get(batch, ()))
        return left == number


def _inputs(step: Step) -> tuple[Any, ...]:
    return step.batch.inputs if isinstance(step.batch.inputs, tuple) else (step.batch.inputs,)


def _code(objective: Any) -> Any:
    """The code of an objective, which is the same for the objectives that several trainings of one kind define."""
    while isinstance(objective, functools.partial):
        objective = objective.func
    return getattr(objective, "__code__", objective)


def _complete(training: Training, step: Step, loss: Tensor, figures: Figures) -> EpochMeter | None:
    training.confine(step)
    training.move(step, loss, figures)
    return training.complete(step)


def _say(line: str) -> None:
    print(f"note: {line}", file=sys.stderr, flush=True)
