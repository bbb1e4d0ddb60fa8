"""What a method is handed besides the model: the sets it declared, and how to train on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from dataset.images import Images
from dataset.scenario import Scenario
from pruner import Mask
from trainer.loop import EpochLog, Objective, Pass, Trainable, Training, cross_entropy, recipe
from unlearn.draws import Draws
from unlearn.lora import Plan
from unlearn.registry import Salient
from utils import checkpoints, files, seeds
from utils.device import synchronise
from utils.log import Log

Shrink = Callable[[int, Mask], Mask]


class Stateful(Protocol):
    """What a killed run needs to go on with, as plain values and tensors."""

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


class Sets:
    """The image sets that a method declared: ``sets.retain``, ``sets.forget``, ``sets.val``.

    Raises:
        LookupError: on access to a set that the method did not declare.
    """

    def __init__(self, sets: dict[str, Images], reads: frozenset[str], method: str):
        self._sets, self._reads, self._method = sets, reads, method

    def __getattr__(self, name: str) -> Images:
        if name.startswith("_") or name not in self._sets:
            raise AttributeError(name)
        if name not in self._reads:
            raise LookupError(
                f"{self._method} reads {', '.join(sorted(self._reads)) or 'no set'}, yet asked for {name}"
            )
        return self._sets[name]


class Clock:
    """Active seconds of a run on a device; stands still while paused, and goes on from an earlier part."""

    def __init__(self, device: torch.device):
        self._device, self._before, self._since = device, 0.0, None

    def start(self, before: float = 0.0) -> None:
        """Begin to count, on top of ``before`` seconds."""
        synchronise(self._device)
        self._before, self._since = before, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        if self._since is None:
            return self._before
        synchronise(self._device)
        return self._before + time.perf_counter() - self._since

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count what happens inside."""
        counted = self.seconds
        self._since = None
        self._before = counted
        try:
            yield
        finally:
            self.start(counted)


class Progress:
    """The file from which a killed run of a method goes on.

    Args:
        path: where it is; None keeps nothing.
        fingerprint: a file of another run is ignored.
    """

    def __init__(self, path: Path | None = None, fingerprint: str = ""):
        self._path, self._fingerprint = path, fingerprint
        self.state: dict[str, Any] | None = None
        if path is not None and path.exists():
            state = checkpoints.read_progress(path)
            self.state = state if state and state["fingerprint"] == fingerprint else None

    def save(self, **state: Any) -> None:
        """Replace what is stored."""
        if self._path is not None:
            checkpoints.write_progress(self._path, {"fingerprint": self._fingerprint, **state})

    def remove(self) -> None:
        """Delete the file: the run is complete."""
        if self._path is not None:
            files.remove(self._path)


@dataclass
class Context:
    """Where and how a method runs.

    Attributes:
        mask: weights to hold at zero; empty for a dense model. A method that prunes replaces it by a smaller one.
        seed: everything the method draws is derived from it.
        compat: "fixed" or "reference".
        dataset, classes: name of the data set and its number of classes.
        scenario: what is forgotten, with its count resolved.
        whole_classes: those that are forgotten whole.
        only: weights that may change, True by parameter name; None for all. For methods whose flags are ``Salient``.
        draws: where its random numbers come from; made from ``seed`` unless given.
        adapters: what trains in place of the model's weights; None for these themselves.
        frozen: entries of the model's state dict that do not change, and so are not stored after every epoch.
        memory: plain values and tensors that a method needs again after a kill; stored with the weights after every
            epoch of ``fit``, so what is put there before an epoch is there after it.
    """

    mask: Mask
    device: torch.device
    seed: int
    compat: str
    dataset: str
    classes: int
    scenario: Scenario
    whole_classes: tuple[int, ...]
    log: Log
    progress: Progress = field(default_factory=Progress)
    only: Mask | None = None
    draws: Draws | None = None
    adapters: Plan | None = None
    frozen: Collection[str] = ()
    memory: dict[str, Any] = field(init=False)
    clock: Clock = field(init=False)
    _phase: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.clock = Clock(self.device)
        self.draws = self.draws or Draws(self.seed)
        self.memory = (self.progress.state or {}).get("memory", {})

    def fit(
        self,
        model: nn.Module,
        images: Trainable | Callable[[int], Trainable] | Sequence[Pass],
        config: Any,
        objective: Objective = cross_entropy,
        *,
        shrink: Shrink | None = None,
        only: Mask | None = None,
        before: Callable[[int], None] | None = None,
        still: Sequence[nn.Module] = (),
        steps: int | None = None,
    ) -> None:
        """Train ``model`` on ``images`` with the shared loop, going on from a killed run's last epoch.

        A method may call this several times; each call is a phase of its own, with an optimiser of its own. What
        the method does before a phase is done again when a killed run goes on, and then replaced by stored weights.

        Args:
            images: what to train on, a function from an epoch's number, from 0, to it, or the passes that make an epoch.
            config: with ``unlearn_epochs``, ``unlearn_lr`` and ``no_aug`` beside the flags of ``trainer.flags.Stepping``.
            shrink: called before every epoch with its number from 0 and the mask; returns the mask to hold from then on.
            only: weights that may change; None for all. ``config`` says what becomes of the others.
            before: called before every epoch with its number; may change weights, and pruned ones are zero again afterwards.
            still: modules that stay in eval mode while training.
            steps: end after so many steps in all, in the middle of an epoch.
        """
        passes = images if isinstance(images, Sequence) else [Pass(images, objective)]
        if config.no_aug:
            passes = [replace(each, images=_plain(each.images)) for each in passes]
        ahead = config.rewind_epoch if getattr(config, "rewind_pth", None) is not None else 0
        plan = recipe(config, config.unlearn_epochs, config.unlearn_lr, ahead, steps)
        others = [each.recipe for each in passes if each.recipe is not None]
        training = Training(model, plan, self.mask, only, self._held(config), others=others, still=still)

        def epochs(seed: int) -> Iterator[EpochLog]:
            running = training.run(passes, seed)
            while training.epoch < config.unlearn_epochs:
                if shrink is not None:
                    self.mask = shrink(training.epoch, self.mask)
                    training.hold_mask(self.mask)
                if before is not None:
                    before(training.epoch)
                    training.hold()
                yield next(running)

        self.phase(training, epochs, config.unlearn_epochs)

    def phase(
        self,
        training: Training,
        epochs: Callable[[int], Iterator[EpochLog]],
        total: int,
        beside: tuple[Stateful, ...] = (),
    ) -> None:
        """Take ``training`` through epochs of any kind, keeping after each what a killed run goes on from.

        Args:
            epochs: from a seed to the epochs that ``training`` has not finished yet; they count themselves in ``training.epoch``.
            total: how many there are in all, for the log.
            beside: whatever else changes from epoch to epoch.
        """
        number, self._phase = self._phase, self._phase + 1
        saved, model = self.progress.state, training.model
        if saved is not None and saved["phase"] > number:
            return
        if saved is not None and saved["phase"] == number:
            weights, self.mask = checkpoints.unpack(saved["state_dict"])
            unchanged = {key: value for key, value in model.state_dict().items() if key in self.frozen}
            model.load_state_dict({**unchanged, **weights})
            for part, state in zip((training, *beside), (saved, *saved["beside"])):
                part.restore(state)
            training.hold_mask(self.mask)
        for log in epochs(seeds.derive(self.seed, "unlearn", number)):
            with self.clock.paused(), self.log.epoch("unlearn", total, log):
                self.progress.save(
                    phase=number,
                    seconds=self.clock.seconds,
                    state_dict=checkpoints.pack(model, self.mask, self.frozen),
                    **training.state(),
                    beside=[part.state() for part in beside],
                    memory=self.memory,
                )

    def _held(self, config: Any) -> bool:
        chosen = config.saliency_outside if isinstance(config, Salient) else None
        return self.compat == "fixed" if chosen is None else chosen == "held"

    def in_order(self, images: Images, size: int, no_aug: bool) -> Iterator:
        """Batches in the set's own order for estimating curvature.

        Plain images; with ``--compat reference`` augmented ones unless ``--no_aug`` was given.
        """
        if self.compat == "reference" and not no_aug:
            return images.augmented_in_order(size, seeds.derive(self.seed, "curvature"))
        return images.batches(size)


def _plain(images: Trainable | Callable[[int], Trainable]) -> Trainable | Callable[[int], Trainable]:
    """The same without augmentation."""
    return (lambda epoch: images(epoch).plain()) if callable(images) else images.plain()
