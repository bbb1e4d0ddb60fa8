"""Unlearning and scoring from Python, with any model and data sets: see ``docs/api.md``.

Nothing is written to disk. The caller's model and data sets, and torch's random generators, are left unchanged.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dataset import own
from dataset.images import Augment, Images
from dataset.scenario import Scenario
from evaluation import run_scores, scoring
from evaluation.predict import predict_all
from pruner import Mask
from trainer.task import Classification, Task
from trainer.training_flags import Model
from unlearn import registry, saliency
from unlearn.apply import Unlearned, apply
from unlearn.context import Context
from unlearn.draws import Draws
from unlearn.registry import Method
from unlearn.unlearn_flags import hyper_parameters
from utils.device import resolve
from utils.errors import RunError, UsageError, one_line
from utils.log import Log
from utils.names import nearest
from utils.run_flags import Run

__all__ = ["Augment", "Data", "Unlearned", "run", "score"]

FILES = ("rewind_pth", "rewind_epoch")  # not settings in Python: a caller loads other weights into the model instead
Function = TypeVar("Function", bound=Callable[..., Any])


def _in_python(function: Function) -> Function:
    """Decorator that removes the dashes of flags from error messages, since settings have none in Python."""

    @functools.wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except (UsageError, RunError) as error:
            raise type(error)(re.sub(r"--(?=\w)", "", str(error))) from error.__cause__

    return typing.cast(Function, called)


class Data:
    """The sets of an unlearning run, read once into memory and put on the device.

    Args:
        retain, forget: map-style data sets of pairs of an image and its class, with no image in common. Images are
            PIL images or uint8 tensors [C, H, W], which are scaled to [0, 1], or float tensors [C, H, W], which the
            model gets unchanged. Classes are whole numbers from 0.
        test: images that the model was not trained on; needed for scores, not for unlearning.
        val: validation images, for methods that read them.
        device: "auto" (a GPU if there is one), "cpu", "cuda:0", "mps".
        augment: random augmentation of ``retain``, ``forget`` and ``val`` in training, drawn anew in every epoch; None
            for none. A random transform in the data set itself is drawn only once, when the image is read.
        workers: number of processes that read.
    Attributes:
        sets: image sets by name, on the device.
    Raises:
        UsageError: no such device, an empty set, or samples of another kind.
    """

    @_in_python
    def __init__(
        self,
        retain: Dataset,
        forget: Dataset,
        test: Dataset | None = None,
        val: Dataset | None = None,
        device: str | torch.device = "auto",
        augment: Augment | None = None,
        workers: int = 0,
    ):
        self.device = _device(str(device))
        given = {"retain": retain, "forget": forget, "val": val, "test": test}
        self.sets: dict[str, Images] = {
            name: own.read(samples, name, self.device, None if name == "test" else augment, workers)
            for name, samples in given.items()
            if samples is not None
        }


@_in_python
def run(
    method: str,
    model: nn.Module,
    data: Data,
    mask: Mask | None = None,
    seed: int = Run.seed,
    task: Task | None = None,
    verbose: bool = False,
    **settings: Any,
) -> Unlearned:
    """Unlearn the forget set with a copy of a model.

    Args:
        method: a name that ``--unlearn`` takes, or one registered by the caller.
        model: maps images of the sets to logits, float [N, classes]. Methods that retrain use its architecture, with
            layers initialised as PyTorch does.
        data: the sets.
        mask: boolean tensors by parameter name, False where a weight is held at zero; None for a dense model.
        seed: seeds all random numbers of the method.
        task: what the model is trained for; None for classification.
        verbose: print a line for each epoch.
        settings: the method's own flags, as ``python main_forget.py --unlearn NAME --help`` lists them, with the same
            defaults and checks, and ``preset``. ``saliency_mask`` may be a mask instead of a file's name.
    Returns:
        The unlearned model on the data's device, in eval mode; its mask; and the method's active seconds.
    Raises:
        UsageError: one line that says what does not fit.
        DivergedError: the loss or a weight is no longer finite.
    """
    registered, start = registry.get(method), _copy(model, data.device)
    if task is not None:
        registered.check_task(task.name)
    classes = _classes(start, data, "model") if task is None or task.name == Classification.name else 0
    _check_sets(registered, data)
    free = settings.get("saliency_mask")
    if isinstance(free, Mapping) and hasattr(registered.config, "saliency_mask"):
        free = _checked_mask(settings.pop("saliency_mask"), start, "saliency_mask", complete=True)
    hyper = _hyper_parameters(registered, settings)
    with _own_random_numbers(data.device):
        if registered.fresh:
            start = Draws(seed).network(start, "new weights").to(data.device)
        context = Context(
            mask=_checked_mask(mask or {}, start, "mask"),
            device=data.device,
            seed=seed,
            compat="fixed",
            dataset="",
            classes=classes,
            scenario=Scenario(None, len(data.sets["forget"])),
            whole_classes=_whole_classes(data),
            log=Log(None, quiet=not verbose),
            update_mask=free if isinstance(free, dict) else saliency.from_flag(hyper, start)[0],
            task=task or Classification(classes),
        )
        unlearned = apply(registered, start, data.sets, hyper, context)
    unlearned.model.eval()
    return unlearned


@_in_python
def score(model: nn.Module, data: Data, retrained: nn.Module | None = None) -> dict[str, float]:
    """Score an unlearned classifier.

    Args:
        model: the unlearned classifier; not changed.
        data: the sets.
        retrained: a model trained without the forget set, to compare outputs with; None for no comparison.
    Returns:
        UA, RA, TA and MIA-Efficacy, and the columns of ``docs/scores.md``, by name: fractions in [0, 1], divergences
        in nats. Scores that lack a test set, a retrained model or enough images are left out.
    Raises:
        UsageError: one line that says what does not fit.
        DivergedError: an output is NaN or infinite.
    """
    given = {"model": model} if retrained is None else {"model": model, "retrained": retrained}
    copies = {name: _copy(one, data.device) for name, one in given.items()}
    for name, one in copies.items():
        _classes(one, data, name)
    outputs, *others = predict_all(list(copies.values()), data.sets)
    measured = run_scores.score(outputs, "fixed", others[0] if others else None)
    scores = run_scores.paper_scores(measured, None)
    scores |= {name: scoring.stored(measured, column.keys) for name, column in scoring.columns().items()}
    return {name: value for name, value in scores.items() if value is not None}


def _device(name: str) -> torch.device:
    try:
        return resolve(name if name == "auto" else str(torch.device(name)))
    except RuntimeError:
        raise UsageError(f"device {name}: unknown; known: auto, cpu, cuda, cuda:N, mps") from None


def _copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the model on the device, in eval mode."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"model: must be a torch.nn.Module, not {type(model).__name__}")
    return copy.deepcopy(model).to(device).eval()


@torch.no_grad()
def _classes(model: nn.Module, data: Data, name: str) -> int:
    """The number of classes, found by running the model on an image; UsageError if a label is beyond it."""
    images, _ = next(data.sets["retain"].batches(1))
    try:
        logits = model(images)
    except Exception as error:  # noqa: BLE001  (a forward pass of the caller's can fail in any way)
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UsageError(f"{name}: does not take images {list(images.shape)} ({reason})") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1 or not logits.is_floating_point():
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(f"{name}: must give logits, float [N, classes]; of one image it gives {shape}")
    classes = logits.shape[1]
    for own_name, images_of in data.sets.items():
        largest = int(images_of.labels.max())
        if largest >= classes:
            raise UsageError(f"{own_name}: has class {largest}, and the {name} knows classes 0 to {classes - 1}")
    return classes


def _check_sets(method: Method, data: Data) -> None:
    """Refuse a method that needs validation images or pixels in [0, 1] if ``data`` has none."""
    if "val" in method.reads and "val" not in data.sets:
        raise UsageError(f"{method.name}: reads validation images; give Data(..., val=)")
    for name in ("retain", "forget") if method.pixels else ():
        images = data.sets[name].source
        if images.dtype != torch.uint8 and (images.min() < 0 or images.max() > 1):
            raise UsageError(
                f"{method.name}: changes pixels, so that {name} must have them in [0, 1]; let the model normalise them"
            )


def _whole_classes(data: Data) -> tuple[int, ...]:
    """The classes that are forgotten whole, ascending."""
    retained = set(data.sets["retain"].labels.tolist())
    return tuple(sorted(set(data.sets["forget"].labels.tolist()) - retained))


def _checked_mask(mask: Mask, model: nn.Module, name: str, complete: bool = False) -> Mask:
    """The mask with boolean tensors; UsageError if names or shapes are not those of parameters.

    Args:
        complete: whether it must name every parameter.
    """
    shapes = {key: value.shape for key, value in model.named_parameters()}
    for key, kept in mask.items():
        if key not in shapes:
            raise UsageError(f"{name}: {key} is no parameter of the model{nearest(key, shapes)}")
        if not isinstance(kept, Tensor) or kept.shape != shapes[key]:
            shape = list(kept.shape) if isinstance(kept, Tensor) else type(kept).__name__
            raise UsageError(f"{name}: {key} must be a tensor {list(shapes[key])}, not {shape}")
    missing = [key for key in shapes if key not in mask] if complete else []
    if missing:
        raise UsageError(f"{name}: must name every parameter, and lacks {missing[0]}")
    return {key: kept != 0 for key, kept in mask.items()}


def _hyper_parameters(method: Method, settings: dict[str, Any]) -> Any:
    """The method's configuration from Python values, with the checks of the command line."""
    hints = typing.get_type_hints(method.config)
    known = [field.name for field in dataclasses.fields(method.config) if field.name not in FILES]
    preset, typed = settings.pop("preset", None), {}
    for name, value in settings.items():
        if name not in known:
            listed = ", ".join(known) or "none"
            raise UsageError(f"{name}: {method.name} has no such setting{nearest(name, known)}; it has: {listed}")
        if value is None and type(None) not in typing.get_args(hints[name]):
            raise UsageError(f"{name} None: must have a value")
        typed[name] = None if value is None else _as_typed(value)
    return hyper_parameters(typed, method, Model(), preset)


def _as_typed(value: Any) -> str:
    """A value as it would be typed, with all its digits."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(_as_typed, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """Context that restores torch's global random generators at its end."""
    gpus = list(range(torch.cuda.device_count())) if device.type == "cuda" else []
    before = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=gpus):
        try:
            yield
        finally:
            if before is not None:
                torch.mps.set_rng_state(before)
