"""Makes one seed of the paper's Table 1 with as many epochs as the time allows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu import jpegs
from benchmarks.gpu.checks import ROOT, run
from benchmarks.gpu.visit import Visit
from sweep import grid, spec
from utils import files

PAPER, RETRAINED, TUNED = 182, 160, 10  # epochs of training, of retraining and of fine-tuning in the paper
SAFETY = 1.2  # factor on the measured seconds of an epoch
SCORING = 6.0  # seconds of a run besides its epochs, if they were not measured
ONE_STEP = 15.0  # seconds of the single step of FF and IU
REPORT = 15.0  # seconds for the tables


def make(visit: Visit) -> None:
    """Run the cells of the table (training, pruning, unlearning, scoring) as far as the time goes, then the report."""
    if visit.archive is None and not visit.tiny:
        visit.note("table", "runs", "skipped: --archive names no CIFAR-10")
        return
    planned = visit.known("table").get("epochs")
    if planned is None:
        planned = epochs(visit.left - REPORT, visit.known("bench"), visit.tiny)
        if not planned:
            visit.note("table", "runs", f"skipped: not one epoch fits into the {visit.left:.0f} s that are left")
            return
        visit.note("table", "epochs", planned)
    jpegs.offer(visit.archive, 10 if visit.tiny else None)
    stated = plan(visit, planned)
    made = grid.cells(stated, strict=False)
    by_name = {cell.name: cell for cell in made}
    made.sort(key=lambda cell: (grid.stage(cell, by_name), scenario_of(cell)))  # "class" before "random"
    longest = 0.0
    for cell in made:
        before = visit.left
        script = cell.script.removesuffix(".py")
        visit.attempt("table", cell.name, REPORT + longest, lambda cell=cell, script=script: run(script, [*cell.argv]))
        longest = max(longest, before - visit.left) if cell.facts["stage"] == "unlearn" else longest
    report = [str(stated.folder), "--out", str(visit.out / "table1"), "--pack", "--settings"]
    report += ["--no_plots"] if visit.tiny else []
    files.make_folder(visit.out / "table1")
    visit.attempt("table", "report", 0, lambda: run("main_report", report))


def scenario_of(cell: grid.Cell) -> str:
    """The label of a cell's scenario; empty for a training."""
    return cell.facts.get("scenario", "")


def epochs(seconds: float, measured: dict[str, Any], tiny: bool = False) -> dict[str, int]:
    """The largest numbers of epochs, in the paper's proportions, that fit into the time.

    Args:
        seconds: the time for all runs.
        measured: what ``epochs.measure`` noted, by name.
        tiny: whether this is a rehearsal.
    Returns:
        Epochs of "train", "retrain" and "tune"; empty if not even one of each fits.
    """
    row = measured.get("resnet20s eager" if tiny else "resnet18 --amp")
    each = row["seconds per epoch"] if isinstance(row, dict) else 3.0
    scoring, one_step = (1.0, 1.0) if tiny else (SCORING, ONE_STEP)
    if isinstance(measured.get("scores"), dict):
        scoring = 1 + measured["scores"]["seconds"]
    fixed = 28 * scoring + 8 * one_step
    best: dict[str, int] = {}
    for train in range(1, 2 if tiny else PAPER + 1):
        found = {"train": train, "retrain": math.ceil(train * RETRAINED / PAPER)}
        found["tune"] = math.ceil(train * TUNED / PAPER)
        # Two rounds of training; retraining, and FT and l1-sparse, on two models in two scenarios.
        passes = 2 * train + 4 * found["retrain"] + 8 * found["tune"]
        if SAFETY * each * passes + fixed <= seconds:
            best = found
    return best


def plan(visit: Visit, planned: dict[str, int]) -> spec.Spec:
    """``experiments/table1.yaml`` with one seed and the planned epochs, on the archive's images.

    Args:
        planned: what ``epochs`` returned.
    """
    stated = spec.read(Path(ROOT, "experiments", "table1.yaml"), str(visit.work / "table1"))
    flags = {**stated.flags, "dataset": jpegs.NAME, "device": str(visit.device)}
    flags |= {"arch": "resnet20s", "batch_size": 64} if visit.tiny else {"amp": True, "checkpoint_every": 10}
    [training] = stated.train
    short = {"epochs": planned["train"], "schedule": "triangle", "rewind_epoch": 0}
    trained = {key: value for key, value in stated.train[training].items() if key != "decreasing_lr"} | short
    methods = {name: dict(own or {}) for name, own in stated.methods.items()}
    methods["retrain"] = {"unlearn_epochs": planned["retrain"], "unlearn_lr": 0.1, "schedule": "triangle"}
    for name in ("FT", "l1-sparse"):
        methods[name]["unlearn_epochs"] = planned["tune"]
    return replace(stated, seeds=[1], flags=flags, train={training: trained}, methods=methods)
