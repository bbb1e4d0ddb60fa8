"""A sweep on a real SLURM: one job killed, one requeued, one out of its time; the table is complete and that of this
machine.

Skipped, and why is said, where no SLURM answers; ``tests/slurm/one_node.sh start`` gives a machine one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from report.runs import read

SWEEP = """
title: a sweep to be disturbed
folder: nowhere
seeds: [1, 2]
resources: {gpus: 0, cpus: 1, time: 10}
flags: {dataset: digits, input_size: 8, arch: resnet20s, batch_size: 256}
train:
  omp:
    {script: main_imp.py, epochs: 6, decreasing_lr: "4", pruning_times: 2, rate: 0.8, prune_type: rewind_lt,
     rewind_epoch: 1}
models: {sparse: omp/1}
scenarios: {class: "class:0", random: "random:0.1"}
methods:
  retrain: {unlearn_epochs: 24, decreasing_lr: "4"}  # long enough to be told while it runs that its time is up
  FT: {unlearn_epochs: 2}
  GA: {unlearn_epochs: 1, unlearn_lr: 1e-4}
"""
POPULATION = """
folder: nowhere
population: {lira: {splits: 2, forgets: 2}}
resources: {gpus: 0, cpus: 1, time: 10, cells_per_job: 3}
flags: {dataset: digits, input_size: 8, arch: resnet20s, batch_size: 256}
train: {omp: {script: main_imp.py, epochs: 2, pruning_times: 2, rate: 0.8, rewind_epoch: 1}}
models: {dense: omp/0/last, sparse: omp/1/last}
methods: {retrain: {unlearn_epochs: 1}, FT: {unlearn_epochs: 1}}
"""
FIRST = re.compile(r"epoch +1/")
CELLS = 2 + 2 * 2 * 3
PATIENCE = 1500  # seconds for the whole; two to three minutes on two idle cores


def absent() -> str:
    """Why there is no SLURM to test on; empty if there is one."""
    if shutil.which("sbatch") is None:
        return "there is no sbatch on this machine"
    asked = subprocess.run(["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, timeout=60)
    if asked.returncode:
        return f"sinfo does not answer: {' '.join(asked.stderr.split())[:200]}"
    return "" if {"idle", "mixed"} & set(asked.stdout.split()) else f"no node is free: {asked.stdout.strip()}"


REASON = absent()
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        bool(REASON), reason=f"no SLURM: {REASON}; tests/slurm/one_node.sh start gives this machine one"
    ),
]


class Sweep:
    """``main_sweep.py`` at work in a folder."""

    def __init__(self, folder: Path, file: Path, executor: str, *more: str):
        self.folder, self.began, self.seconds = folder, time.monotonic(), 0.0
        self.log = folder.parent / f"{folder.name}.log"
        words = [
            sys.executable,
            str(ROOT / "main_sweep.py"),
            str(file),
            "--folder",
            str(folder),
            "--executor",
            executor,
            *more,
        ]
        self.process = subprocess.Popen(words, stdout=self.log.open("w"), stderr=subprocess.STDOUT)

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait for something that the sweep brings about."""
        while not ready():
            assert self.process.poll() is None and time.monotonic() < self.began + PATIENCE, self.log.read_text()
            time.sleep(0.2)

    def until_epoch(self, name: str) -> str:
        """Wait until a cell has stored an epoch and has not ended; returns the number of its job."""
        cell = self.folder / name
        self.until(lambda: FIRST.search(output(cell)) is not None)
        assert not (cell / "result.json").exists()
        return json.loads((self.folder / "jobs.json").read_text())[name]

    def end(self) -> str:
        """What it printed once it is over."""
        code = self.process.wait(timeout=max(1.0, self.began + PATIENCE - time.monotonic()))
        self.seconds = time.monotonic() - self.began
        assert code == 0, self.log.read_text()
        return self.log.read_text()


def output(cell: Path) -> str:
    try:
        return (cell / "output.txt").read_text()
    except OSError:
        return ""


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def scores(folder: Path) -> dict[str, dict[str, float]]:
    """The scores of all runs by cell, but for the time that they took."""
    found = {path.parent.relative_to(folder).as_posix(): read(path) for path in folder.rglob("result.json")}
    return {
        name: {metric: value for metric, value in result["scores"].items() if metric != "RTE"}
        for name, result in found.items()
        if "scores" in result
    }


def checkpoints(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*checkpoint.pth.tar")}


def rows(text: str) -> list[list[str]]:
    """A printed table's rows without the columns of the time taken."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    kept = [place for place, head in enumerate(lines[0]) if "RTE" not in head]
    return [[line[place].strip() for place in kept] for line in lines]


def test_a_disturbed_sweep_on_slurm_gives_the_table_of_an_undisturbed_one_here(tmp_path, capsys):
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    slurm = Sweep(tmp_path / "slurm", file, "slurm")
    killed = slurm.until_epoch("seed1/omp")
    run(
        "scancel", "--signal=KILL", f"{killed}.0"
    )  # its step, not the job, which would then count as cancelled: as when memory is at an end
    requeued = slurm.until_epoch("seed2/omp")
    run("scontrol", "requeue", requeued)  # as when another job takes its place: SIGTERM, some seconds, SIGKILL
    out_of_time = slurm.until_epoch("seed2/class/sparse/retrain")
    run("scancel", "--signal=USR2", out_of_time)  # as before its time is up, for what submitit asks SLURM to do then
    local = Sweep(tmp_path / "local", file, "local", "--max_concurrent", "1")
    said = slurm.end()
    assert f"done     {CELLS} of {CELLS}\nfailed   0\nmissing  0\n" in said
    assert "killed  seed1/omp" in said and said.count("] killed") == 1 and "FAILED" not in said
    for name, rounds in (("seed1/omp", 2), ("seed2/omp", 2), ("seed2/class/sparse/retrain", 1)):
        log = output(slurm.folder / name)
        assert log.count("setup random seed") >= 2 and len(FIRST.findall(log)) == rounds, (
            log
        )  # started again, but not from the beginning
        assert ("stopped by SIG" in log) == (name != "seed1/omp"), log
    assert f"done     {CELLS} of {CELLS}\n" in local.end()

    ours, theirs = scores(slurm.folder), scores(local.folder)
    assert len(ours) == 12 and ours == theirs
    stored, expected = checkpoints(slurm.folder), checkpoints(local.folder)
    assert stored == expected and len(stored) >= CELLS
    tables = {}
    for sweep in (slurm, local):
        assert "missing" not in run(sys.executable, "main_report.py", str(sweep.folder), "--no_plots")
        tables[sweep] = [path.read_text() for path in sorted(sweep.folder.glob("*.md"))]
    assert len(tables[slurm]) == 2 and [rows(text) for text in tables[slurm]] == [rows(text) for text in tables[local]]
    for text in tables[slurm]:
        assert [row[0] for row in rows(text)[2:]] == ["Retrain", "FT", "GA"]
    with capsys.disabled():
        print("\n\n".join(["", *tables[slurm]]))
        print(
            f"{CELLS} runs on SLURM in {slurm.seconds:.0f} s: job {killed} (seed1/omp) killed, {requeued} "
            f"(seed2/omp) requeued, {out_of_time} "
            "(seed2/class/sparse/retrain) told that its time is up; all went on from their last epoch. "
            "The same beside it by --executor local in "
            f"{local.seconds:.0f} s: all {4 * len(ours)} scores and {len(stored)} checkpoints are equal to the bit."
        )


def test_a_population_as_job_arrays_of_several_cells_each_is_that_of_this_machine(tmp_path):
    file = tmp_path / "population.yaml"
    file.write_text(POPULATION)
    slurm = Sweep(tmp_path / "slurm", file, "slurm")
    said = slurm.end()
    assert "done     18 of 18\nfailed   0\nmissing  0\n" in said
    jobs = json.loads((slurm.folder / "jobs.json").read_text())
    assert len(jobs) == 18 and len(set(jobs.values())) == 1 + 6, "3 cells a job: 2 trainings, 16 of what is unlearned"
    local = Sweep(tmp_path / "local", file, "local", "--max_concurrent", "1")
    assert "done     18 of 18\n" in local.end()
    ours, theirs = scores(slurm.folder), scores(local.folder)
    assert len(ours) == 16 and ours == theirs
    assert checkpoints(slurm.folder) == checkpoints(local.folder)
    outputs = {path.parent.relative_to(slurm.folder) for path in slurm.folder.rglob("outputs.npz")}
    assert len(outputs) == 18
