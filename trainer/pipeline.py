"""The stages of every script: command line, Setup, Problem, run, Result. Imports no torch.

A ``Setup`` holds checked inputs: everything that can be refused without reading an image was refused. It knows the
run's identity. A ``Problem`` is data, split, image sets and model. A ``Result`` is the record of what the run found.
Once it is in the folder, the run is done, and the same command only shows it.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from utils.errors import say_last, script
from utils.log import Log
from utils.run_folder import RunFolder

if TYPE_CHECKING:
    from trainer.setup import Setup
    from trainer.training_flags import Arguments
    from utils.result import Result

S = TypeVar("S", bound="Setup")
P = TypeVar("P")


@dataclass(frozen=True)
class Place:
    """Where a run writes.

    Attributes:
        folder: the run's folder.
        log: prints lines and writes them to the folder.
        argv: the command line that started the run, to be stored in the folder; None for that of the process.
    """

    folder: RunFolder
    log: Log
    argv: list[str] | None


@dataclass(frozen=True)
class Stages(Generic[S, P]):
    """The stages of one script after its command line is read.

    Attributes:
        setup: makes a ``Setup`` of the arguments, and refuses what can be refused without reading an image.
        preview: lines of ``--dry_run`` by title: what would be done.
        problem: reads data and builds the model.
        header: lines of the header by title: what is done, with which data and settings.
        facts: the entries of ``result.json`` that do not depend on how the run ends.
        run: does the work, and returns the facts completed by what was found.
        show: prints a finished result.
        outputs: writes ``outputs.npz`` of a finished run from its stored model; None if the script has none.
        further: adds further scores to a finished run's result. Its second argument is a function that reads the
            problem. None if the script has none.
    """

    setup: Callable[[Any], S]
    preview: Callable[[S], dict[str, str]]
    problem: Callable[[S], P]
    header: Callable[[S, P], dict[str, str]]
    facts: Callable[[S, P], Result]
    run: Callable[[S, P, Result, Place], Result]
    show: Callable[[S, dict[str, Any], Log], None]
    outputs: Callable[[S, P, Place, dict[str, Any]], None] | None = None
    further: Callable[[S, Callable[[], P], Place, dict[str, Any]], None] | None = None


@dataclass(frozen=True)
class Script:
    """A script.

    Attributes:
        name: name of the script, for errors.
        parse: makes arguments of a command line.
        module: the module that defines ``STAGES``, imported only after the command line was read.
    """

    name: str
    parse: Callable[..., Arguments]
    module: str

    @property
    def stages(self) -> Stages:
        """The ``STAGES`` of its module."""
        return importlib.import_module(self.module).STAGES

    def main(self, argv: list[str] | None = None) -> int:
        """Run the script with the words ``argv``, by default those of the process; returns the exit code."""
        work = functools.partial(run, self)
        work.__module__ = self.name  # errors are reported under this name
        return script(work)(argv)

    def identity(self, argv: list[str]) -> str:
        """The fingerprint of the run of a command line, found without reading an image.

        Raises:
            UsageError: the command line would be refused.
        """
        return self.stages.setup(self.parse(argv)).fingerprint


def run(script: Script, argv: list[str] | None = None) -> int:
    """Carry out a command line, or with ``--dry_run`` print what would be done; returns the exit code."""
    arguments = script.parse(argv)
    stages = script.stages
    setup = stages.setup(arguments)
    say_last([*arguments.remarks(), *setup.remarks])
    if arguments.run.dry_run == "json":
        print(json.dumps(setup.config, indent=1, default=str))
    elif arguments.run.dry_run:
        from trainer.messages import closing

        title = f"{setup.script}: {setup.title} (nothing is done: --dry_run)"
        Log(None).facts(title, stages.preview(setup) | closing(setup))
    else:

        def work(place: Place) -> Result:
            place.log.line(f"{setup.script}: {arguments.reading()}")
            problem = stages.problem(setup)
            problem.write_split(place.folder.path)
            more = {"not read": f"{', '.join(setup.unread)}: nothing that {setup.reader} uses"} if setup.unread else {}
            header = stages.header(setup, problem) | {"folder": str(place.folder.path)} | more
            place.log.facts(f"{setup.script}: {setup.title}", header)
            facts = stages.facts(setup, problem)
            with place.folder.failing(facts):
                return stages.run(setup, problem, facts, place)

        def add(place: Place, result: dict[str, Any]) -> None:
            from evaluation.populations.outputs import NAME

            if setup.save_outputs and stages.outputs and not (place.folder.home / NAME).exists():
                stages.outputs(setup, stages.problem(setup), place, result)
            if stages.further:
                stages.further(setup, lambda: stages.problem(setup), place, result)

        place, result = complete(setup, argv, work, add)
        stages.show(setup, result, place.log)
    return 0


def complete(
    setup: Setup,
    argv: list[str] | None,
    work: Callable[[Place], Result],
    add: Callable[[Place, dict[str, Any]], None] | None = None,
) -> tuple[Place, dict[str, Any]]:
    """Do a run in its folder and write ``result.json``, unless it is finished already.

    Args:
        setup: the run.
        argv: the command line, to be stored as ``command.txt``.
        work: does the run and returns its result.
        add: adds to a finished run what is asked for and missing, given its result, and keeps everything else.
    Returns:
        The place, and the content of ``result.json``.
    """
    folder = RunFolder(
        setup.folder, setup.label, setup.fingerprint, setup.outputs, keep=setup.keep_files, parts=setup.parts
    )
    place = Place(folder, Log(folder.path), argv)
    known = folder.result()
    if known is None:
        folder.begin(setup.script, argv)
        folder.finish(work(place))
    else:
        place.log.line(f"done already: {folder.path / 'result.json'}")
    if add is not None:
        add(place, folder.result() or {})
    folder.remove(setup.temporary)
    return place, folder.result() or {}
