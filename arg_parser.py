"""Every flag of every script, grouped, with defaults and ranges. Imports no torch.

Each group is a frozen dataclass; a script's ``parse_*`` returns one frozen object that holds the
groups it reads. Flags of the field's existing command lines that a script has no use for are
accepted and named in ``unread``.
"""
from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataset import scenario
from trainer.flags import TRANSFORMER, Optimisation, is_transformer
from utils.errors import UsageError
from utils.options import Parser, add_options, build, describe, option


@dataclass(frozen=True)
class Data:
    dataset: str = option("cifar10", "cifar10, cifar100, cifar10_no_val, cifar100_no_val, svhn, digits, or folder (any class-folder tree)", metavar="NAME")
    data: str | None = option(None, "folder of the data set: torchvision's files or train/<class>/*, test/<class>/*; without it ./data and ../data are tried, then the set is downloaded to ./data", metavar="DIR")
    input_size: int | None = option(None, "resize images to this side, in pixels; without it the data set's own", low=8, high=1024)


@dataclass(frozen=True)
class Model:
    arch: str = option("resnet18", "resnet18, resnet50, resnet20s, resnet44s, resnet56s, vgg16_bn, vgg16_bn_lth, swin_t, vit_tiny, vit_b_16, vit_b_32, vit_l_16, or timm:NAME for any of timm's (pip install timm)", metavar="NAME")
    imagenet_arch: bool = option(False, "7x7 stem with stride 2 and max-pool (resnet18 and resnet50)")


@dataclass(frozen=True)
class Run:
    save_dir: str | None = option(None, "folder for everything the run writes (required)", metavar="DIR")
    seed: int = option(2, "which images are forgotten, and what unlearning draws", low=0, high=2**31)
    train_seed: int = option(1, "initial weights, and what training draws", low=0, high=2**31)
    split_seed: int | None = option(None, "which images validate; without it --seed", low=0, high=2**31)
    compat: str = option("fixed", "fixed does what the papers say, reference what their code did (docs/differences.md)", choices=("fixed", "reference"))
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", metavar="DEVICE")
    gpu: int | None = option(None, "N is short for --device cuda:N", low=0)
    allow_pickle: bool = option(False, "open files that can run code; only for files you trust")
    dry_run: bool = option(False, "print what would be done and stop")


@dataclass(frozen=True)
class Train(Optimisation):
    epochs: int = option(182, "training epochs per round", low=0)
    lr: float = option(0.1, "step size; 0.001 for transformers", above=0)
    label_smoothing: float = option(0.0, "share of every label's weight that is spread over all classes", low=0, below=1)


@dataclass(frozen=True)
class Prune:
    pruning_times: int = option(1, "training rounds; round 0 is dense and each later one is pruned once more (2 is OMP)", low=1)
    rate: float = option(0.95, "fraction of the remaining prunable weights (convolutions; linear layers in transformers) to prune before each later round", low=0, below=1)
    prune_type: str = option("rewind_lt", "weights to go back to after pruning: initial (lt), best dense (pt), or those after --rewind_epoch", choices=("rewind_lt", "lt", "pt"))
    rewind_epoch: int = option(0, "epoch whose weights and step size rewind_lt goes back to; 0 is the start", low=0)
    random_prune: bool = option(False, "prune at random instead of by magnitude")


@dataclass(frozen=True)
class PruneAtStart:
    score: str = option("synflow", "what a weight is worth", choices=("synflow", "snip", "grasp", "magnitude", "random"))
    rate: float = option(0.95, "fraction of the prunable weights to prune before training; 0 trains a dense model", low=0, below=1)
    steps: int | None = option(None, "exponential steps to that rate; without it 100 for synflow, 1 for the others", low=1)


@dataclass(frozen=True)
class Resume:
    resume: bool = option(False, "go on from --checkpoint (a killed run goes on by itself when its command is repeated)")
    checkpoint: str | None = option(None, "checkpoint to go on from, ours or the reference's", metavar="FILE")


@dataclass(frozen=True)
class Forget:
    class_to_replace: tuple[int, ...] = option((0,), "class to forget, or several with commas between; -1 draws from all classes", low=-1, metavar="C,C")
    num_indexes_to_replace: int | None = option(None, "how many images to forget; without it the whole class", low=1)
    indexes_to_replace: str | None = option(None, "the very images to forget: positions in the training set, with commas between, or a .npy, .json or .txt file of them", metavar="LIST|FILE")
    forget: str | None = option(None, "the same in one word: class:C, class:C,C,C, class:C:N, random:N, random:0.1 or indices:FILE", metavar="WHAT")


@dataclass(frozen=True)
class Unlearn:
    unlearn: str = option("retrain", "unlearning method, see below", metavar="NAME")
    preset: str | None = option(None, "another paper's variant of the method, where it has one; typed flags win", metavar="NAME", choices=("deepunlearn",))
    mask: str | None = option(None, "checkpoint of the model to unlearn, dense or pruned (needed, but for retrain)", metavar="FILE")
    resume: bool = option(False, "score METHODcheckpoint.pth.tar in --save_dir instead of unlearning again")
    allow_split_mismatch: bool = option(False, "go on although the model was trained on another split")


@dataclass(frozen=True)
class ImpArguments:
    """What ``main_imp.py`` was told."""

    data: Data
    model: Model
    run: Run
    train: Train
    prune: Prune
    resume: Resume
    unread: tuple[str, ...]


@dataclass(frozen=True)
class SynflowArguments:
    """What ``main_synflow.py`` was told."""

    data: Data
    model: Model
    run: Run
    train: Train
    prune: PruneAtStart
    resume: Resume
    unread: tuple[str, ...]


@dataclass(frozen=True)
class ForgetArguments:
    """What ``main_forget.py`` was told; ``hyper`` is the chosen method's own configuration."""

    data: Data
    model: Model
    run: Run
    scenario: scenario.Scenario
    unlearn: Unlearn
    hyper: Any
    unread: tuple[str, ...]


# Flags of the field's existing command lines: True takes no value.
REFERENCE_FLAGS = {
    **dict.fromkeys(("imagenet_arch", "resume", "no_aug", "random_prune"), True),
    **dict.fromkeys(
        (
            "data", "dataset", "input_size", "data_dir", "num_workers", "num_classes", "arch", "train_y_file", "val_y_file",
            "seed", "train_seed", "gpu", "workers", "checkpoint", "save_dir", "mask", "batch_size", "lr", "momentum",
            "weight_decay", "epochs", "warmup", "print_freq", "decreasing_lr", "no_l1_epochs", "prune", "pruning_times",
            "rate", "prune_type", "rewind_epoch", "rewind_pth", "unlearn", "unlearn_lr", "unlearn_epochs",
            "num_indexes_to_replace", "class_to_replace", "indexes_to_replace", "alpha", "attack", "trigger_size",
        ),
        False,
    ),
}


def parse_imp(argv: list[str] | None) -> ImpArguments:
    """Arguments of ``main_imp.py``.

    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    parser = Parser(prog="main_imp.py", description="Train a classifier, then prune it by magnitude and train it again (OMP, IMP).")
    groups = {"data": Data, "model": Model, "run": Run, "training": Train, "pruning": Prune, "going on": Resume}
    typed = _read(parser, groups, argv)
    model, prune, resume = build(Model, typed), build(Prune, typed), _resume(typed)
    train = _train(typed, model)
    if prune.pruning_times > 1 and prune.prune_type == "rewind_lt" and prune.rewind_epoch > train.epochs:
        raise UsageError(f"--rewind_epoch {prune.rewind_epoch}: must be at most --epochs {train.epochs}")
    return ImpArguments(build(Data, typed), model, _run(typed), train, prune, resume, _unread(typed, groups.values()))


def parse_synflow(argv: list[str] | None) -> SynflowArguments:
    """Arguments of ``main_synflow.py``.

    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    parser = Parser(prog="main_synflow.py", description="Prune a new network before training (SynFlow and other scores), then train it.")
    groups = {"data": Data, "model": Model, "run": Run, "training": Train, "pruning": PruneAtStart, "going on": Resume}
    typed = _read(parser, groups, argv)
    model = build(Model, typed)
    return SynflowArguments(
        build(Data, typed), model, _run(typed), _train(typed, model), build(PruneAtStart, typed), _resume(typed), _unread(typed, groups.values())
    )


def parse_forget(argv: list[str] | None) -> ForgetArguments:
    """Arguments of ``main_forget.py``; the method decides which hyper-parameters there are.

    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    from unlearn import registry

    about = "Make a trained classifier forget images, then score it: UA, RA, TA, MIA-Efficacy, RTE."
    parser = Parser(prog="main_forget.py", description=about)
    groups = {"data": Data, "model": Model, "run": Run, "what is forgotten": Forget, "unlearning": Unlearn}
    asked = parser.asks_about("unlearn", argv)
    if asked is not None:
        method = registry.get(asked)
        parser.epilog = _one_method_help(method)
        _read(parser, groups, argv, [method.config], f"hyper-parameters of {method.name}")
    parser.epilog = _method_help()
    configs = [registry.get(name).config for name in registry.names()]
    typed = _read(parser, groups, argv, configs, "hyper-parameters (which method reads which, and its defaults: see below, or --unlearn NAME --help)")
    unlearn = build(Unlearn, typed)
    method = registry.get(unlearn.unlearn)
    if unlearn.mask is None and not method.fresh:
        raise UsageError(f"--mask FILE is needed: the checkpoint that {method.name} starts from")
    model = build(Model, typed)
    hyper = build(method.config, _hyper_defaults(method, model) | method.preset(unlearn.preset) | typed)
    return ForgetArguments(
        build(Data, typed), model, _run(typed), _scenario(build(Forget, typed), typed), unlearn, hyper,
        _unread(typed, [*groups.values(), method.config]),
    )


def deciding(arguments: ImpArguments | SynflowArguments | ForgetArguments) -> dict[str, Any]:
    """Everything that decides a run's numbers, as plain data; not where it reads, writes and runs."""
    config = asdict(arguments)
    for key in ("save_dir", "device", "gpu", "allow_pickle", "dry_run"):
        del config["run"][key]
    for group, key in (("data", "data"), ("resume", "resume"), ("resume", "checkpoint"), ("unlearn", "mask"), ("unlearn", "resume"), ("unlearn", "preset")):
        config.get(group, {}).pop(key, None)
    for key in ("unread", "scenario"):  # main_forget.py adds the scenario with its numbers resolved
        config.pop(key, None)
    return config


def settings(config: Any) -> str:
    """A configuration as it would be typed, for the header."""
    return "  ".join(f"{name} {describe(value)}" for name, value in asdict(config).items() if value is not None and value is not False)


def _read(parser: Parser, groups: dict[str, type], argv: list[str] | None, hyper: list[type] = (), title: str = "") -> dict[str, Any]:
    """What was typed; flags of the configurations ``hyper`` are under ``title``, with their defaults if there is only one."""
    for name, config in groups.items():
        add_options(parser.add_argument_group(name), config)
    if hyper:
        group = parser.add_argument_group(title)
        for config in hyper:
            add_options(group, config, show_default=len(hyper) == 1, negatable=True)
    known = {flag for action in parser._actions for flag in action.option_strings}
    for name, is_switch in REFERENCE_FLAGS.items():
        if f"--{name}" not in known:
            kind = {"action": "store_true"} if is_switch else {}
            parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kind)
    return parser.read(argv)


def _train(typed: dict[str, Any], model: Model) -> Train:
    """Training flags; what was not typed suits the architecture."""
    suited = {"schedule": "cosine"} if model.imagenet_arch else {}
    if is_transformer(model.arch):
        suited = {**TRANSFORMER, "lr": 1e-3, "warmup": build(Train, typed).epochs // 20}
    return build(Train, suited | typed)


def _hyper_defaults(method: Any, model: Model) -> dict[str, Any]:
    """Hyper-parameters of a method that suit the architecture, where they differ from its own defaults."""
    defaults = {name: field.default for name, field in method.config.__dataclass_fields__.items()}
    if is_transformer(model.arch):
        sizes = {name: value for name, value in defaults.items() if name.endswith("_lr")}
        suited = {**TRANSFORMER, **{name: tuple(v / 100 for v in value) if isinstance(value, tuple) else value / 100 for name, value in sizes.items()}}
        own = {"schedule"} if defaults.get("schedule") != "step" else set()  # a method keeps what it is about
        own |= set() if defaults.get("weight_decay") else {"weight_decay"}
        suited = {name: value for name, value in suited.items() if name not in own}
    else:
        suited = {"schedule": "cosine"} if model.imagenet_arch and method.fresh else {}
    return {name: value for name, value in suited.items() if name in defaults}


def _resume(typed: dict[str, Any]) -> Resume:
    resume = build(Resume, typed)
    if resume.resume != (resume.checkpoint is not None):
        raise UsageError("--resume needs --checkpoint FILE" if resume.resume else "--checkpoint is read with --resume only")
    return resume


def _run(typed: dict[str, Any]) -> Run:
    run = build(Run, typed)
    if run.save_dir is None:
        raise UsageError("--save_dir DIR is needed: the folder for everything the run writes")
    family = run.device.partition(":")
    if family[0] not in ("auto", "cpu", "cuda", "mps") or (family[1] and not (family[0] == "cuda" and family[2].isdigit())):
        raise UsageError(f"--device {run.device}: unknown; known: auto, cpu, cuda, cuda:N, mps")
    return run


def _unread(typed: dict[str, Any], configs: Any) -> tuple[str, ...]:
    read = {name for config in configs for name in config.__dataclass_fields__}
    return tuple(f"--{name}" for name in typed if name not in read)


def _scenario(forget: Forget, typed: dict[str, Any]) -> scenario.Scenario:
    ways = [f"--{name}" for name in ("forget", "indexes_to_replace") if name in typed]
    ways += ["--class_to_replace or --num_indexes_to_replace"] if {"class_to_replace", "num_indexes_to_replace"} & typed.keys() else []
    if len(ways) > 1:
        raise UsageError(f"{ways[0]} and {ways[1]} both say what to forget; give one")
    if forget.indexes_to_replace is not None:
        typed_as = f"--indexes_to_replace {forget.indexes_to_replace}"
        return scenario.Scenario(None, None, _indices(forget.indexes_to_replace, typed_as), typed_as)
    if forget.forget is not None:
        return _scenario_from_word(forget.forget)
    chosen = forget.class_to_replace
    if len(set(chosen)) < len(chosen) or not chosen or (-1 in chosen and len(chosen) > 1):
        raise UsageError(f"--class_to_replace {typed['class_to_replace']}: must be different classes, or -1 alone")
    labels = None if chosen == (-1,) else tuple(sorted(chosen))
    if labels is None and forget.num_indexes_to_replace is None:
        raise UsageError("--class_to_replace -1 draws from all classes and needs --num_indexes_to_replace N")
    return scenario.Scenario(labels, forget.num_indexes_to_replace)


def _scenario_from_word(word: str) -> scenario.Scenario:
    typed_as = f"--forget {word}"
    kind, _, rest = word.partition(":")
    try:
        if kind == "indices" and rest:
            return scenario.Scenario(None, None, _indices(rest, typed_as), typed_as)
        if kind == "random":
            count = float(rest) if "." in rest else int(rest)
            if (isinstance(count, float) and 0 < count < 1) or (isinstance(count, int) and count > 0):
                return scenario.Scenario(None, count, None, typed_as)
        if kind == "class":
            listed, _, number = rest.partition(":")
            labels = sorted(int(part) for part in listed.split(","))
            if labels[0] >= 0 and len(set(labels)) == len(labels) and (not number or int(number) > 0):
                return scenario.Scenario(tuple(labels), int(number) if number else None, None, typed_as)
    except ValueError:
        pass
    raise UsageError(f"--forget {word}: must be class:C, class:C,C, class:C:N, random:N, random:0.1 or indices:FILE")


def _indices(text: str, typed_as: str) -> tuple[int, ...]:
    """Positions from a comma list or from a .npy, .json or .txt file."""
    path = Path(text)
    try:
        if path.suffix == ".npy":
            import numpy as np

            values = np.load(path, allow_pickle=False).ravel().tolist()
        elif path.suffix == ".json":
            values = json.loads(path.read_text())
        else:
            values = (path.read_text() if path.is_file() else text).replace(",", " ").split()
        numbers = tuple(int(value) for value in values)
        if any(float(value) != number for value, number in zip(values, numbers)):
            raise ValueError("not whole numbers")
    except (OSError, ValueError, TypeError, EOFError, OverflowError) as error:
        raise UsageError(f"{typed_as}: must be whole numbers with commas between, or a .npy, .json or .txt file of them ({error})") from None
    if not numbers or min(numbers) < 0:
        raise UsageError(f"{typed_as}: must name at least one image, by a position from 0 up")
    return numbers


def _method_help() -> str:
    from unlearn import registry

    lines = ["unlearning methods (--unlearn NAME) and the hyper-parameters each reads:"]
    for name in registry.names():
        method = registry.get(name)
        lines.append(f"  {name:<11} {method.summary} ({_other_names(method)})")
        fields = [(f.name, f.default) for f in method.config.__dataclass_fields__.values()]
        words = [f"--{key}" if value is None or value is False else f"--{key} {describe(value)}" for key, value in fields]
        for start in range(0, len(words), 5):
            lines.append(f"  {'':<11} {'  '.join(words[start : start + 5])}")
    return "\n".join(lines)


def _one_method_help(method: Any) -> str:
    lines = [f"{method.name} ({_other_names(method)}): {method.summary}", f"reads {', '.join(sorted(method.reads)) or 'no images'}; {method.source}"]
    for preset, values in method.presets.items():
        words = "  ".join(f"--{key} {describe(value)}" for key, value in values.items())
        lines.append(f"--preset {preset}: {words or 'the defaults'}")
    return "\n".join(lines)


def _other_names(method: Any) -> str:
    others = [alias for alias in method.aliases if alias != method.paper]
    return method.paper + (f", also {', '.join(others)}" if others else "")
