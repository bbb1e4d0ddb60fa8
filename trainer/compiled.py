"""Training steps under ``--compile``: torch compiles the model, and a GPU replays recorded steps as a CUDA graph.

This is done for full batches only, and with one process only. A smaller last batch of an epoch is computed as without
the flag, since it would have to be compiled anew. The model's modules and the keys of its state dict do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trainer.recipe import OptimizerSchedule
from trainer.steps import Step
from utils.errors import RunError, exhausted, one_line, say_last

BACKEND = "inductor"  # of torch.compile
WARM = 3  # steps before one is recorded, in which libraries choose their algorithms


class Recorder:
    """Records work of a GPU as CUDA graphs, on a stream of its own."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Context whose work runs on the recording stream, after earlier work and before later work of this stream."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            yield
        torch.cuda.current_stream().wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` without computing it; the function that is returned computes it with one launch."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            work()
        return graph.replay


@dataclass
class _Recorded:
    """A recorded step, and the memory that it reads: its batch and its step size."""

    inputs: list[Tensor]
    lr: Tensor
    now: float
    run: Callable[[], None]

    def repeat(self, inputs: list[Tensor], lr: float) -> None:
        torch._foreach_copy_(self.inputs, inputs)
        if lr != self.now:
            self.lr.fill_(lr)
            self.now = lr
        self.run()


class Compiled:
    """How a training takes its steps under ``--compile``.

    A graph repeats what was recorded, whatever Python would do by now. A step is therefore recorded only if its plan
    says that all steps of its group are alike (``Step.alike``), and if it draws no random numbers on the CPU. Each
    epoch records anew, after at least one step that is taken as usual. The step size is read from the device, so it
    may change.

    Args:
        model: the model that is trained.
        random: the generator that its losses draw from.
        recorder: None on the CPU, which has no graphs.
    Attributes:
        active: whether a step is being computed by the compiled model.
    """

    def __init__(self, model: nn.Module, random: torch.Generator, recorder: Recorder | None):
        self._model, self._random, self._recorder, self.active = model, random, recorder, False
        self._forward = torch.compile(model.forward, backend=BACKEND, dynamic=False)
        # By group of steps: elements of the largest batch, steps left before one is recorded, and the recorded step.
        self._largest: dict[int | None, int] = {}
        self._warm: dict[int | None, int] = {}
        self._recorded: dict[int | None, _Recorded] = {}
        self._unfit: set[int | None] = set()

    def begin(self) -> None:
        """Start an epoch: forget recorded steps, since masks, penalties and figures may have changed."""
        self._recorded = {}
        self._warm = {group: max(left, 1) for group, left in self._warm.items()}

    def take(self, step: Step, schedule: OptimizerSchedule, work: Callable[[Step], None]) -> None:
        """Take one step, by calling ``work`` or by replaying a recorded call of it.

        Args:
            schedule: the optimiser of this step.
            work: computes a step on the device.
        Raises:
            RunError: torch cannot compile the model.
        """
        group, inputs = step.group, _tensors((step.batch.inputs, step.batch.targets))
        size = sum(tensor.numel() for tensor in inputs)
        self._largest[group] = max(size, self._largest.get(group, 0))
        if size < self._largest[group] or len(step.batch) < 2:
            work(step)
            return
        with self._compiled_forward():
            if self._recorder is None or not step.alike or group in self._unfit:
                work(step)
            elif self._warm.setdefault(group, WARM):
                self._take_aside(step, work)
            elif recorded := self._recorded.get(group) or self._record(step, schedule, work):
                recorded.repeat(inputs, schedule.now)
            else:
                work(step)

    @contextmanager
    def _compiled_forward(self) -> Iterator[None]:
        self._model.forward, self.active = self._forward, True
        try:
            yield
        except Exception as error:
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                reason = f"torch cannot compile this model here ({one_line(str(error))[:200]})"
                raise RunError(f"--compile: {reason}; the same command without the flag runs") from error
            raise
        finally:
            del self._model.forward
            self.active = False

    def _take_aside(self, step: Step, work: Callable[[Step], None]) -> None:
        """Take a step as usual; if it draws random numbers on the CPU, steps of its group will not be recorded."""
        assert self._recorder is not None
        drawn = [torch.get_rng_state(), self._random.get_state()]
        with self._recorder.aside():
            work(step)
        if not all(map(torch.equal, drawn, [torch.get_rng_state(), self._random.get_state()])):
            self._unfit.add(step.group)
        self._warm[step.group] -= 1

    def _record(self, step: Step, schedule: OptimizerSchedule, work: Callable[[Step], None]) -> _Recorded | None:
        """Record a step on memory of its own; None, with a remark at the end of the run, if that fails."""
        assert self._recorder is not None
        own = _copied((step.batch.inputs, step.batch.targets))
        fixed = replace(step, batch=replace(step.batch, inputs=own[0], targets=own[1]))
        inputs = _tensors(own)
        lr, groups = torch.full((), schedule.now, device=inputs[0].device), schedule.optimizer.param_groups
        before = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = lr
        try:
            recorded = _Recorded(inputs, lr, schedule.now, self._recorder.record(lambda: work(fixed)))
        except RuntimeError as error:
            if exhausted(error) is not None:
                raise
            self._unfit.add(step.group)
            say_last([f"--compile: steps were not recorded as a CUDA graph ({one_line(str(error))[:200]})"])
            return None
        finally:
            for group, value in zip(groups, before):
                group["lr"] = value
        self._recorded[step.group] = recorded
        return recorded


def _tensors(value: Any) -> list[Tensor]:
    """The tensors of a batch in one list; a batch may hold pairs."""
    return [tensor for part in value for tensor in _tensors(part)] if isinstance(value, tuple) else [value]


def _copied(value: Any) -> Any:
    return tuple(map(_copied, value)) if isinstance(value, tuple) else value.clone()
