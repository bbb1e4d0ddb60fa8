"""The paper's curve: one poisoned dense training, then for each sparsity pruning, training again and a cleanse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from arg_parser import BackdoorArguments, describe, parse_backdoor, reading
from backdoor import cleanse
from backdoor.backdoor_header import CURVE, header
from backdoor.job import Checked, Job, check, read_data
from report import backdoor_table
from trainer.rounds import OUTPUTS, Names
from unlearn.session import clear
from utils import checkpoints
from utils.log import Log
from utils.run_folder import RunFolder, environment, fingerprint


def curve(arguments: BackdoorArguments, checked: Checked, argv: list[str] | None) -> None:
    """Cleanse models of several sparsities that share one dense training, and table them."""
    home = Path(arguments.run.save_dir)
    several = {
        sparsity: at(arguments, sparsity, home / f"sparsity_{sparsity:g}") for sparsity in (0.0, *arguments.sparsities)
    }
    dense = several[0.0][1]
    folder = RunFolder(home, "curve", fingerprint(checked.config), CURVE, parts={"training": (dense.training, OUTPUTS)})
    log = Log(home)
    if folder.result() is None:
        folder.begin("main_backdoor.py", argv)
        log.line(f"main_backdoor.py: {reading(arguments)}")
        job = read_data(arguments, checked)
        job.write_split(home)
        log.facts(
            f"main_backdoor.py: {checked.method.name} at sparsity {describe(arguments.sparsities)}",
            header(arguments, checked, job, home),
        )
        trained = cleanse.train(*several[0.0], job, Names(home), log)
        results = [a_point(*several[sparsity], job, trained, home) for sparsity in arguments.sparsities]
        finish(folder, checked, results)
    else:
        log.line(f"done already: {home / 'result.json'}")
    log.line(f"\n{backdoor_table.printed(backdoor_table.results_of(folder.result(), checked.method.paper))}")


def finish(folder: RunFolder, checked: Checked, results: list[dict[str, Any]]) -> None:
    """Write the curve as Markdown, CSV and picture, and ``result.json``."""
    first = results[0]
    backdoor_table.save(results, folder.path / "backdoor")
    points = [{"sparsity": found["model"]["sparsity"], **_scores(found)} for found in results]
    folder.finish(
        {
            "label": folder.label,
            "script": "main_backdoor.py",
            "status": "done",
            "method": checked.method.name,
            "points": points,
            **{key: first[key] for key in ("units", "poison", "split")},
            "config": checked.config,
            "device": first["device"],
            "environment": environment(),
        }
    )


def _scores(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found["scores"][key] for key in ("before", "after", "RTE")}


def at(arguments: BackdoorArguments, sparsity: float, folder: Path) -> tuple[BackdoorArguments, Checked]:
    """One sparsity of a curve as a command of its own."""
    single = parse_backdoor([*arguments.typed, f"--rate={sparsity!r}", f"--save_dir={folder}"])
    return single, check(single)


def a_point(
    arguments: BackdoorArguments, checked: Checked, job: Job, dense: cleanse.Trained, home: Path
) -> dict[str, Any]:
    """Prune the dense model, train it again, cleanse it; the result is that of the same command alone.

    Args:
        dense: the finished dense round, whose files are in ``home``.
    """
    folder, log = cleanse.open_folder(arguments, checked)
    log.line(f"\nsparsity {100 * arguments.prune.rate:.4g} %: {folder.path}")
    if folder.result() is None:
        folder.begin(
            "main_backdoor.py", [*arguments.typed, f"--rate={arguments.prune.rate!r}", f"--save_dir={folder.path}"]
        )
        names = Names(folder.path, home)
        last = checkpoints.read(names.last(0), "checkpoint")
        with folder.failing(cleanse.facts(arguments, checked, job)):
            if arguments.prune.prune == "none":
                checkpoints.load_weights(job.bench.model, last)
                trained = dense
            else:
                begun = replace(last, extra={**last.extra, "rounds": dense.rounds})
                trained = cleanse.train(arguments, checked, job, names, log, begun)
            cleanse.cleanse(arguments, checked, job, trained, folder, log)
    else:
        log.line(f"done already: {folder.path / 'result.json'}")
    clear(checked.method, folder)
    return folder.result()
