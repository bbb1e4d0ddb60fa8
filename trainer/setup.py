"""The checked inputs and the identity of a run, known before an image is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

import models
from dataset import prepare
from dataset.data_flags import Data
from dataset.prepare import DatasetInfo
from trainer.network import Network
from trainer.training_flags import Arguments
from utils.device import resolve
from utils.errors import UsageError
from utils.result import Result
from utils.run_flags import Run
from utils.run_folder import fingerprint


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A run before its data are read.

    Attributes:
        script: file name of the script, such as "main_forget.py".
        label: name of the run in its folder.
        title: what is done, in words.
        outputs: glob patterns of the files that the run writes.
        config: everything that decides the run's numbers, as plain data.
        network: the architecture.
        unread: typed flags that nothing reads.
        inherited: what was taken from checkpoints, a phrase each.
        temporary: names of files that only a killed run needs.
        keep_files: keep files of unknown origin in the folder, to go on from them.
        parts: stages that other runs in the folder can share: fingerprint and outputs by label.
        reader: what reads flags, in words, for remarks on unread ones.
        remarks: lines to print when the run is over.
        save_outputs: write ``outputs.npz``.
    """

    script: str
    label: str
    title: str
    outputs: list[str]
    config: dict[str, Any]
    data: Data
    run: Run
    device: torch.device
    network: Network
    unread: tuple[str, ...]
    inherited: tuple[str, ...]
    temporary: tuple[str, ...] = ()
    keep_files: bool = False
    parts: Mapping[str, tuple[str, list[str]]] = field(default_factory=lambda: MappingProxyType({}))
    reader: str = "this script"
    remarks: tuple[str, ...] = ()
    save_outputs: bool = False

    @property
    def arch(self) -> str:
        """The architecture's name."""
        return self.network.flags.arch

    @property
    def dataset(self) -> DatasetInfo:
        """The data set that the model classifies."""
        return self.network.dataset

    @property
    def folder(self) -> Path:
        """Where the run writes."""
        return Path(self.run.save_dir or "")

    @property
    def fingerprint(self) -> str:
        """The run's identity: 16 hex digits over ``config``."""
        return fingerprint(self.config)

    def result(self, **facts: Any) -> Result:
        """A ``Result`` of this run with further entries ``facts``."""
        return Result(label=self.label, script=self.script, config=self.config, device=str(self.device), **facts)


def inputs(arguments: Arguments) -> tuple[torch.device, DatasetInfo]:
    """The device and the data set of a run, whose images are not read.

    Raises:
        UsageError: there is no such device, architecture or data set, or the data set holds no images.
    """
    run, data = arguments.run, arguments.data
    device = resolve(run.device, run.gpu, run.deterministic, run.no_fast_cpu, run.tf32, run.compile)
    models.check(arguments.model.arch, arguments.model.imagenet_arch)
    place = data.dataset, data.data, data.input_size, data.stream, data.split, data.superclasses
    info = prepare.find(*place)
    if not info.source.pixels:
        raise UsageError(f"--dataset {data.dataset}: holds no images; it is for main_generate.py alone")
    return device, info


def shared(arguments: Arguments, device: torch.device, built: Network) -> dict[str, Any]:
    """The entries of a ``Setup`` that are the same for every script."""
    entries = {name: getattr(arguments, name) for name in ("data", "run", "unread", "inherited")}
    return {**entries, "device": device, "network": built, "save_outputs": arguments.keep.save_outputs}
