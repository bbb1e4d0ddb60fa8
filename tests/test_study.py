"""A population study that is killed again and again, on two machines, and ends in the tables of an undisturbed one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import apart
import pytest
from test_sweep import Here, stated

import main_report
import main_sweep
from report.runs import read
from sweep import executors

STUDY = """
    folder: nowhere
    population: {{lira: {{splits: {splits}, forgets: {forgets}}}}}
    resources: {{gpus: 0}}
    flags: {{dataset: digits, input_size: 8, arch: resnet20s, batch_size: 128}}
    train: {{omp: {{script: main_imp.py, epochs: 1, pruning_times: {rounds}, rate: 0.8, rewind_epoch: 1}}}}
    models: {models}
    methods: {methods}
"""
SHORT = {
    "rounds": 1,
    "models": "{dense: omp/0/last}",
    "methods": "{retrain: {unlearn_epochs: 1}, FT: {unlearn_epochs: 1}}",
}
LONG = {
    "rounds": 2,
    "models": "{dense: omp/0/last, sparse: omp/1/last}",
    "methods": "{retrain: {unlearn_epochs: 1}, FT: {unlearn_epochs: 2}, GA: {unlearn_epochs: 1}, raw: }",
}
PATIENCE = 900  # seconds for one call of the sweep


class Study:
    """``main_sweep.py`` at work in a folder, called as often as it needs.

    Args:
        home: for the file and what is printed.
        numbers: of splits and forget sets.
    """

    def __init__(self, home: Path, name: str, numbers: dict, size: dict, at_once: int = 1):
        self.at_once = at_once
        self.home, self.folder = home / name, home / name / "runs"
        self.home.mkdir()
        self.file = stated(self.home, STUDY.format(**numbers, **size))

    def call(self, ready=None) -> int | None:
        """Its exit code; None if it was killed as soon as ``ready()``."""
        child = os.fork()
        if child == 0:
            words = [str(self.file), "--folder", str(self.folder), "--max_concurrent", str(self.at_once)]
            apart._child(lambda: main_sweep.main(words), self.home, PATIENCE)
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if ready is not None and ready():
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None
            time.sleep(0.02)

    def kill_cells(self) -> None:
        """Kill the processes that run cells, too, as a machine does that loses its power."""
        for path in self.folder.glob("**/status.json"):
            status = read(path)
            if status.get("status") == "running":
                due = time.monotonic() + 20
                with suppress(ProcessLookupError):
                    while time.monotonic() < due:  # until it is gone, and its lock with it
                        os.kill(int(status["job"]), signal.SIGKILL)
                        time.sleep(0.02)

    def said(self) -> str:
        return (self.home / "said.out").read_text() + (self.home / "said.err").read_text()


def tables(folder: Path) -> dict[str, list[list[str]]]:
    """Printed tables by file, without the columns of the time taken."""
    assert main_report.main([str(folder), "--no_plots"]) == 0
    found = {}
    for path in sorted(folder.glob("*.md")):
        lines = [line.strip("|").split("|") for line in path.read_text().splitlines() if line.startswith("|")]
        kept = [place for place, head in enumerate(lines[0]) if "RTE" not in head]
        found[path.name] = [[line[place].strip() for place in kept] for line in lines]
    return found


def merged(folders: list[Path], into: Path) -> Path:
    """What two machines left, copied into one folder."""
    for folder in folders:
        shutil.copytree(folder, into, dirs_exist_ok=True, copy_function=shutil.copy)
    return into


def check_merged(tmp_path: Path, whole: Study, cells: int) -> None:
    """The merged folder is complete for the whole file, and gives the tables of the undisturbed study."""
    expected = tables(whole.folder)
    shutil.move(whole.folder, tmp_path / "undisturbed")
    merged([tmp_path / "first" / "runs", tmp_path / "second" / "runs"], whole.folder)
    assert whole.call() == 0, whole.said()
    assert f"{cells} runs, {cells} done" in whole.said() and "] done" not in whole.said()
    assert tables(whole.folder) == expected and len(expected) >= 1
    assert all(row[-1] != "-" for text in expected.values() for row in text)


@pytest.mark.torture
def test_a_study_that_is_killed_on_one_of_two_machines_ends_in_the_same_table(tmp_path, one_thread):
    """Cells that are not killed run without a process of their own, which would have to import torch."""
    whole = Study(tmp_path, "whole", {"splits": [0, 1], "forgets": 1}, SHORT)
    first = Study(tmp_path, "first", {"splits": [0], "forgets": 1}, SHORT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(executors.EXECUTORS, "local", Here)
        assert whole.call() == 0, whole.said()
    shutil.copytree(whole.folder / "split1", tmp_path / "second" / "runs" / "split1")
    assert first.call(lambda: list(first.folder.glob("**/0checkpoint.pth.tar"))) is None
    first.kill_cells()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(executors.EXECUTORS, "local", Here)
        assert first.call() == 0, first.said()
    check_merged(tmp_path, whole, 6)


@pytest.mark.torture
def test_a_study_of_two_hundred_cells_survives_ten_kills_at_random_moments(tmp_path):
    draw = random.Random(20)
    whole = Study(tmp_path, "whole", {"splits": 10, "forgets": 3}, LONG, 2)
    began = time.monotonic()
    assert whole.call() == 0, whole.said()
    took = time.monotonic() - began
    for name, splits in (("first", [*range(5)]), ("second", [*range(5, 10)])):
        study = Study(tmp_path, name, {"splits": splits, "forgets": 3}, LONG, 2)
        for kill in range(5):
            due = time.monotonic() + draw.uniform(0, took / 6)
            assert study.call(lambda due=due: time.monotonic() > due) in (None, 0)
            if kill % 2:
                study.kill_cells()
        assert study.call() == 0, study.said()
    check_merged(tmp_path, whole, 10 + 10 * 3 * 2 * 4)
