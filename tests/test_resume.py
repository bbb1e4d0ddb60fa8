"""``--resume``: a training goes on from a stored one as its flags say, and what cannot be so is refused before work."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import DIGITS
from PIL import Image

import main_imp
import main_synflow
from report import plots
from trainer import rounds
from utils import files


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
    assert (
        f"--checkpoint {checkpoint}: would go back to the initial weights, not to the weights after epoch {epoch}"
        in said
    )
    assert "give --rewind_epoch 0" in said


def test_initial_weights_are_not_those_after_an_epoch(few, dense, tmp_path, capsys):
    recipe = {"prune": {"prune_type": "rewind_lt", "rewind_epoch": 1}}
    checkpoint = changed(dense / "0checkpoint.pth.tar", tmp_path / "one.pth.tar", recipe=recipe)
    said = refused(few, checkpoint, tmp_path / "run", f"--epochs 3 {PRUNED} 0", capsys)
    assert "would go back to the weights after epoch 1, not to the initial weights; give --rewind_epoch 1" in said


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
    told = f"warning: {checkpoint} does not say of which epoch its init_weight is; taken for the weights after epoch 1"
    assert told in capsys.readouterr().err


# --- step sizes and moments ---


def last(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "0checkpoint.pth.tar")


def test_flags_rule_the_epochs_that_are_left(few, dense, tmp_path):
    words = "--epochs 4 --lr 0.01 --momentum 0.5 --weight_decay 0 --decreasing_lr 3"
    assert resumed(few, dense / "0checkpoint.pth.tar", tmp_path, words) == 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    sizes = {line["epoch"]: line["lr"] for line in lines if line["kind"] == "epoch"}
    assert sizes == pytest.approx({3: 0.01, 4: 0.001})
    [group] = last(tmp_path)["optimizer"]["param_groups"]
    assert (group["momentum"], group["weight_decay"], group["initial_lr"]) == (0.5, 0, 0.01)
    assert last(tmp_path)["scheduler"]["milestones"] == {3: 1} and last(tmp_path)["scheduler"]["last_epoch"] == 4


def test_the_same_flags_end_where_a_training_in_one_go_ends(few, dense, tmp_path):
    words = "--epochs 3 --decreasing_lr 1"  # as of the two epochs
    assert resumed(few, dense / "0checkpoint.pth.tar", tmp_path / "two", words) == 0
    whole = [*DIGITS, *few, "--batch_size", "64", *words.split(), "--save_dir", str(tmp_path / "one")]
    assert main_imp.main(whole) == 0
    for key in ("optimizer", "scheduler", "result", "best_sa", "init_weight", "state_dict"):
        one, two = (pickled(last(tmp_path / name)[key]) for name in ("one", "two"))
        assert one == two, key
    names = ["0model_SA_best.pth.tar"] * 2
    one, two = (torch.load(tmp_path / folder / name) for folder, name in zip(("one", "two"), names))
    assert one["epoch"] == two["epoch"] and pickled(one["state_dict"]) == pickled(two["state_dict"])


def pickled(content: Any) -> bytes:
    return files.torch_bytes({"content": content})


def test_another_optimizer_cannot_take_the_epochs_that_are_left(few, dense, tmp_path, capsys):
    checkpoint = dense / "0checkpoint.pth.tar"
    said = refused(few, checkpoint, tmp_path, "--epochs 3 --optimizer adamw --lr 0.001", capsys)
    assert f"--optimizer adamw: --checkpoint {checkpoint} was trained by another one; give that" in said


def test_another_optimizer_may_take_the_next_round(few, dense, tmp_path):
    words = "--epochs 1 --optimizer adamw --lr 0.001 --pruning_times 2"
    assert resumed(few, dense / "0checkpoint.pth.tar", tmp_path, words) == 0
    assert "betas" in torch.load(tmp_path / "1checkpoint.pth.tar")["optimizer"]["param_groups"][0]


def test_a_mask_that_was_made_otherwise_is_refused(few, tmp_path, capsys):
    words = [*DIGITS, *few, "--epochs", "1", "--batch_size", "64", "--score", "magnitude", "--rate"]
    assert main_synflow.main([*words, "0.9", "--save_dir", str(tmp_path / "a")]) == 0
    checkpoint = tmp_path / "a" / "0checkpoint.pth.tar"
    more = ["--resume", "--checkpoint", str(checkpoint), "--save_dir", str(tmp_path / "b"), "--dry_run"]
    capsys.readouterr()
    assert main_synflow.main([*words, "0.95", *more]) == 2
    assert f"--rate 0.95: is not how the mask of --checkpoint {checkpoint} was made; give --rate 0.9," in (
        capsys.readouterr().err
    )
    assert main_synflow.main([*words, "0.9", *more]) == 0
    assert "training that goes on with 10.00 % of the prunable weights" in capsys.readouterr().out


def test_synflow_does_not_go_on_from_a_training_that_pruned_otherwise(few, dense, tmp_path, capsys):
    words = [*DIGITS, *few, "--rate", "0.9", "--resume", "--checkpoint", str(dense / "0checkpoint.pth.tar")]
    assert main_synflow.main([*words, "--save_dir", str(tmp_path), "--dry_run"]) == 2
    assert "was not pruned before training; go on with main_imp.py" in capsys.readouterr().err


# --- the best epoch ---


@pytest.fixture
def first_is_best(monkeypatch):
    """Validation after every epoch, by its number from 1: the first epoch is the best."""
    reached = [0.9, 0.3, 0.5, 0.4]
    monkeypatch.setattr(rounds.Rounds, "_validate", lambda self, done: reached[done.epoch - 1])


@pytest.fixture
def begun(few, first_is_best, tmp_path) -> Path:
    """The checkpoint after two epochs, of which the first was the best."""
    words = [*DIGITS, *few, "--epochs", "2", "--batch_size", "64", "--save_dir", str(tmp_path / "begun")]
    assert main_imp.main(words) == 0
    return tmp_path / "begun" / "0checkpoint.pth.tar"


def best(folder: Path, round_: int = 0) -> dict[str, Any]:
    return torch.load(folder / f"{round_}model_SA_best.pth.tar")


@pytest.mark.parametrize("epochs", [2, 4])
def test_the_best_epoch_so_far_is_taken_along(few, begun, tmp_path, epochs):
    assert resumed(few, begun, tmp_path / "on", f"--epochs {epochs}") == 0
    found, stored = best(tmp_path / "on"), best(begun.parent)
    assert found["epoch"] == stored["epoch"] == 1 and found["best_sa"] == 90
    assert all(torch.equal(value, found["state_dict"][key]) for key, value in stored["state_dict"].items())
    result = json.loads((tmp_path / "on" / "result.json").read_text())
    assert found["fingerprint"] == last(tmp_path / "on")["fingerprint"] != stored["fingerprint"]
    assert result["rounds"][0]["best_val"] == 0.9 and last(tmp_path / "on")["epoch"] == epochs


def test_a_best_epoch_that_is_gone_is_sought_anew(few, begun, tmp_path, capsys):
    (begun.parent / "0model_SA_best.pth.tar").unlink()
    assert resumed(few, begun, tmp_path / "on", "--epochs 4") == 0
    assert (best(tmp_path / "on")["epoch"], best(tmp_path / "on")["best_sa"]) == (3, 50)
    told = f"warning: beside {begun} is no 0model_SA_best.pth.tar of its best epoch; the best is sought from epoch 2 on"
    assert told in capsys.readouterr().out


def test_pruning_goes_back_to_the_best_dense_weights_that_were_taken_along(few, begun, tmp_path, capsys):
    words = "--epochs 0 --pruning_times 2 --rate 0.5 --prune_type pt"
    assert resumed(few, begun, tmp_path / "on", words) == 0
    wanted, found = best(begun.parent)["state_dict"], best(tmp_path / "on", 1)["state_dict"]
    kept = found["conv1.weight_mask"]
    assert torch.equal(found["conv1.weight_orig"] * kept, wanted["conv1.weight"] * kept)
    # From round 1 on they are looked for beside it at once.
    on = tmp_path / "on"
    capsys.readouterr()
    (on / "0model_SA_best.pth.tar").unlink()
    later = "--epochs 0 --pruning_times 3 --rate 0.5 --prune_type pt"
    said = refused(few, on / "1checkpoint.pth.tar", tmp_path / "third", later, capsys)
    assert f"--prune_type pt: --checkpoint {on / '1checkpoint.pth.tar'} is of round 1; 0model_SA_best.pth.tar" in said


def test_without_validation_images_the_last_epoch_is_the_best(tmp_path, capsys):
    """Six images train of each class, too few to set a tenth aside."""
    random = np.random.default_rng(0)
    for part, label, number in itertools.product(("train", "test"), "ab", range(6)):
        (tmp_path / "tree" / part / label).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "tree" / part / label / f"{number}.png")
    words = ["--dataset", "folder", "--data", str(tmp_path / "tree"), *DIGITS[2:], "--batch_size", "12", "--save_dir"]
    assert main_imp.main([*words, str(tmp_path / "a"), "--epochs", "2"]) == 0
    assert best(tmp_path / "a")["epoch"] == 2
    assert "no validation images: the best epoch of a round is its last one" in capsys.readouterr().out
    more = ["--resume", "--checkpoint", str(tmp_path / "a" / "0checkpoint.pth.tar")]
    assert main_imp.main([*words, str(tmp_path / "b"), "--epochs", "3", *more]) == 0
    assert best(tmp_path / "b")["epoch"] == 3
