"""The checked inputs of a run that unlearns, before an image is read: method, model, and what to forget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import models
from dataset.prepare import DatasetInfo
from dataset.scenario import Scenario
from pruner import Mask
from trainer import network, origin
from trainer.checkpoints import Checkpoint
from trainer.network import Network
from trainer.setup import Setup, inputs, shared
from unlearn import importances, lora, registry, saliency
from unlearn.registry import Method
from unlearn.unlearn_flags import ForgetArguments, Further
from utils.errors import UsageError
from utils.options import identity
from utils.result import Result
from utils.run_flags import Apart


@dataclass(frozen=True, kw_only=True)
class UnlearnSetup(Setup):
    """A run that unlearns, before its data are read.

    Attributes:
        method: the method.
        hyper: the method's configuration.
        mask_file: ``--mask`` as typed.
        checkpoint: the model to unlearn, whose mask is held; None for a method that starts from new dense weights.
        rewound: checkpoint of ``--rewind_pth``, whose weights replace those of ``checkpoint``; None for none.
        update_mask: boolean tensors by parameter name, True where a weight may change; None for all.
        allow_mismatch: go on although the model was trained on other images.
    """

    method: Method
    hyper: Any
    mask_file: str | None
    checkpoint: Checkpoint | None
    rewound: Checkpoint | None
    update_mask: Mask | None
    allow_mismatch: bool

    @property
    def mask(self) -> Mask:
        """Boolean tensors by parameter name, False where a weight is held at zero; empty for a dense model."""
        return {} if self.checkpoint is None else self.checkpoint.mask

    def unlearning_result(self, **facts: Any) -> Result:
        """``result`` with entries for the method, its name in papers, ``--compat`` and the seed."""
        method, run = self.method, self.run
        known = {"method": method.name, "paper_name": method.paper, "compat": run.compat, "seed": run.seed}
        return self.result(**{**known, **facts})

    @property
    def unlearn_seed(self) -> int:
        """The seed of the method's random numbers."""
        return self.run.seed

    @property
    def weights(self) -> Checkpoint | None:
        """The checkpoint of the weights that the method starts from; None for new weights."""
        return self.rewound or (None if self.method.fresh else self.checkpoint)


@dataclass(frozen=True, kw_only=True)
class ForgetSetup(UnlearnSetup):
    """A run of ``main_forget.py`` or ``main_saliency.py``.

    Attributes:
        scenario: what is forgotten, in numbers.
        reference: the retrained model to compare outputs with; None for none.
        adapters: the adapters that train instead of the weights; None for none.
        apart: seeds of the method and of scoring.
        further: costly scores that are asked for.
        typed: all typed flags, as words of a command line.
        verbose: print the numbers of every attack.
    """

    scenario: Scenario
    reference: Checkpoint | None
    adapters: lora.Plan | None
    apart: Apart
    further: Further
    typed: tuple[str, ...]
    verbose: bool

    @property
    def unlearn_seed(self) -> int:
        """The seed of the method's random numbers."""
        return self.run.seed if self.apart.unlearn_seed is None else self.apart.unlearn_seed

    @property
    def seeds(self) -> dict[str, int | None]:
        """The run's seeds by what they decide; for "train" that of the checkpoint, if it records one."""
        stored = {} if self.checkpoint is None else origin.facts(self.checkpoint.extra)
        run = self.run
        return {
            "split": run.seed if run.split_seed is None else run.split_seed,
            "train": stored.get("train_seed", run.train_seed),
            "forget": run.seed,
            "unlearn": self.unlearn_seed,
            "eval": self.apart.eval_seed,
        }


def set_up(arguments: ForgetArguments) -> ForgetSetup:
    """Check device, data set, what to forget, architecture and checkpoints without reading data.

    Raises:
        UsageError: one of them cannot be used.
    """
    flags, hyper, method = arguments.unlearn, arguments.hyper, registry.get(arguments.unlearn.unlearn)
    device, dataset = inputs(arguments)
    check_validation(method, dataset)
    scenario = dataset.resolve(arguments.scenario)
    method.check_classes(dataset.takes_all(scenario))
    built = network.new(arguments.model, dataset, arguments.run)
    checkpoint = None if flags.mask is None else built.read(flags.mask, "--mask", masks_alone=method.fresh)
    start, digest = starting(flags.mask, flags.allow_split_mismatch, hyper, built, checkpoint)
    if arguments.further.relearn_epochs and (checkpoint is None or not checkpoint.weights):
        raise UsageError("--relearn_epochs: needs --mask with the original's weights, whose accuracy is to be reached")
    reference = None if flags.reference_model is None else built.read(flags.reference_model, "--reference_model")
    adapters = None if arguments.lora is None else lora.plan(arguments.lora, built.blank())
    if adapters and adapters.stored_separately and (arguments.further.relearn_epochs or arguments.further.cka):
        raise UsageError("--lora_merge none: --relearn_epochs and --cka look at whole models; leave it out")
    config = identity(arguments) | {
        "method": method.name,
        "scenario": scenario.facts(),
        **dataset.identity,
        "checkpoint": checkpoint and checkpoint.sha256,
        "rewind": start["rewound"] and start["rewound"].sha256,
        "saliency": digest,
        "retrained": reference and reference.sha256,
        **models.origin(arguments.model.arch),
    }
    return ForgetSetup(
        **shared(arguments, device, built),
        **about(method, "main_forget.py", method.outputs),
        **start,
        config=config,
        keep_files=flags.resume,
        scenario=scenario,
        reference=reference,
        adapters=adapters,
        apart=arguments.apart,
        further=arguments.further,
        typed=arguments.typed,
        verbose=flags.verbose,
    )


def about(method: Method, script: str, files: list[str]) -> dict[str, Any]:
    """The entries of an ``UnlearnSetup`` that follow from the method."""
    words = {"label": method.name, "title": f"{method.name}, {method.summary}"}
    words["reader"] = f"{method.name} or this script"
    return {**words, "script": script, "method": method, "outputs": files, "temporary": (method.outputs[2],)}


def starting(
    mask_file: str | None, allow_mismatch: bool, hyper: Any, built: Network, checkpoint: Checkpoint | None
) -> tuple[dict[str, Any], str | None]:
    """The entries of an ``UnlearnSetup`` for what the method starts from.

    Args:
        mask_file: ``--mask`` as typed.
        hyper: the method's configuration; the files that it names are opened.
        built: the architecture.
        checkpoint: the model to unlearn; None for new weights.
    Returns:
        The entries, and the SHA-256 of a file of saliency, Fisher information or importances, if one is named.
    Raises:
        UsageError: such a file is damaged or does not fit.
    """
    path = getattr(hyper, "rewind_pth", None)
    rewound = None if path is None else built.read(path, "--rewind_pth")
    update_mask, digest = saliency.from_flag(hyper, built.fresh, built.allow_pickle)
    digest = digest or importances.check(hyper, built)
    start = {"mask_file": mask_file, "checkpoint": checkpoint, "rewound": rewound, "update_mask": update_mask}
    return {**start, "hyper": hyper, "allow_mismatch": allow_mismatch}, digest


def check_validation(method: Method, dataset: DatasetInfo) -> None:
    """Refuse a method that trains on validation images if there are none, or if the test images take their place.

    Raises:
        UsageError: names the method and the data set.
    """
    if method.trains_on_val and not dataset.validates:
        lack = (
            "too few training images for a tenth of any class"
            if dataset.source.with_validation
            else "none but the test images, which are scored as never seen"
        )
        raise UsageError(
            f"--unlearn {method.name}: trains on validation images, and --dataset {dataset.source.name} has {lack}; "
            "give a data set with a validation part"
        )
