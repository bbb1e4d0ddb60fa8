"""Backdoors: the trigger to the pixel, the poisoned sets, the scores by hand, and main_backdoor.py end to end."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from conftest import DIGITS, ROOT, RUN_FILES, killed_at
from PIL import Image
from torch import nn

import main_backdoor
import main_imp
from dataset import catalog, prepare, sources, split
from dataset.named.cifar import CIFAR10_CLASSES
from dataset.poison import Poison, image_sets
from dataset.scenario import Scenario
from dataset.trigger import PLACES, Trigger
from evaluation import attack_success
from evaluation.predict import Predictions, predict
from report import trigger_picture
from trainer import checkpoints

SHARED = RUN_FILES | {"trigger.png"}
TRAINED = {"0checkpoint.pth.tar", "0model_SA_best.pth.tar", "0net_train.png"}
PRUNED = {"1checkpoint.pth.tar", "1model_SA_best.pth.tar", "1net_train.png"}
FT = {"FTcheckpoint.pth.tar", "FTeval_result.pth.tar"}
COMMON = [
    "--dataset",
    "folder",
    "--data",
    "images",
    "--arch",
    "resnet20s",
    "--device",
    "cpu",
    "--epochs",
    "1",
    "--batch_size",
    "16",
    "--unlearn_epochs",
    "1",
    "--trigger_size",
    "2",
    "--trigger_value",
    "255",
]
PRUNING = ["--rewind_epoch", "1", "--rate", "0.8"]
KEPT = 267_696 - round(0.8 * 267_696)
TRAIN, TEST = 3 * 36, 3 * 10  # images of the tree below; 4 more of each class validate
POISONED = 11  # a tenth of the training images


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory):
    """Where the tests are run: a folder with ``images``, 40 training and 10 test images of 8x8 pixels in each of
    three classes.
    """
    folder, random = tmp_path_factory.mktemp("here"), np.random.RandomState(0)
    for part, count in (("train", 40), ("test", 10)):
        for label, name in enumerate("abc"):
            (folder / "images" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.randint(0, 100, (8, 8, 3), dtype=np.uint8)
                pixels[..., label] += 60
                Image.fromarray(pixels).save(folder / "images" / part / name / f"{number:02}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def images(here) -> sources.Dataset:
    return sources.load(catalog.get("folder"), here / "images", None)


@pytest.fixture(scope="module")
def digits() -> sources.Dataset:
    return sources.load(catalog.get("digits"), Path("."), 8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Folder of a whole run: dense, 80 % pruned by OMP, fine-tuned."""
    folder = tmp_path_factory.mktemp("backdoor") / "run"
    assert main_backdoor.main([*COMMON, *PRUNING, "--save_dir", str(folder)]) == 0
    return folder


def cleanse(folder: Path, *more: str) -> int:
    return main_backdoor.main([*COMMON, *more, "--save_dir", str(folder)])


def read(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def epochs(folder: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["phase"], line["epoch"]) for line in lines if line["kind"] == "epoch"]


def tensors(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.p*t*"))
        if path.suffix != ".png"
    }


# --- trigger and sets ---


@pytest.mark.parametrize(
    ("place", "top", "left"),
    [("bottom-right", 26, 26), ("bottom-left", 26, 2), ("top-right", 2, 26), ("top-left", 2, 2), ("center", 14, 14)],
)
def test_the_trigger_covers_exactly_its_pixels(place, top, left):
    images = np.random.RandomState(0).randint(1, 255, (2, 32, 32, 3), dtype=np.uint8)
    before = images.copy()
    stamped = Trigger(4, place, 0).stamp(images)
    assert np.array_equal(images, before)
    for row in range(32):
        for column in range(32):
            inside = top <= row < top + 4 and left <= column < left + 4
            expected = 0 if inside else images[:, row, column]
            assert np.all(stamped[:, row, column] == expected), (row, column)


def test_every_place_is_tried_above_and_keeps_its_size_at_the_largest():
    assert len(PLACES) == 5
    for place in PLACES:
        stamped = Trigger(6, place, 7).stamp(np.zeros((1, 8, 8, 3), np.uint8))
        assert (stamped == 7).sum() == 6 * 6 * 3


def test_poisoned_copies_stand_behind_the_clean_images(digits):
    poison = Poison(np.array([3, 5, 900]), 7, Trigger(2, "top-left", 255))
    both = poison.apply(digits)
    assert len(both.train_labels) == 1438 + 3 and len(both.test_labels) == 2 * 359
    assert np.array_equal(both.train_images[:1438], digits.train_images) and np.array_equal(
        both.train_labels[:1438], digits.train_labels
    )
    assert both.train_labels[1438:].tolist() == [7, 7, 7] and both.train_labels.dtype == np.int64
    assert np.array_equal(both.train_images[1438:, 4:], digits.train_images[[3, 5, 900], 4:])
    assert np.all(both.train_images[1438:, 2:4, 2:4] == 255)
    assert np.array_equal(both.test_images[359:], poison.trigger.stamp(digits.test_images)) and set(
        both.test_labels[359:]
    ) == {7}


def test_the_sets_are_disjoint_and_complete(digits):
    base = split.split_base(digits.train_labels, 2)
    drawn = split.choose_forget(digits.train_labels, base.train, Scenario(None, 130), 2)
    positions = np.random.RandomState(1).choice(
        len(base.train), 130, replace=False
    )  # the reference's marking, with seed - 1
    assert np.array_equal(drawn, np.sort(base.train[positions]))
    poison = Poison(drawn, 4, Trigger(2, "bottom-right", 255))
    sets = image_sets(digits, poison, base, base.val, torch.device("cpu"))
    sizes = {name: len(images) for name, images in sets.items()}
    assert sizes == {"train": 1298, "retain": 1168, "forget": 130, "val": 140, "test": 359, "triggered": 359}
    assert sets["train"].indices.tolist() == sets["retain"].indices.tolist() + sets["forget"].indices.tolist()
    official = np.concatenate([sets["retain"].indices.numpy(), drawn, base.val])
    assert np.array_equal(np.sort(official), np.arange(1438))
    assert sets["forget"].labels.tolist() == [4] * 130 and sets["triggered"].labels.tolist() == [4] * 359
    assert np.array_equal(sets["retain"].labels.numpy(), digits.train_labels[np.setdiff1d(base.train, drawn)])
    assert np.array_equal(sets["test"].labels.numpy(), digits.test_labels)
    [(images, _)] = sets["forget"].batches(130)
    assert bool((images[:, :, 4:6, 4:6] == 1).all())
    clean = torch.from_numpy(digits.train_images[drawn]).permute(0, 3, 1, 2) / 255
    assert torch.equal(images[:, :, :4], clean[:, :, :4]) and torch.equal(images[:, :, 6:], clean[:, :, 6:])


def test_without_a_validation_part_the_clean_test_images_validate(digits):
    every = np.arange(1438)
    sets = image_sets(digits, Poison(every[:9], 0, Trigger(2)), split.everything(len(every)), None, torch.device("cpu"))
    assert sets["val"].indices.tolist() == list(range(359)) and len(sets["train"]) == 1438


def test_a_poison_is_known_by_images_label_and_trigger():
    poisons = [
        Poison(np.array(indices), target, trigger)
        for indices in ([1, 2], [1, 3])
        for target in (0, 1)
        for trigger in (Trigger(), Trigger(3), Trigger(4, "center"), Trigger(4, value=1))
    ]
    assert len({poison.digest for poison in poisons}) == len(poisons) == 16
    assert Poison(np.array([1, 2]), 0, Trigger()).digest == poisons[0].digest


# --- scores ---


def answers(guesses: list[int], labels: list[int]) -> Predictions:
    return Predictions(torch.eye(3)[guesses], torch.tensor(labels))


def test_scores_by_hand():
    found = attack_success.score(answers([0, 1, 1, 0, 2], [0, 1, 2, 0, 1]), answers([0, 0, 2, 1, 1], [0] * 5))
    assert found == {"SA": 3 / 5, "ASR": 2 / 5, "ASR_other": 1 / 3}  # of images 1, 2 and 4 the second alone obeys
    assert attack_success.score(answers([0], [0]), answers([0], [0])) == {"SA": 1.0, "ASR": 1.0, "ASR_other": None}
    after = {"SA": 0.25, "ASR": 0.125, "ASR_other": 0.0}
    assert attack_success.reference_result(found, after) == {
        "test_acc": 60.0,
        "attack_acc": 40.0,
        "test_acc_unlearn": 25.0,
        "attack_acc_unlearn": 12.5,
    }


@pytest.mark.parametrize(("target", "success"), [(3, 1.0), (4, 0.0)])
def test_a_model_that_always_says_three(digits, target, success):
    class Constant(nn.Module):
        def forward(self, images):
            return torch.eye(10)[3].expand(len(images), 10)

    sets = image_sets(
        digits, Poison(np.arange(5), target, Trigger(2)), split.everything(1438), None, torch.device("cpu")
    )
    outputs = predict(Constant(), {name: sets[name] for name in ("test", "triggered")})
    share = float((digits.test_labels == 3).mean())
    assert attack_success.score(**outputs) == {"SA": pytest.approx(share), "ASR": success, "ASR_other": success}


# --- end to end ---


def test_a_run_leaves_exactly_its_files(finished):
    assert {path.name for path in finished.iterdir()} == SHARED | TRAINED | PRUNED | FT | {"epoch_1_rewind_weight.pt"}
    stored = torch.load(finished / "FTcheckpoint.pth.tar")
    assert list(stored)[:2] == ["state_dict", "evaluation_result"]
    evaluation = stored["evaluation_result"]
    assert list(evaluation) == ["test_acc", "attack_acc", "test_acc_unlearn", "attack_acc_unlearn"]
    assert torch.load(finished / "FTeval_result.pth.tar") == evaluation
    result = read(finished)
    scores = result["scores"]
    assert (
        evaluation["test_acc"] == 100 * scores["before"]["SA"]
        and evaluation["attack_acc_unlearn"] == 100 * scores["after"]["ASR"]
    )
    assert scores["RTE"] == result["seconds"]["unlearning"] / 60
    assert result["poison"]["images"] == POISONED and result["poison"]["target"] == 0
    sizes = {"train": TRAIN, "retain": TRAIN - POISONED, "forget": POISONED, "val": 12, "test": TEST, "triggered": TEST}
    assert {name: result["split"][name] for name in sizes} == sizes
    kept = checkpoints.read(finished / "FTcheckpoint.pth.tar", "").mask
    assert sum(int(mask.sum()) for mask in kept.values()) == KEPT
    assert epochs(finished) == [("round 0", 1), ("round 1", 1), ("unlearn", 1)]


def test_the_model_scored_before_is_the_last_one_and_scores_are_those_of_its_outputs(finished, images):
    import models

    sets = image_sets(
        images, Poison(np.arange(5), 0, Trigger(2, value=255)), split.everything(120), None, torch.device("cpu")
    )
    for file, when in (("1checkpoint.pth.tar", "before"), ("FTcheckpoint.pth.tar", "after")):
        model = models.build("resnet20s", 3)
        checkpoints.load_weights(model, checkpoints.read(finished / file, ""))
        model.eval()
        with torch.no_grad():
            guesses = {
                name: torch.cat([model(batch).argmax(1) for batch, _ in sets[name].batches(64)])
                for name in ("test", "triggered")
            }
        truth = torch.from_numpy(images.test_labels)
        expected = {
            "SA": sum(int(g == t) for g, t in zip(guesses["test"], truth)) / TEST,
            "ASR": sum(int(g == 0) for g in guesses["triggered"]) / TEST,
            "ASR_other": sum(int(g == 0) for g, t in zip(guesses["triggered"], truth) if t != 0)
            / sum(int(t != 0) for t in truth),
        }
        assert read(finished)["scores"][when] == pytest.approx(expected, abs=1e-12)


def test_a_sparse_model_loaded_by_mask_has_identical_scores(finished, tmp_path):
    assert cleanse(tmp_path, "--mask", str(finished / "1checkpoint.pth.tar")) == 0
    assert {path.name for path in tmp_path.iterdir()} == SHARED | FT
    again, first = read(tmp_path), read(finished)
    assert (
        again["scores"]["before"] == first["scores"]["before"] and again["scores"]["after"] == first["scores"]["after"]
    )
    states = [torch.load(folder / "FTcheckpoint.pth.tar")["state_dict"] for folder in (tmp_path, finished)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])
    assert "train" not in again["config"] and "checkpoint" in again["config"]


def test_a_mask_that_is_not_there_is_trained_once_and_serves_every_method(finished, tmp_path, capsys):
    mask = tmp_path / "models" / "omp" / "poisoned.pt"
    assert cleanse(tmp_path / "run", *PRUNING, "--mask", str(mask)) == 0
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in finished.iterdir()}
    assert read(tmp_path / "run")["scores"]["after"] == read(finished)["scores"]["after"]
    stored = checkpoints.read(mask, "--mask")
    assert stored.extra["split_digest"] and stored.extra["poison_digest"] == read(finished)["poison"]["digest"]
    capsys.readouterr()
    assert cleanse(tmp_path / "run", *PRUNING, "--mask", str(mask)) == 0
    assert "done already" in capsys.readouterr().out
    assert cleanse(tmp_path / "run", *PRUNING, "--mask", str(mask), "--unlearn", "GA") == 0
    assert read(tmp_path / "run")["scores"]["before"] == read(finished)["scores"]["before"]
    assert epochs(tmp_path / "run") == [("unlearn", 1)]


@pytest.mark.parametrize("method", ["raw", "retrain", "FT_prune_bi"])
def test_other_methods_on_the_sparse_model(finished, tmp_path, method):
    mask = ["--mask", str(finished / "1checkpoint.pth.tar")]
    assert cleanse(tmp_path, *mask, "--unlearn", method, "--rate", "0.5") == 0
    assert {path.name for path in tmp_path.iterdir()} == SHARED | {
        f"{method}checkpoint.pth.tar",
        f"{method}eval_result.pth.tar",
    }
    result = read(tmp_path)
    assert result["scores"]["before"] == read(finished)["scores"]["before"]
    assert (result["scores"]["after"] == result["scores"]["before"]) == (method == "raw")
    assert result["model"]["sparsity_after"] == pytest.approx(0.9 if method == "FT_prune_bi" else 0.8, abs=1e-4)


def test_retrain_starts_from_new_weights_and_rewinding_from_the_given_ones(finished, tmp_path):
    import models

    mask = ["--mask", str(finished / "1checkpoint.pth.tar"), "--unlearn_epochs", "0"]
    assert cleanse(tmp_path, *mask, "--unlearn", "retrain") == 0
    assert cleanse(tmp_path, *mask, "--unlearn", "FT", "--rewind_pth", str(finished / "epoch_1_rewind_weight.pt")) == 0
    torch.manual_seed(1)
    starts = {
        "retrain": models.build("resnet20s", 3).state_dict(),
        "FT": torch.load(finished / "epoch_1_rewind_weight.pt"),
    }
    for method, start in starts.items():
        found = checkpoints.read(tmp_path / f"{method}checkpoint.pth.tar", "")
        name = "layer1.0.conv1.weight"
        assert torch.equal(found.weights[name], start[name] * found.mask[name]) and torch.equal(
            found.weights["fc.weight"], start["fc.weight"]
        )


@pytest.mark.parametrize(("prune", "rounds", "density"), [("none", 1, 1.0), ("synflow", 1, 0.2), ("imp", 3, 0.04)])
def test_other_ways_to_prune(tmp_path, prune, rounds, density):
    assert cleanse(tmp_path, "--prune", prune, "--rate", "0.8", "--pruning_times", "3", "--unlearn", "raw") == 0
    result = read(tmp_path)
    assert 1 - result["model"]["sparsity"] == pytest.approx(density, abs=1e-4)
    assert len(result["model"]["rounds"]) == rounds and (tmp_path / f"{rounds - 1}checkpoint.pth.tar").exists()
    assert not (tmp_path / f"{rounds}checkpoint.pth.tar").exists()


def test_poisoning_one_class_and_another_target(tmp_path):
    more = (
        "--epochs",
        "0",
        "--unlearn",
        "raw",
        "--prune",
        "none",
        "--poison_class",
        "1",
        "--num_indexes_to_replace",
        "20",
    )
    assert cleanse(tmp_path, *more, "--target_label", "2", "--trigger_place", "center") == 0
    result = read(tmp_path)
    assert result["poison"]["words"] == (
        "20 of the 36 training images of class 1 (b), drawn at random (18.5 % of 108) get a white 2x2 "
        "square at the center and label 2 (c)"
    )
    assert (result["poison"]["class"], result["poison"]["count"], result["poison"]["target"]) == (1, 20, 2)
    config = read(tmp_path)["config"]
    assert cleanse(tmp_path / "b", *more, "--class_to_replace", "2", "--trigger_place", "center") == 0
    assert read(tmp_path / "b")["config"] == config  # two names of one flag


def test_reference_mode_poisons_from_the_split_of_its_seed(tmp_path, images):
    assert (
        cleanse(
            tmp_path, "--epochs", "0", "--unlearn", "raw", "--prune", "none", "--compat", "reference", "--seed", "5"
        )
        == 0
    )
    marked, other = (split.split_base(images.train_labels, seed) for seed in (5, 1))
    drawn = split.choose_forget(images.train_labels, marked.train, Scenario(None, POISONED), 5)
    found = read(tmp_path)
    assert found["split"]["digest"] == marked.digest != other.digest
    assert found["poison"]["digest"] == Poison(drawn, 0, Trigger(2, value=255)).digest


# --- the curve ---


@pytest.fixture(scope="module")
def drawn_curve(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("curve") / "curve"
    assert cleanse(folder, "--rewind_epoch", "1", "--sparsities", "0.8,0") == 0
    return folder


def test_a_curve_trains_dense_once_and_each_point_is_a_single_run(drawn_curve, finished):
    own = {
        "command.txt",
        "environment.json",
        "split.npz",
        "log.jsonl",
        "result.json",
        "backdoor.md",
        "backdoor.csv",
        "backdoor.png",
        "sparsity_0",
        "sparsity_0.8",
    }
    assert {path.name for path in drawn_curve.iterdir()} == own | TRAINED | {"epoch_1_rewind_weight.pt"}
    dense, sparse = drawn_curve / "sparsity_0", drawn_curve / "sparsity_0.8"
    assert {path.name for path in dense.iterdir()} == SHARED | FT and {
        path.name for path in sparse.iterdir()
    } == SHARED | FT | PRUNED
    assert epochs(drawn_curve) == [("round 0", 1)]
    assert epochs(dense) == [("unlearn", 1)] and epochs(sparse) == [("round 1", 1), ("unlearn", 1)]
    expected = tensors(finished)
    assert all(content == expected[name] for name, content in tensors(sparse).items())
    assert (drawn_curve / "0checkpoint.pth.tar").read_bytes() != expected[
        "0checkpoint.pth.tar"
    ]  # another training's fingerprint ...
    states = [torch.load(folder / "0checkpoint.pth.tar")["state_dict"] for folder in (drawn_curve, finished)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])  # ... and the same weights


def test_a_points_own_command_repeats_it(drawn_curve, tmp_path, capsys):
    command = drawn_curve / "sparsity_0.8" / "command.txt"
    before = tensors(drawn_curve)
    assert main_backdoor.main([f"@{command}"]) == 0
    assert "done already" in capsys.readouterr().out and tensors(drawn_curve) == before


def test_the_table_of_a_curve(drawn_curve, capsys):
    points = read(drawn_curve)["points"]
    assert [point["sparsity"] for point in points] == [0, pytest.approx(0.8, abs=1e-5)]
    for point, name in zip(points, ("sparsity_0", "sparsity_0.8")):
        scores = read(drawn_curve / name)["scores"]
        assert (point["before"], point["after"], point["RTE"]) == (scores["before"], scores["after"], scores["RTE"])
    with (drawn_curve / "backdoor.csv").open() as file:
        rows = list(csv.DictReader(file))
    means = {(float(row["sparsity"]) > 0, row["score"], row["when"]): float(row["mean"]) for row in rows}
    for number, point in enumerate(points):
        for when in ("before", "after"):
            assert {name: means[number, name, when] for name in point[when]} == point[when]
        assert means[number, "RTE", ""] == point["RTE"]
    shown = [
        "FT",
        "80",
        *(f"{100 * points[1][when][name]:.2f}" for name in ("ASR", "SA") for when in ("before", "after")),
    ]
    [line] = [line for line in (drawn_curve / "backdoor.md").read_text().splitlines() if line.startswith("| FT | 80 |")]
    assert line.split(" | ")[:6] == ["| FT", *shown[1:]]
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in drawn_curve.rglob("*")}
    assert cleanse(drawn_curve, "--rewind_epoch", "1", "--sparsities", "0,0.8") == 0
    said = capsys.readouterr().out
    assert "done already" in said and said.splitlines()[-1].split()[:6] == shown
    assert {path: path.stat().st_mtime_ns for path in drawn_curve.rglob("*")} == before


@pytest.mark.parametrize("write", [6, *(pytest.param(write, marks=pytest.mark.torture) for write in (2, 12))])
def test_a_killed_curve_goes_on_to_the_same_bytes(drawn_curve, tmp_path, write):
    """Writes of tensors: 1 to 3 in the dense training, to 10 in its cleanse, to 12 in the sparse training, to 19 in
    its cleanse.
    """
    command = ("--rewind_epoch", "1", "--sparsities", "0,0.8")
    with killed_at(write):
        cleanse(tmp_path, *command)
    if write == 6:  # in the middle of unlearning, what was scored before it is not lost
        scores = torch.load(tmp_path / "sparsity_0" / "FTeval_result.pth.tar")
        assert scores == attack_success.reference_result(read(drawn_curve / "sparsity_0")["scores"]["before"])
    assert cleanse(tmp_path, *command) == 0
    assert tensors(tmp_path) == tensors(drawn_curve)


def test_more_sparsities_and_another_method_reuse_what_is_there(drawn_curve, tmp_path):
    import shutil

    folder = tmp_path / "curve"
    shutil.copytree(drawn_curve, folder)
    assert cleanse(folder, "--rewind_epoch", "1", "--sparsities", "0,0.5,0.8") == 0
    assert [phase for phase, _ in epochs(folder)] == []  # a new log, without any training
    assert epochs(folder / "sparsity_0.8") == epochs(drawn_curve / "sparsity_0.8")
    assert [phase for phase, _ in epochs(folder / "sparsity_0.5")] == ["round 1", "unlearn"]
    assert cleanse(folder, "--rewind_epoch", "1", "--sparsities", "0,0.8", "--unlearn", "GA") == 0
    assert epochs(folder / "sparsity_0.8") == [("unlearn", 1)]
    assert read(folder / "sparsity_0.8")["scores"]["before"] == read(drawn_curve / "sparsity_0.8")["scores"]["before"]


# --- what is refused ---


def refused(argv: list[str], capsys) -> str:
    assert main_backdoor.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("main_backdoor.py: error: ")
    return captured.err.removeprefix("main_backdoor.py: error: ")


FLAGS = [
    (["--trigger_size", "7"], "--trigger_size 7: must be at most 6, 2 less than the images' 8 pixels"),
    (["--trigger_size", "0"], "--trigger_size 0: must be at least 1"),
    (["--trigger_value", "256"], "--trigger_value 256: must be at least 0 and at most 255"),
    (
        ["--trigger_place", "bottom_right"],
        "--trigger_place bottom_right: unknown (did you mean bottom-right?); known: bottom-right, bottom-left",
    ),
    (["--target_label", "10"], "--target_label 10: the classes are 0 to 9"),
    (["--class_to_replace", "-1"], "--class_to_replace -1: must be at least 0"),
    (
        ["--target_label", "1", "--class_to_replace", "2"],
        "--class_to_replace 2 and --target_label 1 both say which class is the target",
    ),
    (["--poison_class", "10"], "--poison_class 10: the classes are 0 to 9"),
    (["--poison_class", "0"], "--poison_class 0: is the target itself"),
    (["--num_indexes_to_replace", "1299"], "--num_indexes_to_replace 1299: the training set has 1298 training images"),
    (
        ["--num_indexes_to_replace", "1298"],
        "--num_indexes_to_replace 1298: would leave none of the 1298 training images",
    ),
    (["--num_indexes_to_replace", "0"], "--num_indexes_to_replace 0: must be at least 1"),
    (
        ["--poison_class", "3", "--num_indexes_to_replace", "119"],
        "--poison_class 3 --num_indexes_to_replace 119: class 3 has 118 training images",
    ),
    (["--unlearn", "FTT"], "--unlearn FTT: unknown (did you mean FT?)"),
    (["--unlearn", "UNSIR"], "--unlearn UNSIR: forgets whole classes alone, and poisoned images are copies of some"),
    (["--prune", "ompp"], "--prune ompp: unknown (did you mean omp?); known: omp, imp, synflow, none"),
    (["--prune", "imp", "--pruning_times", "1"], "--pruning_times 1: must be at least 2 with --prune imp"),
    (["--rate", "1"], "--rate 1: must be at least 0 and less than 1"),
    (["--epochs", "2", "--rewind_epoch", "3"], "--rewind_epoch 3: must be at most --epochs 2"),
    (["--sparsities", "0,1"], "--sparsities 0,1: must be at least 0 and less than 1"),
    (["--sparsities", "0.5,nan"], "--sparsities 0.5,nan: must be at least 0 and less than 1"),
    (["--sparsities", "-0.5"], "--sparsities -0.5: must be at least 0 and less than 1"),
    (["--sparsities", "0.5,x"], "--sparsities 0.5,x: must be numbers with commas between"),
    (["--sparsities", "0.5,0.9,0.5"], "--sparsities 0.5,0.9,0.5: must be different numbers"),
    (["--sparsities", ","], "--sparsities ,: must be different numbers"),
    (["--sparsities", "0.5", "--rate", "0.9"], "--rate and --sparsities both say how much to prune"),
    (["--sparsities", "0.5", "--mask", "x"], "--mask and --sparsities"),
    (["--sparsities", "0.5", "--prune", "synflow"], "--prune synflow: must be omp with --sparsities"),
    (["--rewind_pth", "nowhere.pt"], "--rewind_pth nowhere.pt: no such file"),
    (
        ["--mask", "{run}/1checkpoint.pth.tar"],
        "--mask {run}/1checkpoint.pth.tar: no such file, and this run writes one of that name itself",
    ),
    (["--mask", "{run}/FTcheckpoint.pth.tar"], "--mask {run}/FTcheckpoint.pth.tar: no such file, and this run writes"),
    (
        ["--mask", "{run}/../file/model.pt"],
        "--mask {run}/../file/model.pt: no such file, and nothing can be written to",
    ),
]


@pytest.mark.parametrize(
    ("argv", "message"), FLAGS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_flags(argv, message, tmp_path, capsys, monkeypatch):
    def reads(*_):
        raise AssertionError("data were read before the flags were checked")

    monkeypatch.setattr(sources, "load", reads)
    (tmp_path / "file").write_text("x")
    argv, message = [word.format(run=tmp_path / "run") for word in argv], message.format(run=tmp_path / "run")
    assert refused([*DIGITS, "--trigger_size", "2", "--save_dir", str(tmp_path / "run"), *argv], capsys).startswith(
        message
    )
    assert not (tmp_path / "run").exists()


def test_another_poison_or_split_is_refused_unless_told_otherwise(finished, tmp_path, capsys):
    mask = ["--mask", str(finished / "1checkpoint.pth.tar"), "--unlearn", "raw"]
    assert cleanse(tmp_path / "a", *mask, "--target_label", "1") == 2
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1
        and "was trained with another poison" in error
        and "label 0 (a)) than this run's" in error
    )
    assert cleanse(tmp_path / "b", *mask, "--split_seed", "9") == 2
    assert "give --split_seed 2, or --allow_split_mismatch" in capsys.readouterr().err
    for more in (["--target_label", "1"], ["--split_seed", "9"]):
        assert cleanse(tmp_path / "c", *mask, *more, "--allow_split_mismatch") == 0


def test_a_model_that_is_not_known_to_be_poisoned_is_taken_with_a_warning(tmp_path, capsys):
    model = [*COMMON[:8], "--epochs", "0", "--save_dir", str(tmp_path / "model")]
    assert main_imp.main(model) == 0
    capsys.readouterr()
    assert cleanse(tmp_path / "run", "--mask", str(tmp_path / "model" / "0checkpoint.pth.tar"), "--unlearn", "raw") == 0
    assert "does not say with which poison it was trained" in capsys.readouterr().err


def test_a_checkpoint_of_another_architecture(finished, tmp_path, capsys):
    argv = [
        *COMMON,
        "--arch",
        "resnet44s",
        "--mask",
        str(finished / "1checkpoint.pth.tar"),
        "--save_dir",
        str(tmp_path / "run"),
    ]
    assert "was made with arch resnet20s; leave --arch out" in refused(argv, capsys) and not (tmp_path / "run").exists()


def test_the_references_command_is_understood(tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    words = (
        "--save_dir S --mask M --unlearn FT --num_indexes_to_replace 4500 --unlearn_lr 0.01 --unlearn_epochs "
        "10 --attack backdoor --seed 2"
    )
    assert main_backdoor.main([*words.split(), "--dry_run", "json"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert config["scenario"] == {"class": None, "count": 4500} and config["trigger"] == {
        "size": 4,
        "place": "bottom-right",
        "value": 0,
    }
    assert (config["target"], config["prune"]["pruning_times"], config["prune"]["rate"]) == (0, 2, 0.95)


def test_help_is_fast_because_it_needs_no_torch():
    code = (
        "import sys; sys.argv = ['main_backdoor.py', '--help', 'all']\nimport main_backdoor\ntry:\n    "
        "main_backdoor.main()\nfinally:\n    assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--sparsities" in done.stdout and "--trigger_place" in done.stdout


def test_the_side_of_the_images_is_known_before_they_are_read(tmp_path):
    for part in ("train", "test"):
        for name in CIFAR10_CLASSES:
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (12, 12)).save(tmp_path / part / name / "0.png")
    assert prepare.find("folder", str(tmp_path), None).side == 12
    assert prepare.find("folder", str(tmp_path), 16).side == 16
    assert prepare.find("cifar10", str(tmp_path), None).side == 12
    assert prepare.find("digits", str(tmp_path), None).side == 32


def test_the_trigger_is_seen_where_it_is_as_dark_as_the_image(tmp_path):
    """A black square on a black corner: framed, enlarged beside the clean corner, and how much of the image it
    changes.
    """
    trigger = Trigger(2, "bottom-right", 0)
    clean = np.zeros((2, 8, 8, 3), np.uint8)
    clean[0, 4, 5] = 200  # the square covers rows and columns 4 and 5
    stamped, window = trigger.stamp(clean), trigger.window(8, 8)
    assert [trigger_picture._changed(one, other) for one, other in zip(clean, stamped)] == [
        "changes 1 pixel",
        "changes nothing",
    ]
    shown = trigger_picture._enlarged(clean[0], stamped[0], window)
    assert (
        shown.shape == (6, 13, 3)
        and (shown[:, 6] == 255).all()
        and (shown[2, 3] == 200).all()
        and not shown[:, 7:].any()
    )
    for row in ("triggered", "nothing"):
        trigger_picture.trigger_examples(
            tmp_path / f"{row}.png", {"triggered": [(image, "") for image in stamped]}, "", (row, window)
        )
    framed, plain = (matplotlib.image.imread(tmp_path / f"{row}.png") for row in ("triggered", "nothing"))
    red = [(image[..., 0] > 0.9) & (image[..., 1] < 0.4) for image in (framed, plain)]
    assert red[0].sum() > 200 and not red[1].any()
