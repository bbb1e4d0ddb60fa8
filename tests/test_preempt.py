"""Signals of a scheduler: the script ends with code 75, and the same command ends in the same bytes."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import torch
from conftest import DIGITS, before_step, omp

import main_forget
import main_imp
from trainer.loop import Training
from utils import files, preempt
from utils.errors import RunError, script

IMP = omp(epochs=2, batch_size=256, milestone=1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main_imp.main([*IMP, "--save_dir", str(folder / "model")]) == 0
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.p*t*")) if path.suffix != ".png"}


@pytest.mark.parametrize(
    "step, number",  # an epoch has 6 steps
    [
        (9, signal.SIGUSR1),
        pytest.param(3, signal.SIGTERM, marks=pytest.mark.torture),
        pytest.param(16, signal.SIGUSR2, marks=pytest.mark.torture),
    ],
)
def test_training_goes_on_to_the_same_bytes(undisturbed, tmp_path, monkeypatch, capsys, step, number):
    before_step(step, monkeypatch, lambda: os.kill(os.getpid(), number))
    command = [*IMP, "--save_dir", str(tmp_path / "model")]
    assert main_imp.main(command) == 75
    name = signal.Signals(number).name
    assert (
        capsys.readouterr().err
        == f"main_imp.py: stopped by {name}; the same command goes on from the last finished epoch\n"
    )
    assert not (tmp_path / "model" / "result.json").exists() and not list((tmp_path / "model").glob(".*"))
    assert main_imp.main(command) == 0
    assert contents(tmp_path / "model") == contents(undisturbed / "model")


def test_run_time_counts_active_seconds_only(undisturbed, tmp_path, monkeypatch):
    """The clock jumps by a million seconds while the run is stopped, and as much in the epoch that is given up."""
    mask = undisturbed / "model" / "1model_SA_best.pth.tar"
    command = [
        *DIGITS,
        "--mask",
        str(mask),
        "--unlearn",
        "FT",
        "--unlearn_epochs",
        "3",
        "--batch_size",
        "256",
        "--save_dir",
    ]
    assert main_forget.main([*command, str(tmp_path / "whole")]) == 0
    original, count, ahead = Training.advance, 0, 0.0
    clock = time.perf_counter

    def lost(self, *arguments):
        nonlocal count, ahead
        count += 1
        if count == 9:  # the second epoch of three
            ahead += 1e6
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, *arguments)

    monkeypatch.setattr(Training, "advance", lost)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + ahead)
    assert main_forget.main([*command, str(tmp_path / "cut")]) == 75
    ahead += 1e6
    assert main_forget.main([*command, str(tmp_path / "cut")]) == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    spent = json.loads((tmp_path / "cut" / "result.json").read_text())["seconds"]["unlearning"]
    logged = [json.loads(line) for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    epochs = {line["epoch"]: line["seconds"] for line in logged if line["kind"] == "epoch"}
    assert list(epochs) == [1, 2, 3] and sum(epochs.values()) <= spent < sum(epochs.values()) + 60


def test_a_file_is_finished_before_the_signal_is_answered(tmp_path, monkeypatch):
    original = os.replace

    def interrupted(source, target):
        os.kill(os.getpid(), signal.SIGTERM)
        original(source, target)

    monkeypatch.setattr(os, "replace", interrupted)

    @script
    def main(argv):
        files.write_text(tmp_path / "file", "whole")
        raise AssertionError("went on")

    assert main(None) == preempt.RESUMABLE
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "whole"


def test_nothing_in_between_catches_it_and_the_outermost_script_answers():
    @script
    def inner(argv):
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(1)
        except Exception:  # noqa: BLE001
            return 1

    @script
    def outer(argv):
        return inner(None)

    before = signal.getsignal(signal.SIGUSR1)
    assert outer(None) == 75
    assert signal.getsignal(signal.SIGUSR1) is before and preempt.asked() is not None


def test_a_second_signal_changes_nothing_and_errors_stay_errors():
    @script
    def twice(argv):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # as SLURM does when the time is up

    assert twice(None) == 75

    @script
    def failing(argv):
        with preempt.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RunError("full disk")

    assert failing(None) == 1


def test_processes_that_read_images_do_not_answer(tmp_path):
    @script
    def main(argv):
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.2)
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert main(None) == 7


def test_a_checkpoint_says_how_it_was_trained_but_for_its_seeds(undisturbed, tmp_path):
    stored = torch.load(undisturbed / "model" / "1checkpoint.pth.tar")["recipe"]
    assert stored["script"] == "main_imp.py" and stored["train"]["epochs"] == 2 and stored["prune"]["rate"] == 0.8
    assert "seed" not in stored["run"] and "train_seed" not in stored["run"] and stored["run"]["compat"] == "fixed"
    mask = str(undisturbed / "model" / "0model_SA_best.pth.tar")
    assert main_forget.main([*DIGITS, "--mask", mask, "--unlearn", "raw", "--save_dir", str(tmp_path)]) == 0
    model = json.loads((tmp_path / "result.json").read_text())["model"]
    assert model["round"] == 0 and model["recipe"]["train"]["epochs"] == 2
