"""The checked inputs of ``main_generate.py`` (``GeneratorSetup``), and what it loads (``GeneratorProblem``)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset import catalog, prepare, split_file
from dataset.prepare import DatasetInfo
from dataset.scenario import Scenario
from dataset.sources import Dataset
from dataset.split import BaseSplit, Split, split_for_unlearning
from generation import folders, kinds, saved
from generation.diffusion import Diffusion
from generation.generation_flags import Convert, GenerateArguments, Prompts, Transformer
from generation.generator import Generator
from generation.schedule import Schedule
from trainer import messages
from trainer.network import Network
from trainer.problem import Problem, load, views
from trainer.setup import Setup, shared
from utils import seeds
from utils.device import resolve
from utils.errors import UsageError
from utils.options import identity
from utils.result import Result
from utils.run_flags import Run

CHANNELS = 3  # of the images of every data set


@dataclass(frozen=True, kw_only=True)
class GeneratorSetup(Setup):
    """The checked inputs of a run of ``main_generate.py``, before its data are read.

    Attributes:
        arguments: the parsed command line.
        generator: the generator that the run starts from, stored or new.
        scenario: the classes to forget; None for none.
    """

    arguments: GenerateArguments
    generator: Generator
    scenario: Scenario | None

    @property
    def schedule(self) -> Schedule:
        """The noise schedule of the generator."""
        return self.generator.schedule

    @property
    def start(self) -> Generator | None:
        """The stored generator that the run starts from; None for new weights."""
        return None if self.generator.path is None else self.generator

    @property
    def raw(self) -> bool:
        """Whether the run starts from the weights as trained, not from their moving average."""
        begin = self.arguments.begin
        return self.run.compat == "reference" or (begin is not None and begin.raw_weights)

    def task(self, class_drop: float, stand_in: str = "next") -> Diffusion:
        """The task that the generator is trained for.

        Args:
            class_drop: share of samples whose class is dropped.
            stand_in: what a forgotten class is drawn as, see ``Diffusion``; ``--instead`` takes precedence.
        """
        generator, compat, prompts = self.generator, self.run.compat, self.arguments.prompts
        stand_in = "instead" if prompts is not None and prompts.instead is not None else stand_in
        return Diffusion(
            self.dataset.classes,
            self.schedule,
            class_drop,
            stand_in,
            compat,
            generator.cond_scale,
            generator.clip,
            generator.codec().to(self.device),
            generator.mean,
            generator.guided_channels(compat),
        )


@dataclass(frozen=True, kw_only=True)
class GeneratorProblem(Problem):
    """The loaded data, their split, the image sets and the generator's network.

    Attributes:
        split: which images are retained and forgotten; None if nothing is forgotten.
    """

    split: Split | None

    def write_split(self, folder: Path) -> None:
        if not self.sets:
            return
        if self.split is None:
            super().write_split(folder)
        else:
            split_file.write(folder, vars(self.split), self.split.digest)


def set_up(arguments: GenerateArguments, **particular: Any) -> GeneratorSetup:
    """Check everything that can be checked without reading an image.

    Args:
        particular: further fields of the setup: label, title, outputs and the like.
    Raises:
        UsageError: inputs are wrong or do not fit each other.
    """
    run, data = arguments.run, arguments.data
    kind = arguments.kind
    if data.streamed and kind == "ddpm":
        raise UsageError("--stream: pixels are held in memory; leave it out")
    device = resolve(run.device, run.gpu, run.deterministic, run.no_fast_cpu, run.tf32)
    if kind != "ddpm":
        folders.library(f"--model {arguments.start}" if arguments.start else f"--arch {kind}")
    if arguments.unseen:
        generator = without_data(arguments)
        info = unseen(generator, arguments)
    else:
        place = data.dataset, data.data, data.input_size, data.stream, data.split, data.superclasses
        info = prepare.find(*place)
        generator = new(arguments, info) if arguments.start is None else opened(arguments.start, "--model", info, run)
    if kind == "ddpm" and not info.source.pixels:
        raise UsageError(f"--dataset {data.dataset}: holds latents, which ddpm does not draw; give another --arch")
    scenario = None if arguments.scenario is None else info.resolve(arguments.scenario)
    if scenario is not None and scenario.subclass:
        raise UsageError(f"{scenario.typed}: a generator draws classes and forgets these; give --forget class:C")
    generator = generator.with_prompts(arguments.prompts or Prompts(), info, scenario)
    start = None if generator.path is None and kind == "ddpm" else generator.sha256
    config = identity(arguments) | {**info.identity, "start": start}
    config |= {} if scenario is None else {"scenario": scenario.facts()}
    seeds.seed_everything(run.train_seed)
    fresh = generator.blank()
    built = Network(arguments.model, info, fresh, run.allow_pickle)
    return GeneratorSetup(
        **shared(arguments, device, built),
        **{"config": config, **particular},
        script="main_generate.py",
        arguments=arguments,
        generator=generator,
        scenario=scenario,
    )


def new(arguments: GenerateArguments, info: DatasetInfo) -> Generator:
    """A generator with new weights; for the work "encode", the autoencoder.

    Raises:
        UsageError: the data set does not fit the network that the flags ask for.
    """
    flags = arguments.generator
    if arguments.work == "encode":
        encoder = importlib.import_module("generation.encoder").new(arguments.settings.vae)
        encoder.check(info, f"--vae {arguments.settings.vae}")
        return encoder
    if isinstance(flags, Transformer):
        return importlib.import_module(kinds.MODULES["dit"]).new(flags, info)
    assert flags is not None
    schedule = Schedule(flags.beta_schedule, flags.beta_start, flags.beta_end, flags.diffusion_steps)
    shape = saved.checked_shape(flags, info.side, CHANNELS, info.classes)
    return saved.Saved(path=None, schedule=schedule, averaged=False, extra={}, shape=shape)


def stored(path: str, flag: str, allow_pickle: bool, size: int | None = None) -> Generator:
    """Read a generator of any kind from disk.

    Args:
        flag: the flag that names it, for error messages.
        allow_pickle: whether a file may hold more than plain tensors.
        size: side of the data set's images in pixels, needed for "ddpm".
    Raises:
        UsageError: it is missing, damaged, or no generator.
    """
    kind = kinds.of(path, flag)
    if kind == "ddpm":
        assert size is not None
        return saved.read(Path(path), flag, size, allow_pickle)
    return importlib.import_module(kinds.MODULES[kind]).read(Path(path), flag)


def opened(path: str, flag: str, info: DatasetInfo, run: Run) -> Generator:
    """Read a generator from disk and check that it fits the data set.

    Args:
        flag: the flag that names it, for error messages.
    Raises:
        UsageError: it is no generator, or of other classes or images of another size.
    """
    generator = stored(path, flag, run.allow_pickle, info.side)
    generator.check(info, f"{flag} {path}")
    return generator


def without_data(arguments: GenerateArguments) -> Generator:
    """Read the generator of a run that reads no data set.

    Raises:
        UsageError: it is missing, damaged, or no generator.
    """
    begin, run = arguments.begin, arguments.run
    assert begin is not None and begin.model is not None
    if isinstance(begin, Convert):
        read = importlib.import_module("generation.facebook").read
        return read(Path(begin.model), begin.vae, begin.heads, run.allow_pickle)
    return stored(begin.model, "--model", run.allow_pickle)


def unseen(generator: Generator, arguments: GenerateArguments) -> DatasetInfo:
    """A stand-in for the data set of a run that reads none: names of classes and side of images only.

    Raises:
        UsageError: neither the generator nor a flag names the classes.
    """
    names = (arguments.prompts or Prompts()).class_names or generator.class_names
    if not names and getattr(arguments.settings, "prompts_file", None) is None:
        raise UsageError(f"--model {generator.path}: names no classes; give --class_names or --prompts_file")
    source = catalog.Source(
        generator.extra.get("dataset", generator.kind),
        official=(0,) * len(names),
        classes=tuple(names),
        size=arguments.data.input_size or generator.side,
        embedded=True,
    )
    return DatasetInfo(source, Path(), None, [0] * len(names), None)


def read(setup: GeneratorSetup) -> GeneratorProblem:
    """Load the images, divide them into sets, and load the network.

    Raises:
        UsageError: the generator was trained on another split.
    """
    if setup.arguments.unseen:
        return _without_images(setup)
    data, base = load(setup)
    start = setup.start
    known = None if start is None else start.extra.get("split_digest")
    if start is not None and known not in (None, base.digest) and setup.arguments.work != "sample":
        raise UsageError(
            f"--model {start.path}: was trained on split {known}, this run divides the data into {base.digest}; give "
            "the --seed, --split_seed or --split of its training"
        )
    seen, split = views(setup, data), None
    if setup.scenario is None:
        sets = {"train": seen.train(base.train), "test": seen.test(base.test)}
    else:
        split = split_for_unlearning(data.train_labels, data.test_labels, base, setup.scenario, setup.run.seed)
        sets = seen.divided(split)
    sets = {name: images.flips_alone() for name, images in sets.items()}
    if setup.arguments.work == "train" and "retain" in sets:
        sets["train"] = sets["retain"]
    seeds.seed_everything(setup.run.train_seed)
    model = setup.generator.network(setup.raw)
    stamp: dict[str, Any] = {
        "split_digest": base.digest,
        "split_seed": base.seed,
        "dataset": data.name,
        "classes": list(data.classes),
    }
    if split is not None:
        stamp |= {"forget_digest": split.digest, "forgotten": list(split.whole_classes)}
    return GeneratorProblem(data=data, base=base, sets=sets, model=model.to(setup.device), stamp=stamp, split=split)


def _without_images(setup: GeneratorSetup) -> GeneratorProblem:
    """The problem of a run that reads no images: the network, and a data set without images."""
    info, none = setup.dataset, np.zeros(0, np.int64)
    images = np.zeros((0, info.side, info.side, CHANNELS), np.uint8)
    data = Dataset(info.source.name, info.names, images, none, images, none, (0.0,), (1.0,), 0, False, False)
    model = setup.generator.network(setup.raw).to(setup.device)
    return GeneratorProblem(data=data, base=BaseSplit(none, none), sets={}, model=model, stamp={}, split=None)


def facts(setup: GeneratorSetup, problem: GeneratorProblem) -> Result:
    """The entries of ``result.json`` that are known before the run's work."""
    numbers = sum(parameter.numel() for parameter in problem.model.parameters())
    scenario = None
    if problem.split is not None and setup.scenario is not None:
        scenario = {"words": forgotten(setup, problem), **setup.scenario.facts()}
    return setup.result(
        compat=setup.run.compat,
        seed=setup.run.seed,
        scenario=scenario,
        split={"digest": problem.base.digest, "seed": problem.base.seed, **problem.sizes},
        model={"arch": setup.generator.kind, "dataset": problem.data.name, "parameters": numbers},
    )


def forgotten(setup: GeneratorSetup, problem: GeneratorProblem) -> str:
    """What is forgotten, in words."""
    assert problem.split is not None and setup.scenario is not None
    count, retained = len(problem.split.forget), len(problem.split.retain)
    size = problem.split.count(problem.data.train_labels, setup.scenario.labels)
    return setup.scenario.words(count, count + retained, size, list(problem.data.classes))


def preview(setup: GeneratorSetup) -> dict[str, str]:
    """The lines of ``--dry_run``, by name."""
    scenario = setup.scenario
    return {
        "read": "no data set" if setup.arguments.unseen else messages.data(setup.dataset),
        "model": "a new generator" if setup.start is None else f"the generator in {setup.start.path}",
        **({} if scenario is None else {"forget": messages.images(setup.dataset, scenario)}),
        "method" if setup.arguments.erase else setup.arguments.work: messages.settings(setup.arguments.settings),
    }


def header(setup: GeneratorSetup, problem: GeneratorProblem) -> dict[str, str]:
    """The lines of the run's header, by name: data, split, model, flags and seeds."""
    data, run, sizes = problem.data, setup.run, messages.sizes(problem.sizes) or "none read"
    numbers = sum(parameter.numel() for parameter in problem.model.parameters())
    average = setup.start is not None and setup.start.averaged and not setup.raw
    begun = "new weights" if setup.start is None else f"{'averaged ' * average}weights of {setup.start.path}"
    return {
        **({} if problem.split is None else {"forget": forgotten(setup, problem)}),
        "data": f"{data.name}, {len(data.classes)} classes, {data.words}; {sizes}",
        **({"split": problem.base.words} if problem.sets else {}),
        "model": f"{setup.generator.kind}, {numbers:,} parameters, {begun}",
        "method" if setup.arguments.erase else setup.arguments.work: messages.settings(setup.arguments.settings),
        "run": f"random seed = {run.seed}  compat {run.compat}  device {setup.device}",
    }
