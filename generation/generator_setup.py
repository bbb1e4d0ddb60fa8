"""What ``main_generate.py`` has settled before an image is read, and what it then works on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dataset import prepare, split_file
from dataset.prepare import DatasetInfo
from dataset.scenario import Scenario
from dataset.split import Split, split_for_unlearning
from generation import saved
from generation.diffusion import Diffusion
from generation.generation_flags import GenerateArguments
from generation.saved import Saved
from generation.schedule import Schedule
from generation.unet import ConditionalUNet
from trainer import messages
from trainer.network import Network
from trainer.problem import Problem, load, views
from trainer.setup import Setup, shared
from utils import seeds
from utils.device import resolve
from utils.errors import UsageError
from utils.options import identity
from utils.result import Result

CHANNELS = 3  # of every data set


@dataclass(frozen=True, kw_only=True)
class GeneratorSetup(Setup):
    """A run of ``main_generate.py`` before its data are read.

    Attributes:
        arguments: what was typed.
        schedule: the noise of every time.
        start: the generator that the run begins with; None for new weights.
        scenario: the classes to forget; None for none.
    """

    arguments: GenerateArguments
    schedule: Schedule
    start: Saved | None
    scenario: Scenario | None

    @property
    def raw(self) -> bool:
        """Whether the run begins with the weights as trained, not with their average."""
        begin = self.arguments.begin
        return self.run.compat == "reference" or (begin is not None and begin.raw_weights)

    def task(self, class_drop: float, stand_in: str = "next") -> Diffusion:
        """What the generator is trained for."""
        return Diffusion(self.dataset.classes, self.schedule, class_drop, stand_in, self.run.compat)


@dataclass(frozen=True, kw_only=True)
class GeneratorProblem(Problem):
    """Data, split, sets and the generator.

    Attributes:
        split: who is retained and forgotten; None where nothing is.
    """

    model: ConditionalUNet
    split: Split | None

    def write_split(self, folder: Path) -> None:
        if self.split is None:
            super().write_split(folder)
        else:
            split_file.write(folder, vars(self.split), self.split.digest)


def set_up(arguments: GenerateArguments, **particular: Any) -> GeneratorSetup:
    """Refuse what can be refused without reading an image.

    Args:
        particular: label, title, outputs and the like.
    Raises:
        UsageError: one line that says what does not fit.
    """
    run, data = arguments.run, arguments.data
    if data.streamed:
        raise UsageError("--stream: image generation holds its images in memory; leave it out")
    device = resolve(run.device, run.gpu, run.deterministic, run.no_fast_cpu, run.tf32)
    place = data.dataset, data.data, data.input_size, False, data.split, data.superclasses
    info, start = prepare.find(*place), None
    if arguments.generator is not None:
        shape = saved.checked_shape(arguments.generator, info.side, CHANNELS, info.classes)
        schedule = noise(arguments)
        seeds.seed_everything(run.train_seed)
        fresh: nn.Module = ConditionalUNet(shape)
    else:
        assert arguments.start is not None
        start = opened(arguments.start, "--model", info, run.allow_pickle)
        fresh, schedule = start.network(), start.schedule
    scenario = None if arguments.scenario is None else info.resolve(arguments.scenario)
    if scenario is not None and scenario.subclass:
        raise UsageError(f"{scenario.typed}: a generator draws classes and forgets these; give --forget class:C")
    config = identity(arguments) | {**info.identity, "start": start and start.sha256}
    config |= {} if scenario is None else {"scenario": scenario.facts()}
    built = Network(arguments.model, info, fresh, run.allow_pickle)
    return GeneratorSetup(
        **shared(arguments, device, built),
        **{"config": config, **particular},
        script="main_generate.py",
        arguments=arguments,
        schedule=schedule,
        start=start,
        scenario=scenario,
    )


def noise(arguments: GenerateArguments) -> Schedule:
    """The noise that flags ask for."""
    flags = arguments.generator
    assert flags is not None
    return Schedule(flags.beta_schedule, flags.beta_start, flags.beta_end, flags.diffusion_steps)


def opened(path: str, flag: str, info: DatasetInfo, allow_pickle: bool) -> Saved:
    """A generator for this data set.

    Raises:
        UsageError: it is none, or knows another number of classes.
    """
    found = saved.read(Path(path), flag, info.side, allow_pickle)
    if found.shape.classes != info.classes:
        said = f"draws {found.shape.classes} classes, {info.source.name} has {info.classes}"
        raise UsageError(f"{flag} {path}: {said}; give the data set that it was trained on")
    return found


def read(setup: GeneratorSetup) -> GeneratorProblem:
    """Load images and divide them.

    Raises:
        UsageError: the generator was trained on another split.
    """
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
    if setup.arguments.generator is not None and "retain" in sets:
        sets["train"] = sets["retain"]
    model: Any = setup.network.fresh if setup.start is None else setup.start.network(setup.raw)
    stamp: dict[str, Any] = {
        "split_digest": base.digest,
        "split_seed": base.seed,
        "dataset": data.name,
        "classes": list(data.classes),
    }
    if split is not None:
        stamp |= {"forget_digest": split.digest, "forgotten": list(split.whole_classes)}
    return GeneratorProblem(data=data, base=base, sets=sets, model=model.to(setup.device), stamp=stamp, split=split)


def facts(setup: GeneratorSetup, problem: GeneratorProblem) -> Result:
    """What ``result.json`` holds however the run ends."""
    numbers = sum(parameter.numel() for parameter in problem.model.parameters())
    scenario = None
    if problem.split is not None and setup.scenario is not None:
        scenario = {"words": forgotten(setup, problem), **setup.scenario.facts()}
    return setup.result(
        compat=setup.run.compat,
        seed=setup.run.seed,
        scenario=scenario,
        split={"digest": problem.base.digest, "seed": problem.base.seed, **problem.sizes},
        model={"arch": "ddpm", "dataset": problem.data.name, "parameters": numbers},
    )


def forgotten(setup: GeneratorSetup, problem: GeneratorProblem) -> str:
    """What is forgotten, in words."""
    assert problem.split is not None and setup.scenario is not None
    count, rest = len(problem.split.forget), len(problem.split.retain)
    size = problem.split.count(problem.data.train_labels, setup.scenario.labels)
    return setup.scenario.words(count, count + rest, size, list(problem.data.classes))


def preview(setup: GeneratorSetup) -> dict[str, str]:
    """What ``--dry_run`` says."""
    scenario = setup.scenario
    return {
        "read": messages.data(setup.dataset),
        "model": "a new generator" if setup.start is None else f"the generator in {setup.start.path}",
        **({} if scenario is None else {"forget": messages.images(setup.dataset, scenario)}),
        "method" if setup.arguments.erase else setup.arguments.work: messages.settings(setup.arguments.settings),
    }


def header(setup: GeneratorSetup, problem: GeneratorProblem) -> dict[str, str]:
    """What is done, on what, with which numbers."""
    data, run = problem.data, setup.run
    numbers = sum(parameter.numel() for parameter in problem.model.parameters())
    average = setup.start is not None and setup.start.average is not None and not setup.raw
    begun = "new weights" if setup.start is None else f"{'averaged ' * average}weights of {setup.start.path}"
    return {
        **({} if problem.split is None else {"forget": forgotten(setup, problem)}),
        "data": f"{data.name}, {len(data.classes)} classes, {data.words}; {messages.sizes(problem.sizes)}",
        "split": problem.base.words,
        "model": f"ddpm, {numbers:,} parameters, {begun}",
        "method" if setup.arguments.erase else setup.arguments.work: messages.settings(setup.arguments.settings),
        "run": f"random seed = {run.seed}  compat {run.compat}  device {setup.device}",
    }
