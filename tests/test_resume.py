"""``--resume``: a training goes on from a stored one as its flags say, and what cannot be so is refused before work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DIGITS

import main_imp
from report import plots


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Curves are drawn by every round and looked at by no test here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "training_curves", lambda *arguments: None)
        yield


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> list[str]:
    """Words by which a script takes a few digits: 48 train, 16 validate and 16 test."""
    file = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(file, train=np.arange(0, 48), val=np.arange(48, 64), test=np.arange(16))
    return ["--split", str(file)]


@pytest.fixture(scope="module")
def dense(few, tmp_path_factory) -> Path:
    """Folder of a dense training of two epochs, which would go back to its initial weights."""
    folder = tmp_path_factory.mktemp("dense")
    assert main_imp.main([*DIGITS, *few, "--epochs", "2", "--batch_size", "64", "--save_dir", str(folder)]) == 0
    return folder


def resumed(few: list[str], checkpoint: Path, folder: Path, words: str) -> int:
    """The exit code of going on from a checkpoint with these flags."""
    typed = [*DIGITS, *few, "--batch_size", "64", "--resume", "--checkpoint", str(checkpoint), *words.split()]
    return main_imp.main([*typed, "--save_dir", str(folder)])


def changed(checkpoint: Path, path: Path, **entries: Any) -> Path:
    """A copy of a checkpoint with other entries; None takes one away."""
    content = {**torch.load(checkpoint), **entries}
    torch.save({key: value for key, value in content.items() if value is not None or key == "init_weight"}, path)
    return path


# --- the weights that pruning goes back to ---

PRUNED = "--pruning_times 2 --rate 0.5 --rewind_epoch"


def refused(few, checkpoint, folder, words, capsys) -> str:
    """The one line that says why, before anything is written."""
    assert resumed(few, checkpoint, folder, words) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and not (folder / "0checkpoint.pth.tar").exists()
    return captured.err


@pytest.mark.parametrize("words", [f"--epochs 4 {PRUNED} 1", f"--epochs 2 {PRUNED} 1", f"--epochs 4 {PRUNED} 2"])
def test_weights_of_an_epoch_that_is_over_cannot_be_gone_back_to(few, dense, tmp_path, words, capsys):
    checkpoint = dense / "0checkpoint.pth.tar"
    said = refused(few, checkpoint, tmp_path, words, capsys)
    epoch = words[-1]
    assert f"--checkpoint {checkpoint}: would go back to the initial weights, not to those after epoch {epoch}" in said
    assert "give --rewind_epoch 0" in said


def test_initial_weights_are_not_those_after_an_epoch(few, dense, tmp_path, capsys):
    recipe = {"prune": {"prune_type": "rewind_lt", "rewind_epoch": 1}}
    checkpoint = changed(dense / "0checkpoint.pth.tar", tmp_path / "one.pth.tar", recipe=recipe)
    said = refused(few, checkpoint, tmp_path / "run", f"--epochs 3 {PRUNED} 0", capsys)
    assert "would go back to those after epoch 1, not to the initial weights; give --rewind_epoch 1" in said


def test_weights_of_a_later_epoch_are_gone_back_to(few, dense, tmp_path):
    assert resumed(few, dense / "0checkpoint.pth.tar", tmp_path, f"--epochs 3 {PRUNED} 3") == 0
    wanted, found = (torch.load(tmp_path / name) for name in ("epoch_3_rewind_weight.pt", "1checkpoint.pth.tar"))
    assert all(torch.equal(value, found["init_weight"][key]) for key, value in wanted.items())


@pytest.mark.parametrize("kind", ["rewind_lt", "lt"])
def test_a_file_without_weights_to_go_back_to_is_refused(few, dense, tmp_path, kind, capsys):
    checkpoint = changed(dense / "0checkpoint.pth.tar", tmp_path / "none.pth.tar", init_weight=None)
    said = refused(few, checkpoint, tmp_path / "run", f"--epochs 2 {PRUNED} 0 --prune_type {kind}", capsys)
    assert f"--checkpoint {checkpoint}: holds no weights to go back to" in said and "--prune_type pt" in said


def test_a_file_that_does_not_say_which_weights_it_goes_back_to_is_believed(few, dense, tmp_path, capsys):
    checkpoint = changed(dense / "0checkpoint.pth.tar", tmp_path / "theirs.pth.tar", recipe=None)
    assert resumed(few, checkpoint, tmp_path / "run", f"--epochs 2 {PRUNED} 1") == 0
    told = f"warning: {checkpoint} does not say of which epoch its init_weight is; taken for those after epoch 1"
    assert told in capsys.readouterr().err
