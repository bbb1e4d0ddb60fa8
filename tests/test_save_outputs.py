"""``--save_outputs``: what it writes, that it changes nothing else, and that a finished run adds it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS, OMP

import arg_parser
import main_forget
import main_imp
from dataset import prepare
from dataset.scenario import Scenario
from dataset.sources import Dataset
from dataset.split import BaseSplit, everything
from evaluation.populations import outputs
from evaluation.populations.scaled_logit import scaled_logit
from trainer import checkpoints, margins, rounds
from trainer import training as pretraining
from unlearn import apply as unlearning

QUICK = ["--batch_size", "128", "--unlearn_epochs", "1", "--save_outputs"]


def data() -> Dataset:
    return prepare.find("digits", None, 8).load()


def slow(file: Path) -> np.ndarray:
    """Margins of all images by the weights in a file, in float32, one batch of plain images after the other."""
    known = data()
    setup = pretraining.set_up(arg_parser.parse_imp([*OMP, "--save_dir", "x"]))
    model = setup.network.model(known)
    checkpoints.load_weights(model, checkpoints.read(file, "test"))
    model.eval()
    parts = []
    for images, labels in ((known.train_images, known.train_labels), (known.test_images, known.test_labels)):
        with torch.inference_mode():
            logits = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
        parts.append(scaled_logit(logits.numpy(), labels))
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def trained(omp_run, tmp_path_factory) -> Path:
    """A copy of a finished training, asked for its outputs, which trains nothing again."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    shutil.copytree(omp_run, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds.Rounds, "run", lambda self: pytest.fail("trains again"))
        assert main_imp.main([*OMP, "--save_dir", str(folder), "--save_outputs"]) == 0
    return folder


def test_a_finished_training_adds_a_file_for_each_round(omp_run, trained):
    assert {path.name for path in trained.iterdir()} - {path.name for path in omp_run.iterdir()} == {
        "outputs.npz",
        "0outputs.npz",
        "last_outputs.npz",
        "0last_outputs.npz",
    }
    assert (trained / "result.json").read_bytes() == (omp_run / "result.json").read_bytes()
    mark = json.loads((trained / "result.json").read_text())["fingerprint"]
    files = {
        "0outputs.npz": ("0model_SA_best.pth.tar", f"{mark}-0"),
        "outputs.npz": ("1model_SA_best.pth.tar", f"{mark}-1"),
        "0last_outputs.npz": ("0checkpoint.pth.tar", f"{mark}-0-last"),
        "last_outputs.npz": ("1checkpoint.pth.tar", f"{mark}-1-last"),
    }
    for name, (model, run) in files.items():
        found = outputs.read(trained / name)
        assert (found.kind, found.run, found.data, found.pair) == ("original", run, data().digest, (2, 0))
        np.testing.assert_allclose(found.margin, slow(trained / model), rtol=1e-4, atol=1e-4)
        split = np.load(trained / "split.npz")
        assert np.flatnonzero(found.retain).tolist() == split["train"].tolist() and not found.forget.any()


def test_a_training_writes_them_itself(tmp_path):
    words = [*DIGITS, "--epochs", "1", "--batch_size", "256", "--save_dir", str(tmp_path), "--save_outputs"]
    assert main_imp.main(words) == 0
    content = (tmp_path / "outputs.npz").read_bytes()
    (tmp_path / "outputs.npz").unlink()
    assert main_imp.main(words) == 0
    assert (tmp_path / "outputs.npz").read_bytes() == content


def forget(folder: Path, trained: Path, *words: str) -> int:
    mask = ["--mask", str(trained / "1model_SA_best.pth.tar")]
    return main_forget.main([*DIGITS, *mask, *words, "--save_dir", str(folder)])


def scores(folder: Path) -> dict:
    content = json.loads((folder / "result.json").read_text())
    timed = {"finished", "seal", "seconds", "memory", "environment"}
    found = {key: value for key, value in content.items() if key not in timed}
    found["scores"].pop("RTE")
    return found


@pytest.mark.parametrize("method", ["FT", "retrain"])
def test_an_unlearned_model_says_what_it_forgot(trained, tmp_path, method):
    """A whole class is forgotten, whose test images are in none of the run's sets."""
    words = ["--unlearn", method, "--forget", "class:3", *QUICK]
    assert forget(tmp_path / "with", trained, *words) == 0
    found, split, known = (
        outputs.read(tmp_path / "with" / "outputs.npz"),
        np.load(tmp_path / "with" / "split.npz"),
        data(),
    )
    assert found.kind == ("retrained" if method == "retrain" else "unlearned") and found.pair == (2, 3)
    assert found.run == json.loads((tmp_path / "with" / "result.json").read_text())["fingerprint"]
    for name in ("retain", "forget"):
        assert np.flatnonzero(getattr(found, name)).tolist() == split[name].tolist()
    assert len(split["test"]) < len(known.test_labels) and found.never.sum() == len(found.margin) - len(split["train"])
    expected = slow(tmp_path / "with" / f"{method}checkpoint.pth.tar")
    np.testing.assert_allclose(found.margin, expected, rtol=1e-4, atol=1e-4)


def test_a_finished_run_adds_the_same_bytes_and_scores_stay(trained, tmp_path, monkeypatch):
    words = ["--unlearn", "FT", "--forget", "class:3", *QUICK]
    for place, flags in (("with", words), ("without", words[:-1])):
        assert forget(tmp_path / place, trained, *flags) == 0
    assert scores(tmp_path / "with") == scores(tmp_path / "without")
    monkeypatch.setattr(unlearning, "_plainly", lambda *given: pytest.fail("unlearns again"))
    for place in ("with", "without"):
        assert forget(tmp_path / place, trained, *words) == 0
    assert (tmp_path / "without" / "outputs.npz").read_bytes() == (tmp_path / "with" / "outputs.npz").read_bytes()


def test_another_methods_run_in_the_folder_takes_nothing_away(trained, tmp_path):
    words = ["--forget", "random:0.1", *QUICK]
    assert forget(tmp_path, trained, "--unlearn", "FT", *words) == 0
    first = (tmp_path / "outputs.npz").read_bytes()
    assert forget(tmp_path, trained, "--unlearn", "raw", *words[:2], "--save_outputs") == 0
    [shelf] = (tmp_path / "earlier").iterdir()
    assert (shelf / "outputs.npz").read_bytes() == first != (tmp_path / "outputs.npz").read_bytes()
    (shelf / "outputs.npz").unlink()
    assert forget(tmp_path, trained, "--unlearn", "FT", *words) == 0  # its model still lies in the folder
    assert (shelf / "outputs.npz").read_bytes() == first


def test_a_model_that_is_gone_is_one_line(trained, tmp_path, capsys):
    words = ["--unlearn", "FT", "--forget", "random:0.1", *QUICK]
    assert forget(tmp_path, trained, *words[:-1]) == 0
    file = tmp_path / "FTcheckpoint.pth.tar"
    content = torch.load(file)
    torch.save({**content, "fingerprint": "0" * 16}, file)
    capsys.readouterr()
    assert forget(tmp_path, trained, *words) == 2
    assert "FTcheckpoint.pth.tar is not this run's model any more; give the command another" in capsys.readouterr().err
    file.unlink()
    assert forget(tmp_path, trained, *words) == 2
    assert "FTcheckpoint.pth.tar is not there; give the command another --save_dir" in capsys.readouterr().err


def test_a_model_that_diverged_leaves_none(trained, tmp_path, monkeypatch, capsys):
    """A margin that is no number is no error of the run, which is done and says so."""
    monkeypatch.setattr(margins, "scaled_logit", lambda logits, labels: np.full(len(labels), np.inf, np.float32))
    assert forget(tmp_path, trained, "--unlearn", "FT", "--forget", "class:3", *QUICK) == 0
    assert f"no {tmp_path / 'outputs.npz'}: the model's margins are too large for float32" in capsys.readouterr().err
    assert not (tmp_path / "outputs.npz").exists() and (tmp_path / "result.json").exists()


def test_a_model_that_saw_more_images_is_refused(trained, tmp_path, capsys):
    """The reference trains on split 1 and forgets images of split 2."""
    words = ["--compat", "reference", "--split_seed", "1", "--allow_split_mismatch", "--forget", "random:0.1", *QUICK]
    assert forget(tmp_path, trained, "--unlearn", "retrain", *words) == 2
    said = capsys.readouterr().err
    assert "--save_outputs: the model was trained on images that are neither retained nor forgotten" in said


# --- Numbers and digests ---


def setup_of(*words: str):
    return pretraining.set_up(arg_parser.parse_imp([*DIGITS, "--save_dir", "x", *words]))


def test_the_numbers_of_splits_and_forget_sets():
    base, given = everything(100, 5), BaseSplit(np.arange(50), None)
    seeds, both = setup_of("--seed", "7"), setup_of("--seed", "7", "--split_seed", "5")
    some = Scenario(None, 10)
    assert margins.numbers(seeds, base) == (5, 0) and margins.numbers(seeds, base, some) == (5, 7)
    assert margins.numbers(both, base, some) == (5, 7)
    assert margins.numbers(both, base, Scenario((3,), None)) == (5, 3)
    assert margins.numbers(both, base, Scenario((3,), 10)) == (5, 7)
    two, three = (margins.numbers(both, base, Scenario(labels, None)) for labels in ((1, 2), (1, 3)))
    assert two[0] == three[0] == 5 and two[1] != three[1]
    listed, other = (Scenario(None, None, places) for places in ((1, 2), (1, 3)))
    assert margins.numbers(both, base, listed)[1] == margins.numbers(seeds, given, listed)[1]
    assert margins.numbers(both, base, listed)[1] != margins.numbers(both, base, other)[1]
    assert margins.numbers(seeds, given)[0] == int(given.digest[:8], 16)
    assert margins.numbers(setup_of("--split", "lira:12:3"), given, listed) == (12, 3)


def test_the_digest_tells_data_sets_apart(tmp_path):
    known = data()
    assert known.digest == data().digest
    images = known.train_images.copy()
    images[3, 2, 2, 0] ^= 1
    labels = known.test_labels.copy()
    labels[0] += 1
    others = [replace(known, train_images=images), replace(known, test_labels=labels)]
    assert len({one.digest for one in (known, *others)}) == 3
    paths = [np.array([f"{root}/train/a/{name}.png".encode() for name in "xy"]) for root in ("/one", "/elsewhere/two")]
    streamed = [replace(known, train_images=one, test_images=one, streamed=32) for one in paths]
    assert streamed[0].digest == streamed[1].digest
    assert replace(streamed[0], train_images=paths[0][::-1]).digest != streamed[0].digest
