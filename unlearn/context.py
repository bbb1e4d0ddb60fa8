"""What a method is given besides the model: the sets that it declared, and how to train on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dataset.images import Images
from dataset.scenario import Scenario
from dataset.superclasses import Subclasses
from pruner import Mask
from trainer import checkpoints
from trainer.loop import Training
from trainer.recipe import recipe
from trainer.steps import Pass, Plan, Trainable
from trainer.task import Batch, Classification, Objective, Task
from unlearn import lora
from unlearn.draws import Draws
from unlearn.registry import Salient
from utils import files, lanes, seeds
from utils.device import synchronise
from utils.log import Log

SAVE_EVERY = 1000  # steps within an epoch after which the state of the run is stored


class Sets:
    """The image sets that a method declared: ``sets.retain``, ``sets.forget``, ``sets.val``.

    Raises:
        LookupError: on access to a set that the method did not declare.
    """

    def __init__(self, sets: dict[str, Images], reads: Collection[str], method: str):
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
    """Measures the active seconds of a run on a device; it can be paused, and can go on from an earlier start."""

    def __init__(self, device: torch.device):
        self._device, self._before = device, 0.0
        self._since: float | None = None

    def start(self, elapsed: float = 0.0) -> None:
        """Start the clock at ``elapsed`` seconds."""
        synchronise(self._device)
        self._before, self._since = elapsed, lanes.seconds()

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        if self._since is None:
            return self._before
        synchronise(self._device)
        return self._before + lanes.seconds() - self._since

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Context whose time is not counted."""
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
        path: the file; None stores nothing.
        fingerprint: identity of the run; a file of another run is ignored.
    Attributes:
        state: the content of the file; None if there is none of this run.
    """

    def __init__(self, path: Path | None = None, fingerprint: str = ""):
        self._path, self._fingerprint = path, fingerprint
        self.state: dict[str, Any] | None = None
        if path is not None and path.exists():
            state = checkpoints.read_progress(path)
            self.state = state if state and state["fingerprint"] == fingerprint else None

    def save(self, **state: Any) -> None:
        """Replace the content of the file."""
        if self._path is not None:
            checkpoints.write_progress(self._path, {"fingerprint": self._fingerprint, **state})

    def remove(self) -> None:
        """Delete the file: the run is complete."""
        if self._path is not None:
            files.remove(self._path)


@dataclass(frozen=True)
class Fine:
    """The subclasses of a scenario that forgets some of them.

    Attributes:
        labels: subclasses of all training images, int64 [N] on the CPU.
        of: for each subclass the class that it belongs to.
        whole: the subclasses that are forgotten whole.
    """

    labels: Tensor
    of: tuple[int, ...]
    whole: tuple[int, ...]

    @classmethod
    def of_split(cls, subclasses: Subclasses, whole: tuple[int, ...]) -> Fine | None:
        """The subclasses of a data set, of which ``whole`` are forgotten whole; None if ``whole`` is empty."""
        return cls(torch.from_numpy(subclasses.train), subclasses.superclass_of, whole) if whole else None


@dataclass
class Context:
    """Where and how a method runs.

    Attributes:
        mask: boolean tensors by parameter name, False where a weight is held at zero; empty for a dense model. A method
            that prunes replaces it by a smaller one.
        device: the device of model and sets.
        seed: seeds all random numbers of the method.
        compat: "fixed" or "reference".
        dataset, classes: name of the data set and its number of classes.
        scenario: what is forgotten, with its count resolved.
        whole_classes: numbers of the classes that are forgotten whole.
        log: prints lines.
        progress: the file from which a killed run goes on.
        update_mask: boolean tensors by parameter name, True where a weight may change; None for all. Set for flags of
            ``Salient`` and for SFR-on.
        draws: the source of random numbers; made from ``seed`` unless given.
        adapters: the adapters that train instead of the model's weights; None to train the weights.
        frozen: entries of the model's state dict that never change, and so are not stored after every epoch.
        task: what the model is trained for; classification unless given.
        save_every: steps after which the state of the run is stored within an epoch.
        checkpoint_every: epochs after which the state of the run is stored.
        subclasses: set if the scenario names subclasses and forgets some whole; else None.
        folder: where masks and Fisher information that a method finds are stored; None stores none.
        memory: plain values and tensors that a method needs again after a kill. They are stored with the weights after
            every epoch of ``fit``.
        clock: measures the method's active seconds.
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
    update_mask: Mask | None = None
    draws: Draws = None  # type: ignore[assignment]  # filled in below
    adapters: lora.Plan | None = None
    frozen: Collection[str] = ()
    task: Task = None  # type: ignore[assignment]  # filled in below
    save_every: int = SAVE_EVERY
    checkpoint_every: int = 1
    subclasses: Fine | None = None
    folder: Path | None = None
    memory: dict[str, Any] = field(init=False)
    clock: Clock = field(init=False)
    _phase: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.clock = Clock(self.device)
        self.draws = self.draws or Draws(self.seed)
        self.task = self.task or Classification(self.classes)
        self.memory = (self.progress.state or {}).get("memory", {})
        self._random = seeds.generator(self.seed, "losses")

    @property
    def mask_seconds(self) -> float | None:
        """Active seconds that finding a saliency mask took; None if none was found."""
        return self.memory.get("mask_seconds")

    @contextmanager
    def masking(self) -> Iterator[None]:
        """Context whose time counts as the cost of finding a mask; a resumed run that repeats it does not count it."""
        if self.mask_seconds is not None:
            with self.clock.paused():
                yield
            return
        began = self.clock.seconds
        yield
        self.memory["mask_seconds"] = self.clock.seconds - began

    def fit(
        self,
        model: nn.Module,
        images: Trainable | Callable[[int], Trainable] | Sequence[Pass],
        config: Any,
        objective: Objective | None = None,
        before: Callable[[int], None] | None = None,
        eval_modules: Sequence[nn.Module] = (),
        steps: int | None = None,
    ) -> None:
        """Train ``model`` on ``images`` with the shared loop, going on from where a killed run was.

        A method may call this several times; each call is a phase with an optimiser of its own. A killed run that goes
        on repeats what the method does before a phase, and then loads the stored weights. Weights outside of
        ``update_mask`` do not change, or drift if ``config`` says so.

        Args:
            images: the set to train on, or a function from an epoch's number (from 0) to a set, or the passes of an
                epoch.
            config: hyper-parameters: ``unlearn_epochs``, ``unlearn_lr``, ``no_aug`` and the flags of ``Stepping``.
            objective: what to minimise, if ``images`` are not passes; None for the task's mean loss.
            before: called before every epoch with its number. It may change weights and ``mask``, which is enforced
                afterwards.
            eval_modules: modules that stay in eval mode while training.
            steps: number of steps to take in all, instead of ``unlearn_epochs``; None for whole epochs.
        """
        passes = images if isinstance(images, Sequence) else [Pass(images, objective or self.task.mean)]
        if config.no_aug:
            passes = [each.plain() for each in passes]
        epochs, steps = config.unlearn_epochs, getattr(config, "iterations", None) if steps is None else steps
        if steps is not None:
            epochs = math.ceil(steps / sum(len(each.at(0).sizes(config.batch_size)) for each in passes))
        offset = config.rewind_epoch if getattr(config, "rewind_pth", None) is not None else 0
        more = {"schedule_offset": offset, "steps": steps, "clip_first": self.compat == "reference"}
        settings = recipe(config, epochs, config.unlearn_lr, **more)
        training = Training(model, settings, self.mask, self.update_mask, self._freezes_rest(config), eval_modules)

        def prepare(epoch: int) -> None:
            if before is not None:
                before(epoch)
                training.enforce_mask(self.mask)

        self.phase(training, training.passes(passes), prepare)

    def phase(self, training: Training, plan: Plan, before: Callable[[int], None] | None = None) -> None:
        """Run ``training`` through the epochs of ``plan``, storing the state from which a killed run goes on.

        Args:
            before: called before every epoch with its number.
        """
        number, self._phase = self._phase, self._phase + 1
        saved, model = self.progress.state, training.model
        training.quiet = self.log.quiet
        if saved is not None and saved["phase"] > number:
            return
        if saved is not None and saved["phase"] == number:
            weights, self.mask = checkpoints.unpack(saved["state_dict"])
            unchanged = {key: value for key, value in model.state_dict().items() if key in self.frozen}
            model.load_state_dict({**unchanged, **weights})
            training.restore(saved)
            plan.restore(saved["plan"])
            training.enforce_mask(self.mask)

        def save() -> None:
            with self.clock.paused():
                state = training.state() | {"state_dict": checkpoints.pack(model, self.mask, self.frozen)}
                state |= {"plan": plan.state(), "memory": self.memory}
                self.progress.save(phase=number, seconds=self.clock.seconds, **state)

        seed, epochs = seeds.derive(self.seed, "unlearn", number), training.recipe.epochs
        for log in training.run(plan, seed, before=before, save=save, every=self.save_every):
            with self.clock.paused(), self.log.epoch("unlearn", epochs, log):
                if log.epoch % self.checkpoint_every == 0 or log.epoch == epochs:
                    save()
        training.finish()

    @property
    def whole(self) -> dict[int, int]:
        """Classes or, if the scenario names these, subclasses that are forgotten whole, each mapped to its class."""
        fine = self.subclasses
        return {label: label for label in self.whole_classes} if fine is None else {n: fine.of[n] for n in fine.whole}

    def groups(self, images: Images) -> Tensor:
        """Class or subclass, as the keys of ``whole``, of every image of a set of training images: int64 [M]."""
        fine = self.subclasses
        return images.labels if fine is None else fine.labels.to(images.device)[images.indices]

    def losses(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Every sample's loss by the task, float [B]."""
        return self.task.losses(model, Batch(inputs, targets, random=self._random))[0]

    def climbed(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Every sample's loss for gradient ascent, float [B]; see ``Task.climbed``."""
        return self.task.climbed(model, Batch(inputs, targets, random=self._random))[0]

    def scored(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Every sample's loss whose gradients measure saliency, float [B]; see ``Task.scored``."""
        return self.task.scored(model, Batch(inputs, targets, random=self._random))

    def expected(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor | float, Tensor]]:
        """Pairs of weight and mean loss over possible targets, for Fisher information; see ``Task.expected``."""
        return self.task.expected(model, Batch(inputs, targets, random=self._random))

    def in_order(self, images: Images, size: int, no_aug: bool) -> Iterator:
        """Batches in the set's own order, for estimating curvature.

        Images are not augmented, except with ``--compat reference`` and without ``no_aug``.
        """
        if self.compat == "reference" and not no_aug:
            return images.augmented_in_order(size, seeds.derive(self.seed, "curvature"))
        return images.batches(size)

    def _freezes_rest(self, config: Any) -> bool:
        outside = config.saliency_outside if isinstance(config, Salient) else None
        return self.compat == "fixed" if outside is None else outside == "held"
