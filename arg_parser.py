"""The front door: every script's command line becomes one frozen record of flags. Imports no torch.

The flags lie beside those who read them, in the modules named ``*_flags.py`` and in each method's own file. Flags of
the field's existing command lines that a script has no use for are accepted and named in ``unread``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from backdoor import backdoor_flags as backdoor
from dataset import catalog
from dataset.catalog import IMAGENET, NO_VAL, base_name, canonical
from dataset.data_flags import Data, Forget, class_order, forgotten
from dataset.trigger import Trigger
from generation import generation_flags as generation
from trainer import inherited, training_flags
from trainer.training_flags import Model, Prune, PruneAtStart, Resume, Train, TrainAlone, TrainingArguments, training
from transfer import transfer_flags as transfer
from unlearn.unlearn_flags import (
    Evaluation,
    ForgetArguments,
    Further,
    Lora,
    Saliency,
    Unlearn,
    adapters,
    hyper_parameters,
)
from utils.errors import UsageError, renamed
from utils.options import Parser, add_options, build, describe, wrapped
from utils.run_flags import Apart, Keep, Run

SWITCHES = "imagenet_arch resume no_aug random_prune"
VALUES = """data dataset input_size data_dir num_workers num_classes arch train_y_file val_y_file seed train_seed gpu
workers checkpoint save_dir mask batch_size lr momentum weight_decay epochs warmup print_freq decreasing_lr no_l1_epochs
prune pruning_times rate prune_type rewind_epoch rewind_pth unlearn unlearn_lr unlearn_epochs num_indexes_to_replace
class_to_replace indexes_to_replace alpha attack trigger_size"""
# Flags of the field's existing command lines: True takes no value.
REFERENCE_FLAGS = {**dict.fromkeys(SWITCHES.split(), True), **dict.fromkeys(VALUES.split(), False)}


@dataclass(frozen=True)
class Command:
    """The command line of one script: its flags, and the files that supply values which were not typed.

    Attributes:
        script: file name of the script.
        about: one sentence for ``--help``.
        groups: dataclasses of flags by the title of their group, besides data, model and run.
        files: flags that name checkpoints. Values that were not typed are taken from these files. The first flag names
            the checkpoint that the script starts from.
        split: what becomes of a typed ``--split_seed``, see ``trainer.inherited.inherit``.
        methods: whether the script has hyper-parameters that depend on ``--unlearn``.
    """

    script: str
    about: str
    groups: dict[str, type]
    files: tuple[str, ...]
    split: str = "tidy"
    methods: bool = True

    @property
    def every_group(self) -> dict[str, type]:
        """All dataclasses of flags by title, those for data, model and run included."""
        return {"data": Data, "model": Model, "run": Run, **self.groups}


_TRAINING = partial(Command, files=("checkpoint",), split="refuse", methods=False)
IMP = _TRAINING(
    "main_imp.py",
    "Train a classifier, then prune it by magnitude and train it again (OMP, IMP).",
    {"training": TrainAlone, "pruning": Prune, "going on": Resume, "for populations": Keep},
)
SYNFLOW = _TRAINING(
    "main_synflow.py",
    "Prune a new network before training (SynFlow and other scores), then train it.",
    {"training": TrainAlone, "pruning": PruneAtStart, "going on": Resume, "for populations": Keep},
)
FORGET = Command(
    "main_forget.py",
    "Make a trained classifier forget images, then score it: UA, RA, TA, MIA-Efficacy, RTE.",
    {
        "what is forgotten": Forget,
        "unlearning": Unlearn,
        "adapters": Lora,
        "costly scores": Further,
        "seeds apart": Apart,
        "for populations": Keep,
    },
    ("mask", "reference_model", "rewind_pth"),
)
SALIENCY = Command(
    "main_saliency.py",
    "Find the weights that matter for the images to forget, for main_forget.py --saliency_mask.",
    {"what is forgotten": Forget, "model to judge": Evaluation, "saliency": Saliency},
    ("mask",),
    methods=False,
)
BACKDOOR = Command(
    "main_backdoor.py",
    "Poison a training set, train or load a model, unlearn the poisoned images; accuracy (SA) and attack success (ASR) "
    "before and after.",
    {
        "poison": backdoor.Poison,
        "training": Train,
        "pruning": backdoor.PoisonedPrune,
        "unlearning": backdoor.Cleanse,
        "several sparsities": backdoor.Curve,
    },
    ("mask", "rewind_pth"),
    "keep",
)
TRANSFER = Command(
    "main_transfer.py",
    "Remove source classes from a trained classifier, then carry it over to a target data set: accuracy and time of "
    "both.",
    {
        "unlearning": transfer.Source,
        "transfer": transfer.Transfer,
        "probing": transfer.LinearProbe,
        "training, while probing (full) and unlearning": transfer.FullProbe,
    },
    ("mask", "rewind_pth"),
)


_GENERATE = partial(Command, "main_generate.py", files=(), methods=False)
GENERATE = {
    "convert": _GENERATE(
        "Make a pipeline's folder of diffusers of Facebook's weights of DiT.", {"generator": generation.Convert}
    ),
    "encode": _GENERATE("Make latents of a data set once, for --dataset latents.", {"latents": generation.Encode}),
    "train": _GENERATE(
        "Train a class-conditional diffusion model, on all classes or without those of --forget.",
        {
            "generator": generation.Begin,
            "network of ddpm": generation.Generator,
            "network of dit": generation.Transformer,
            "training": generation.Pretraining,
            "what is left out": Forget,
            "prompts of Stable Diffusion": generation.Prompts,
        },
    ),
    "sample": _GENERATE(
        "Draw pictures of each class, or of prompts.",
        {
            "generator": generation.Start,
            "drawing": generation.Drawing,
            "nudity": generation.Counting,
            "prompts of Stable Diffusion": generation.Prompts,
        },
    ),
    "saliency": _GENERATE(
        "Find the weights that matter for the classes to forget, for forget --saliency_mask and --fisher_dir.",
        {
            "generator": generation.Start,
            "what is forgotten": Forget,
            "saliency": generation.Masking,
            "prompts of Stable Diffusion": generation.Prompts,
        },
    ),
    "forget": _GENERATE(
        "Make a diffusion model forget classes.",
        {
            "generator": generation.Start,
            "what is forgotten": Forget,
            "unlearning": generation.Erase,
            "prompts of Stable Diffusion": generation.Prompts,
        },
    ),
    "score": _GENERATE(
        "Draw pictures and judge them: UA, RA, plausibility, FD(judge), precision, recall, diversity; FID.",
        {
            "generator": generation.Start,
            "what was forgotten": Forget,
            "drawing": generation.Drawing,
            "judging": generation.Judging,
            "prompts of Stable Diffusion": generation.Prompts,
        },
    ),
}

COMMANDS = {command.script: command for command in (IMP, SYNFLOW, FORGET, SALIENCY, BACKDOOR, TRANSFER)}


def read_by(script: str) -> frozenset[str]:
    """Names, without dashes, of all flags that a script or one of its methods reads; ``script`` as in ``COMMANDS``."""
    from unlearn import registry

    command = COMMANDS[script]
    methods = [registry.get(name).config for name in registry.names()] if command.methods else []
    return frozenset(each.name for config in (*command.every_group.values(), *methods) for each in fields(config))


def parse_imp(argv: list[str] | None, read_files: bool = True) -> TrainingArguments:
    """Arguments of ``main_imp.py``.

    Args:
        argv: the words after the script's name; None for those of the process.
        read_files: take values that were not typed from the checkpoint, if one is given.
    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    return _parse_training(IMP, argv, read_files)


def parse_synflow(argv: list[str] | None, read_files: bool = True) -> TrainingArguments:
    """Arguments of ``main_synflow.py``; see ``parse_imp``."""
    return _parse_training(SYNFLOW, argv, read_files)


def _parse_training(command: Command, argv: list[str] | None, read_files: bool) -> TrainingArguments:
    typed, shared = _shared(command, _read(command, argv), read_files)
    train, resume = training(TrainAlone, typed, shared["model"]), build(Resume, typed)
    prune: Prune | PruneAtStart = build(command.groups["pruning"], typed)
    if resume.resume != (resume.checkpoint is not None):
        raise UsageError(
            "--resume needs --checkpoint FILE" if resume.resume else "--checkpoint is read with --resume only"
        )
    if isinstance(prune, Prune):
        training_flags.check_rewind(prune, train)
    unread = _unread(typed, command.every_group.values(), shared["data"])
    return TrainingArguments(**shared, train=train, prune=prune, resume=resume, unread=unread)


def parse_forget(argv: list[str] | None, read_files: bool = True) -> ForgetArguments:
    """Arguments of ``main_forget.py``; the method decides which hyper-parameters there are. See ``parse_imp``."""
    from unlearn import registry

    typed = _read(FORGET, argv)
    unlearn = build(Unlearn, typed)
    method = registry.get(unlearn.unlearn, "classification")
    if unlearn.mask is None and not method.fresh:
        raise UsageError(f"--mask FILE is needed: the checkpoint that {method.name} starts from")
    words = _words(typed)
    typed, shared = _shared(FORGET, typed, read_files)
    hyper = hyper_parameters(typed, method, shared["model"], unlearn.preset)
    lora = adapters(typed, method, hyper)
    read = [config for config in FORGET.every_group.values() if config is not Lora or lora is not None]
    return ForgetArguments(
        **shared,
        scenario=forgotten(build(Forget, typed), typed),
        unlearn=unlearn,
        hyper=hyper,
        lora=lora,
        apart=build(Apart, typed),
        further=build(Further, typed),
        typed=words,
        unread=_unread(typed, [*read, method.config], shared["data"], method),
    )


def parse_saliency(argv: list[str] | None, read_files: bool = True) -> ForgetArguments:
    """Arguments of ``main_saliency.py``, as those of ``main_forget.py`` with method raw; ``hyper`` is a ``Saliency``.

    See ``parse_imp``.
    """
    typed, shared = _shared(SALIENCY, _read(SALIENCY, argv), read_files)
    judged = build(Evaluation, typed)
    if judged.mask is None:
        raise UsageError("--mask FILE is needed: the checkpoint whose weights are judged")
    return ForgetArguments(
        **shared,
        scenario=forgotten(build(Forget, typed), typed),
        unlearn=Unlearn(unlearn="raw", mask=judged.mask, allow_split_mismatch=judged.allow_split_mismatch),
        hyper=build(Saliency, typed),
        unread=_unread(typed, SALIENCY.every_group.values(), shared["data"]),
    )


def parse_backdoor(argv: list[str] | None, read_files: bool = True) -> backdoor.BackdoorArguments:
    """Arguments of ``main_backdoor.py``; the method decides which hyper-parameters there are. See ``parse_imp``."""
    from unlearn import registry

    typed = _read(BACKDOOR, argv)
    unlearn = build(backdoor.Cleanse, typed)
    method = registry.get(unlearn.unlearn, "classification")
    if unlearn.reference_model is not None:
        raise UsageError("--reference_model: is for main_forget.py; outputs of poisoned models are not compared")
    words = _words(typed)
    typed, shared = _shared(BACKDOOR, typed, read_files)
    poison, train = build(backdoor.Poison, typed), training(Train, typed, shared["model"])
    return backdoor.BackdoorArguments(
        **shared,
        train=train,
        prune=backdoor.poisoned_prune(build(backdoor.PoisonedPrune, typed), train),
        target=backdoor.target_words(poison, typed),
        trigger=Trigger(poison.trigger_size, poison.trigger_place, poison.trigger_value),
        scenario=backdoor.poisoned(poison),
        unlearn=unlearn,
        hyper=hyper_parameters(typed, method, shared["model"], unlearn.preset),
        sparsities=backdoor.sparsities(typed),
        typed=words,
        unread=_unread(typed, [*BACKDOOR.every_group.values(), method.config], shared["data"], method),
    )


def parse_transfer(argv: list[str] | None, read_files: bool = True) -> transfer.TransferArguments:
    """Arguments of ``main_transfer.py``; method and probe decide on the hyper-parameters. See ``parse_imp``."""
    from unlearn import registry

    typed, shared = _shared(TRANSFER, _read(TRANSFER, argv), read_files)
    source, flags = build(transfer.Source, typed), build(transfer.Transfer, typed)
    method, model = registry.get(source.unlearn, "classification"), shared["model"]
    if source.mask is None:
        raise UsageError("--mask FILE is needed: the checkpoint of the source model")
    if flags.target is None and flags.target_dataset is None:
        raise UsageError("--target DIR or --target_dataset NAME is needed: the data to transfer to")
    if len(set(flags.removed)) < len(flags.removed):
        raise UsageError(f"--removed {typed['removed']}: must be different numbers of classes with commas between")
    probe, full = build(transfer.LinearProbe, typed), transfer.FullProbe
    if probe.probe == "full":
        probe = training_flags.in_time(
            build(full, (training_flags.suited(full) if training_flags.is_transformer(model.arch) else {}) | typed),
            typed,
        )
    read = [config for config in TRANSFER.every_group.values() if config not in (transfer.LinearProbe, full)]
    return transfer.TransferArguments(
        **shared,
        unlearn=source,
        hyper=hyper_parameters(typed, method, model, source.preset),
        transfer=flags,
        order=class_order(flags.removal_order),
        probe=probe,
        unread=_unread(typed, [*read, method.config, type(probe)], shared["data"], method),
    )


def parse_generate(work: str, argv: list[str] | None) -> generation.GenerateArguments:
    """Arguments of ``main_generate.py``, whose first word is ``work``, a key of ``GENERATE``.

    Args:
        argv: the words after the script's name, the first word included; None for those of the process.
    Raises:
        UsageError: anything wrong that can be seen without reading data.
    """
    from generation import fitting

    command, words = GENERATE[work], (sys.argv[1:] if argv is None else argv)[1:]
    configs = _methods_of_diffusion(command, words) if work == "forget" else {}
    parser = Parser(prog=f"{command.script} {work}", description=wrapped(command.about))
    chosen = configs.pop("", [])
    title = "hyper-parameters of the method" if len(chosen) == 1 else ""
    if title:
        parser.epilog = _said_of_diffusion(parser.asks_about("unlearn", words) or "")
    groups = {"data": Data, "run": Run, **command.groups}
    typed = _typed(parser, groups, words, chosen, title)
    begin, kind, unused = _begun(command, typed)
    suited = fitting.suited(kind)
    given: dict[str, Any] = {
        name: build(config, suited.get(name, {}) | typed)
        for name, config in PARTS.items()
        if config in command.groups.values() and config not in unused
    }
    if "transformer" in given:
        given["generator"] = given.pop("transformer")
    settings = next((given.pop(name) for name in SETTINGS if name in given), begin)
    read = [config for config in groups.values() if config not in unused]
    if "erase" in given:
        settings, method = _fitted(typed, given["erase"].unlearn, kind)
        read.append(method.config)
    data, drawing = (
        _data(typed),
        {"forget", "class_to_replace", "num_indexes_to_replace", "indexes_to_replace"} & typed.keys(),
    )
    scenario = forgotten(build(Forget, typed), typed) if Forget in read and (drawing or work in FORGETTING) else None
    return generation.GenerateArguments(
        data=data,
        model=Model(arch=kind),
        run=_run(typed),
        work=work,
        begin=begin,
        settings=settings,
        scenario=scenario,
        unread=_unread(typed, read, data),
        **given,
    )


# Fields of ``GenerateArguments`` and the dataclasses of flags that fill them; a script fills only those that it reads.
PARTS: dict[str, type] = {"generator": generation.Generator, "settings": generation.Pretraining}
PARTS |= {"transformer": generation.Transformer, "encode": generation.Encode}
PARTS |= {"erase": generation.Erase, "judging": generation.Judging}
PARTS |= {"drawing": generation.Drawing, "masking": generation.Masking, "prompts": generation.Prompts}
PARTS |= {"counting": generation.Counting}
SETTINGS = ("settings", "drawing", "masking", "encode")  # the first of them that a script has is its ``settings``
FORGETTING = ("forget", "saliency")  # without a flag that says what to forget, these take --class_to_replace's default
GENERATION = {
    "convert": (partial(parse_generate, "convert"), "converting"),
    "encode": (partial(parse_generate, "encode"), "encoding"),
    "train": (partial(parse_generate, "train"), "pretraining"),
    "sample": (partial(parse_generate, "sample"), "sampling"),
    "saliency": (partial(parse_generate, "saliency"), "masking"),
    "forget": (partial(parse_generate, "forget"), "erasing"),
    "score": (partial(parse_generate, "score"), "judging"),
}


def _begun(command: Command, typed: dict[str, Any]) -> tuple[generation.Start, str, set[type]]:
    """The generator to start from, its back end, and the network configurations that stay unread.

    Raises:
        UsageError: ``--model`` is needed and missing, or names a folder of no known kind.
    """
    from generation import kinds

    networks: set[type] = {generation.Generator, generation.Transformer}
    if generation.Encode in command.groups.values():
        return generation.Start(), "vae", networks
    config = next(config for config in command.groups.values() if issubclass(config, generation.Start))
    begin = build(config, typed)
    if begin.model is not None:
        return begin, "dit" if isinstance(begin, generation.Convert) else kinds.of(begin.model), networks
    if not isinstance(begin, generation.Begin):
        raise UsageError("--model FILE is needed: generator.pt of main_generate.py train, or the reference's ckpt.pth")
    return begin, begin.arch, networks - {{"ddpm": generation.Generator, "dit": generation.Transformer}[begin.arch]}


def _methods_of_diffusion(command: Command, words: list[str]) -> dict[str, list[type]]:
    """Configurations of the methods whose flags ``main_generate.py forget`` accepts, under the title "".

    These are all methods for diffusion models, or in ``--help`` the typed one alone.
    """
    from unlearn import registry

    parser = Parser(prog=command.script)
    asked = parser.asks_about("unlearn", words) if parser.help_topic(words) is not None else None
    names = registry.names("diffusion") if asked is None else [asked]
    return {"": [registry.get(name, "diffusion").config for name in names]}


def _said_of_diffusion(name: str) -> str:
    """What ``--help`` says of a method's defaults, which are those for classifiers."""
    from generation import fitting
    from unlearn import registry

    values = fitting.of(registry.get(name, "diffusion"), Run.compat)
    words = "  ".join(f"--{flag} {describe(value)}" for flag, value in values.items())
    return wrapped(f"for a diffusion model, unless typed: {words}")


def _fitted(typed: dict[str, Any], name: str, kind: str) -> tuple[Any, Any]:
    """The hyper-parameters of method ``name``, and the method; what was not typed is what suits this kind of model."""
    from generation import fitting
    from unlearn import registry

    method = registry.get(name, "diffusion")
    return build(method.config, fitting.of(method, build(Run, typed).compat, kind) | typed), method


def _read(command: Command, argv: list[str] | None) -> dict[str, Any]:
    """Values of the typed flags by name.

    ``--help`` shows the common flags, ``--help all`` all flags, ``--unlearn NAME --help`` those of one method in its
    own words.
    """
    from unlearn import help, registry

    parser = Parser(prog=command.script, description=wrapped(command.about))
    topic = parser.help_topic(argv)
    if not command.methods:
        if topic and topic != "all":
            raise UsageError(f"--help {topic}: must be --help or --help all")
        return _typed(parser, command.every_group, argv)
    asked = None if topic is None else topic if topic not in ("", "all") else parser.asks_about("unlearn", argv)
    if asked is not None:
        with renamed({"--unlearn": "--help"} if asked == topic else {}):
            method = registry.get(asked)
        parser.epilog = help.one_method(method)
        unfit = method.unfit_for_adapters(method.config())
        groups = {name: config for name, config in command.every_group.items() if not unfit or config is not Lora}
        return _typed(parser, groups, argv, [method.config], f"hyper-parameters of {method.name}")
    parser.epilog = "" if topic is None else help.all_methods() if topic else help.short()
    configs = [registry.Iterative, *(registry.get(name).config for name in registry.names())]
    return _typed(parser, command.every_group, argv, configs)


def _typed(
    parser: Parser, groups: dict[str, type], argv: list[str] | None, hyper: Sequence[type] = (), title: str = ""
) -> dict[str, Any]:
    """Values of the typed flags by name, read by a parser that has the flags of these dataclasses.

    Args:
        groups: dataclasses of flags by title.
        hyper: dataclasses of methods' flags. The flags of a single one are shown under ``title``, in its own words.
    """
    if parser.help_topic(argv) is None:
        parser = _PARSERS.setdefault((type(parser), parser.prog, *hyper), parser)
    if not parser.usage:
        _declare(parser, groups, argv, hyper, title)
    return parser.read(argv)


# Parsers that show no help, by script and methods. They are kept because a sweep reads thousands of command lines.
_PARSERS: dict[tuple, Parser] = {}


def _declare(
    parser: Parser, groups: dict[str, type], argv: list[str] | None, hyper: Sequence[type], title: str
) -> None:
    """Put the flags of the configurations on a parser; see ``_typed``."""
    topic = parser.help_topic(argv)
    short = topic is not None and topic != "all"
    parser.usage = f"{parser.prog} [--flag value ...] [@FILE]"
    common = parser.add_argument_group("common flags") if short else None
    places = [(common or parser.add_argument_group(name), config) for name, config in groups.items()]
    if len(hyper) == 1:  # first, because the groups describe flags of these names in other words
        add_options(parser.add_argument_group(title), hyper[0], negatable=True, beside=_for_transformers(hyper[0]))
    for group, config in places:
        trains = issubclass(config, (Train, transfer.FullProbe))
        add_options(group, config, beside=_for_transformers(config) if trains else None, short=short)
    for config in hyper:
        add_options(
            common or parser, config, show_default=False, negatable=True, short=short, shown=None if short else ()
        )
    known = {flag for action in parser._actions for flag in action.option_strings}
    for name, is_switch in REFERENCE_FLAGS.items():
        if f"--{name}" not in known:
            kind: dict[str, Any] = {"action": "store_true"} if is_switch else {}
            parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kind)


def _for_transformers(config: type) -> dict[str, str]:
    """Notes by flag that ``--help`` shows beside the defaults of ``config``: other defaults for transformers."""
    suited = {name: f"{describe(value)} for transformers" for name, value in training_flags.suited(config).items()}
    return suited | ({"warmup": "a twentieth of --epochs for transformers"} if issubclass(config, Train) else {})


def _shared(command: Command, typed: dict[str, Any], read_files: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The typed values completed from checkpoints, and the fields that the arguments of all scripts share."""
    if typed.get("no_val") and "dataset" in typed:
        typed = {**typed, "dataset": base_name(canonical(typed["dataset"])) + NO_VAL}
    opened = read_files and ("checkpoint" not in command.files or "resume" in typed)
    inherited_values = inherited.inherit(typed, command.files, Run.seed, opened, command.split)
    typed = inherited_values.flags
    model, data, run = _model(typed), _data(typed), _run(typed)
    return typed, {
        "data": data,
        "model": model,
        "run": run,
        "keep": build(Keep, typed),
        "inherited": tuple(inherited_values.notes),
    }


def _model(typed: dict[str, Any]) -> Model:
    """The model's flags. ``--mean`` and ``--std`` must come together; "imagenet" becomes numbers in ``typed``."""
    named = {"mean": IMAGENET[0], "std": IMAGENET[1]}
    if typed.get("mean") == "imagenet":
        typed.setdefault("std", "imagenet")
    for name, values in named.items():
        if typed.get(name) == "imagenet":
            typed[name] = values
    model = build(Model, typed)
    if model.mean is not None and model.arch.startswith("hf:"):
        raise UsageError(f"--mean: {model.arch} brings its own statistics; leave --mean and --std out")
    for name, value in (("mean", model.mean), ("std", model.std)):
        other = {"mean": "std", "std": "mean"}[name]
        if value is not None and len(value) != 3:
            raise UsageError(f"--{name} {describe(value)}: must be three numbers, one for each channel, or imagenet")
        if value is not None and getattr(model, other) is None:
            raise UsageError(f"--{name} needs --{other} beside it")
    return model


def _data(typed: dict[str, Any]) -> Data:
    """The data flags. The reference's ``--data_dir`` and ``--num_workers`` get our names in ``typed`` if they apply."""
    if "dataset" in typed:
        typed["dataset"] = canonical(typed["dataset"])
    if base_name(typed.get("dataset", "")) == "TinyImagenet" and "data_dir" in typed:
        typed["data"] = typed.pop("data_dir")
    if "num_workers" in typed and "workers" not in typed and build(Data, typed).streamed:
        typed["workers"] = typed.pop("num_workers")
    data = build(Data, typed)
    return replace(data, dataset=base_name(data.dataset) + NO_VAL) if data.no_val else data


def _run(typed: dict[str, Any]) -> Run:
    run = build(Run, typed)
    if run.save_dir is None:
        raise UsageError("--save_dir DIR is needed: the folder for everything the run writes")
    family = run.device.partition(":")
    if family[0] not in ("auto", "cpu", "cuda", "mps") or (
        family[1] and not (family[0] == "cuda" and family[2].isdigit())
    ):
        raise UsageError(f"--device {run.device}: unknown; known: auto, cpu, cuda, cuda:N, mps")
    return run


def _unread(typed: dict[str, Any], configs: Any, data: Data, method: Any = None) -> tuple[str, ...]:
    """Flags that were typed but that nothing reads, with dashes.

    Hyper-parameters that all training methods share, flags of adapters, and flags of the field's existing command lines
    may go unread.

    Raises:
        UsageError: an unread flag is a hyper-parameter of other methods only, or another flag is evidently meant.
    """
    from unlearn import registry

    unused = set() if data.streamed else {"workers"}
    unused |= {"data"} if catalog.get(data.dataset).embedded else set()
    read = {name for config in configs for name in config.__dataclass_fields__} - unused
    idle = [name for name in typed if name not in read]
    shared = {*REFERENCE_FLAGS, *registry.Iterative.__dataclass_fields__, *Lora.__dataclass_fields__}
    for name in (name for name in idle if method is not None and name not in shared):
        readers = [other for other in registry.names() if hasattr(registry.get(other).config, name)]
        if readers:
            raise UsageError(
                f"--{name}: --unlearn {method.name} does not read it; {', '.join(readers)} "
                f"{'does' if len(readers) == 1 else 'do'}"
            )
    for name in idle if method is None else (name for name in idle if not name.startswith("unlearn_")):
        training_flags.check_counterpart(
            name, typed, read, f"--unlearn {method.name}" if method is not None else "this script"
        )
    return tuple(f"--{name}" for name in idle)


def _words(typed: dict[str, Any]) -> tuple[str, ...]:
    flags = {name: value for name, value in typed.items() if name not in ("sparsities", "save_dir")}
    return tuple(f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items())
