"""Signs of life: which cells of a sweep are how far, how long the rest takes, and how long a first epoch."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from test_sweep import FT, MODEL, RETRAIN, WHOLE, stated

from sweep import grid, progress, spec
from sweep.state import State
from trainer import pulse
from utils import files


@pytest.fixture
def sweep(tmp_path):
    read = spec.read(stated(tmp_path, WHOLE), str(tmp_path / "runs"))
    cells = grid.cells(read)
    return State(read, cells), {cell.name: cell for cell in cells}


def at_work(cell, printed, **status):
    cell.folder.mkdir(parents=True, exist_ok=True)
    (cell.folder / "output.txt").write_text(printed)
    files.write_json(cell.folder / "status.json", {"status": "running", **status})


def test_each_running_cell_says_its_epoch(sweep):
    state, cells = sweep
    at_work(cells[RETRAIN], "header\nunlearn  epoch  3/10  lr 0.01  loss 0.1\n")
    at_work(cells[FT], "main_forget.py: FT\n")
    told = progress.Progress(state, SimpleNamespace(at_once=2), {})
    assert (
        told.line([cells[RETRAIN], cells[FT]], [])
        == f"running:  {RETRAIN} (unlearn, epoch 3/10), {FT} (starting or scoring)"
    )
    assert told.line([cells[MODEL]], []) == "running:  nothing yet, 1 waiting"


def test_the_time_left_is_that_of_finished_cells_of_the_same_kind(sweep):
    state, cells = sweep
    told = progress.Progress(state, SimpleNamespace(at_once=1), {})
    assert told.seconds([cells[RETRAIN]]) is None, "nothing has finished"
    for name, took in ((MODEL, 600.0), (RETRAIN, 100.0)):
        at_work(cells[name], "", seconds=took)
        state.mark(cells[name])
    assert told.seconds([cells[FT]]) == 100.0, "another method of the same script, not the training"
    assert told.line([], [cells[FT]]).endswith("; about 100 s left") is False
    assert told.line([], [cells[FT]]).endswith("; about 2 min left")
    running = progress.Progress(state, SimpleNamespace(at_once=1), {FT: time.monotonic() - 40})
    assert running.seconds([cells[FT]]) == pytest.approx(60, abs=1)
    two = progress.Progress(state, SimpleNamespace(at_once=2), {})
    assert two.seconds([cells[FT], cells[RETRAIN]]) == 100.0, "side by side"
    assert [progress.duration(value) for value in (89, 90, 5399, 5400)] == ["89 s", "2 min", "90 min", "1.5 h"]


def test_a_long_first_epoch_says_how_long_it_takes(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(pulse.time, "perf_counter", lambda: now[0])

    def lines(first, shown, seconds_a_step, steps):
        now[0] = 0.0
        beat = pulse.Pulse(0, 4, steps, first, shown)
        for step in range(steps):
            now[0] += seconds_a_step
            beat.beat(step)
        return capsys.readouterr().out.splitlines()

    assert lines(True, True, 3, 100) == ["epoch 1/4: 4 of 100 steps in 12 s; about 5.0 min an epoch, 20 min to go"]
    assert lines(True, True, 0.1, 100) == [] == lines(True, False, 3, 100) == lines(False, True, 3, 100)
    assert len(lines(False, True, 30, 100)) == 4, "every ten minutes"
