"""Removing source classes and probing what is left on a target: heads by hand, the script to its exact files."""

from __future__ import annotations

import csv
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import DIGITS, RUN_FILES, killed_at
from PIL import Image
from torch import nn

import main_forget
import main_report
import main_transfer
import models
from dataset import catalog, prepare, scenario, sources
from dataset.data_flags import Data
from dataset.images import ImageSet, scale
from evaluation.predict import Predictions
from report import transfer_table
from trainer import checkpoints
from trainer.training_flags import Model
from transfer import probe
from transfer.point import probe as carry_over
from transfer.transfer_flags import FullProbe, LinearProbe
from unlearn.apply import Unlearned
from unlearn.context import Progress
from utils.errors import UsageError, renamed
from utils.log import Log
from utils.run_flags import Run

OUTPUT = {"transfer.md", "transfer.csv", "transfer.png"}
FAST = ["--unlearn_epochs", "1", "--batch_size", "64"]
TEST_IMAGES = 359


@pytest.fixture(scope="module")
def shades(tmp_path_factory):
    """A target of three classes: noisy images of 12x12 pixels, dark, grey and light; 6 to train on, 3 to test with."""
    root, random = tmp_path_factory.mktemp("target") / "shades", np.random.RandomState(0)
    for part, count in (("train", 6), ("test", 3)):
        for name, level in (("dark", 40), ("grey", 120), ("light", 200)):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = (level + random.randint(-35, 36, (12, 12, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def sparse(omp_run):
    return omp_run / "1model_SA_best.pth.tar"


def run(folder, mask, target, *more):
    return main_transfer.main(
        [*DIGITS, "--mask", str(mask), "--target", str(target), *FAST, *more, "--save_dir", str(folder)]
    )


@pytest.fixture(scope="module")
def linear_run(tmp_path_factory, sparse, shades):
    """Digits without 0, 1 and 3 classes, in the order 7, 0, 4; l1-sparse, linear probe."""
    folder = tmp_path_factory.mktemp("linear") / "run"
    assert run(folder, sparse, shades, "--removed", "3,0,1", "--removal_order", "7,0,4") == 0
    return folder


def result(folder):
    return json.loads((folder / "result.json").read_text())


def names(folder):
    return {path.name for path in folder.iterdir()}


def accuracy(weights, classes, images, labels):
    """Without views, batches or folded batch norm."""
    model = models.build("resnet20s", classes)
    model.load_state_dict(weights)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2) / 255).float())
    return float(np.mean(logits.argmax(1).numpy() == labels))


# ---- heads ----------------------------------------------------------------------------------------


def some_images(count=6, side=32, classes=3):
    pixels = torch.randint(
        0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return ImageSet(pixels, torch.arange(count) % classes)


@pytest.mark.parametrize(
    ("arch", "name", "width"),
    [
        ("resnet18", "fc", 512),
        ("resnet20s", "fc", 64),
        ("vgg16_bn", "classifier.4", 256),
        ("vgg16_bn_lth", "classifier", 512),
    ],
)
def test_features_times_the_head_are_the_models_own_logits(arch, name, width):
    torch.manual_seed(0)
    model, images = models.build(arch, 10), some_images()
    found, layer = models.named_head(model)
    assert found == name and layer.out_features == 10
    features = probe.features(model, images)
    assert features.logits.shape == (6, width) and features.labels.tolist() == [0, 1, 2, 0, 1, 2]
    with torch.no_grad():
        own = model.eval()(scale(images.images))
        assert torch.allclose(layer(features.logits.clone()), own, atol=1e-4)
    assert models.named_head(model)[1] is layer, "the model itself keeps its head"


def test_a_new_head_depends_on_the_seed_alone():
    model = models.build("resnet20s", 10)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (probe.new_head(model, 4, seed) for seed in (1, 1, 0))
    assert torch.equal(torch.get_rng_state(), before)
    assert (
        first.weight.shape == (4, 64)
        and torch.equal(first.weight, again.weight)
        and not torch.equal(first.weight, other.weight)
    )
    carried = probe.with_head(model, first)
    assert carried.fc is first and carried.conv1 is not model.conv1 and model.fc.out_features == 10


def test_a_model_without_a_linear_layer_has_no_head():
    with pytest.raises(ValueError, match="Sequential has no linear layer"):
        models.named_head(nn.Sequential(nn.Conv2d(3, 2, 1)))


def test_a_head_of_two_points_by_hand():
    """x = 3 and 5 standardise to -1 and 1; the minimum of 2 log(1 + exp(-w)) + l2 w^2 / 2 has w l2 = 2 / (1 +
    exp(w)).
    """
    found = Predictions(torch.tensor([[3.0], [5.0]]), torch.tensor([0, 1]))
    for l2 in (0.1, 1.0, 7.0):
        low, high = 0.0, 50.0
        for _ in range(100):
            w = (low + high) / 2
            low, high = (w, high) if w * l2 < 2 / (1 + math.exp(w)) else (low, w)
        layer, converged = probe.fit_head(found, 2, l2)
        assert converged and layer.weight.flatten().tolist() == pytest.approx([0, w], abs=1e-3)  # standard deviation 1
        assert layer.bias.tolist() == pytest.approx([0, -4 * w], abs=4e-3)  # the boundary is at 4


def spread(count=90, width=5, classes=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    return Predictions(torch.randn(count, width, generator=random) + 0.7 * F.one_hot(labels, width), labels)


def test_the_head_is_at_the_minimum_it_claims():
    found, l2 = spread(), 2.0
    layer, _ = probe.fit_head(found, 3, l2)
    mean, deviation = found.logits.double().mean(0), found.logits.double().std(0, correction=0)
    weight = (layer.weight.detach().double() * deviation).requires_grad_()
    bias = (layer.bias.detach().double() + layer.weight.detach().double() @ mean).requires_grad_()
    logits = (found.logits.double() - mean) / deviation @ weight.T + bias
    (F.cross_entropy(logits, found.labels, reduction="sum") + l2 / 2 * weight.square().sum()).backward()
    assert max(float(weight.grad.abs().max()), float(bias.grad.abs().max())) < 0.05  # of 90 images' summed loss


@pytest.mark.parametrize("classes", [2, 3])
def test_scale_and_shift_of_the_features_do_not_matter(classes):
    found = spread(classes=classes)
    layer, _ = probe.fit_head(found, classes, 1.0)
    stretch, shift = torch.tensor([1e-3, 1.0, 50.0, 1e3, 7.0]), torch.tensor([0.0, -3.0, 10.0, 0.0, 1.0])
    moved = Predictions(found.logits * stretch + shift, found.labels)
    other, _ = probe.fit_head(moved, classes, 1.0)
    assert torch.allclose(layer(found.logits).softmax(1), other(moved.logits).softmax(1), atol=1e-3)


def test_features_that_say_nothing_get_no_weight():
    """A dead feature is 0 everywhere; one that is constant but for rounding must not be blown up to noise."""
    found = spread()
    rounding = 8.0 + 1e-6 * torch.randint(-1, 2, (90, 1), generator=torch.Generator().manual_seed(1))
    wide = Predictions(torch.cat([found.logits, torch.zeros(90, 1), rounding], 1), found.labels)
    layer, _ = probe.fit_head(wide, 3, 1.0)
    plain, _ = probe.fit_head(found, 3, 1.0)
    assert layer.weight[:, 5:].abs().max() < 1e-4 and torch.allclose(layer.weight[:, :5], plain.weight, atol=1e-3)


# ---- the classes to remove ------------------------------------------------------------------------


def test_classes_by_name_and_number():
    assert scenario.numbers(("dog", "0", "2"), ("cat", "dog", "eel"), "--x") == (1, 0, 2)
    assert scenario.numbers(("10", "2"), ("1", "10", "2"), "--x") == (1, 2), "a name comes before a number"
    for typed, message in (
        (("dgo",), "--x dgo: unknown (did you mean dog?); known: cat, dog, eel"),
        (("3",), "--x 3: the classes are 0 to 2"),
        (("dog", "1"), "--x 1: class 1 (dog) is there twice"),
    ):
        with pytest.raises(UsageError) as error:
            scenario.numbers(typed, ("cat", "dog", "eel"), "--x")
        assert str(error.value) == message


def test_names_are_known_before_an_image_is_read(shades, tmp_path):
    assert prepare.find("folder", str(shades), None).names == ("dark", "grey", "light")
    with pytest.raises(
        UsageError,
        match=r"has 3 classes \(dark, grey, light, ...\), cifar10 has 10 \(airplane, .*; give --dataset folder",
    ):
        prepare.find("cifar10", str(shades), None)
    assert prepare.find("cifar10", str(tmp_path), None).names[3] == "cat"
    assert (
        prepare.find("cifar100", str(tmp_path), None).names[99] == "worm"
        and len(prepare.find("cifar100", str(tmp_path), None).names) == 100
    )
    assert prepare.find("digits", None, None).names == tuple("0123456789")


def dry(capsys, sparse, *more):
    assert run("unused", sparse, "unused", "--target_dataset", "digits", *more, "--dry_run", "json") == 0
    return json.loads(capsys.readouterr().out)


def test_the_order_is_drawn_from_the_seed_or_read(capsys, sparse, tmp_path):
    orders = [
        dry(capsys, sparse, "--removed", k, "--seed", seed)["removal_order"]
        for k, seed in (("9", "2"), ("3", "2"), ("9", "3"))
    ]
    assert len(set(orders[0])) == 9 and set(orders[0]) < set(range(10))
    assert orders[1] == orders[0][:3] and orders[2] != orders[0]
    (tmp_path / "order.txt").write_text("4\n 2,9\n")
    assert dry(capsys, sparse, "--removal_order", str(tmp_path / "order.txt"))["removal_order"] == [
        4,
        2,
    ]  # 2 are needed
    config = dry(capsys, sparse, "--removed", "2,0")
    assert config["removed"] == [0, 2] and config["hyper"]["alpha"] == 1e-4 and config["method"] == "FT_prune"


# ---- the script -----------------------------------------------------------------------------------


def test_linear_leaves_exactly_its_files(linear_run):
    assert names(linear_run) == RUN_FILES | OUTPUT | {"removed_0", "removed_1", "removed_3"}
    for count in (0, 1, 3):
        assert names(linear_run / f"removed_{count}") == RUN_FILES | {
            "FT_prunecheckpoint.pth.tar",
            "FT_prunetarget.pth.tar",
        }
    assert (linear_run / "transfer.png").read_bytes().startswith(b"\x89PNG")


def test_removed_classes_leave_the_source(linear_run):
    train, test = [136, 145, 129, 118, 133, 139, 135, 123, 115, 125], np.bincount(digits().test_labels)
    for count, classes in ((0, []), (1, [7]), (3, [7, 0, 4])):
        found = result(linear_run / f"removed_{count}")
        assert found["removed"] == {"count": count, "classes": classes, "names": [str(c) for c in classes]}
        forget = sum(train[c] for c in classes)
        assert (found["split"]["forget"], found["split"]["retain"]) == (forget, 1298 - forget)
        assert found["split"]["test"] == TEST_IMAGES - sum(test[c] for c in classes)
        assert (found["accuracy"]["forget"] is None) == (count == 0)


def digits():
    return sources.load(catalog.get("digits"), None, 8)


def test_source_accuracy_is_that_of_the_stored_model_on_the_remaining_classes(linear_run):
    data = digits()
    for count, classes in ((0, []), (1, [7]), (3, [7, 0, 4])):
        stored = checkpoints.read(linear_run / f"removed_{count}" / "FT_prunecheckpoint.pth.tar", "")
        left = ~np.isin(data.test_labels, classes)
        slow = accuracy(stored.weights, 10, data.test_images[left], data.test_labels[left])
        assert result(linear_run / f"removed_{count}")["accuracy"]["source"] == pytest.approx(slow, abs=1e-9)


def test_target_accuracy_is_that_of_the_stored_model_on_the_targets_test_images(linear_run, shades):
    paths = [path for name in ("dark", "grey", "light") for path in sorted((shades / "test" / name).iterdir())]
    images = [np.asarray(Image.open(path).resize((8, 8), Image.Resampling.BILINEAR)) for path in paths]
    for count in (0, 1, 3):
        folder = linear_run / f"removed_{count}"
        stored = checkpoints.read(folder / "FT_prunetarget.pth.tar", "")
        slow = accuracy(stored.weights, 3, np.stack(images), np.repeat(range(3), 3))
        assert result(folder)["accuracy"]["target"] == stored.extra["accuracy"] == pytest.approx(slow) and slow > 0.6
        assert stored.extra["classes"] == ["dark", "grey", "light"]
        body = checkpoints.read(folder / "FT_prunecheckpoint.pth.tar", "")
        assert all(
            torch.equal(body.weights[key], value) for key, value in stored.weights.items() if not key.startswith("fc.")
        )


def test_nothing_removed_is_the_model_as_main_forget_scores_it(linear_run, sparse, tmp_path):
    argv = [*DIGITS, "--mask", str(sparse), "--unlearn", "raw", "--forget", "random:0.1", "--save_dir", str(tmp_path)]
    assert main_forget.main(argv) == 0
    assert result(linear_run / "removed_0")["accuracy"]["source"] == result(tmp_path)["accuracy"]["test"]
    given, kept = (
        checkpoints.read(path, "") for path in (sparse, linear_run / "removed_0" / "FT_prunecheckpoint.pth.tar")
    )
    assert (
        all(torch.equal(given.weights[key], kept.weights[key]) for key in given.weights)
        and kept.mask.keys() == given.mask.keys()
    )
    assert result(linear_run / "removed_0")["seconds"]["unlearning"] == 0


def test_a_model_without_classes_is_the_one_main_forget_makes(linear_run, sparse, tmp_path):
    argv = [*DIGITS, *FAST, "--mask", str(sparse), "--unlearn", "FT_prune", "--forget", "class:0,4,7"]
    argv += ["--save_dir", str(tmp_path)]
    assert main_forget.main(argv) == 0
    theirs, ours = (
        checkpoints.read(folder / "FT_prunecheckpoint.pth.tar", "") for folder in (tmp_path, linear_run / "removed_3")
    )
    assert all(torch.equal(theirs.weights[key], ours.weights[key]) for key in theirs.weights)
    assert theirs.extra["forget_digest"] == ours.extra["forget_digest"]
    scores, found = result(tmp_path)["accuracy"], result(linear_run / "removed_3")["accuracy"]
    assert (found["source"], found["forget"]) == (scores["test"], scores["forget"])


def test_table(linear_run, capsys):
    lines = list(csv.DictReader((linear_run / "transfer.csv").open()))
    assert {line["unlearning"] for line in lines} == {"l1-sparse, 80 % sparse"}
    found = {(line["classes_removed"], line["metric"]): float(line["mean"]) for line in lines}
    assert ("0", "forget") not in found
    for count in (0, 1, 3):
        point = result(linear_run / f"removed_{count}")
        assert (
            found[str(count), "target"] == point["accuracy"]["target"]
            and found[str(count), "source"] == point["accuracy"]["source"]
        )
        assert found[str(count), "probing_seconds"] == point["seconds"]["probing"]
    text = (linear_run / "transfer.md").read_text()
    assert text.startswith(
        "digits to shades, resnet20s: new head on frozen features\n\n| unlearning | classes removed | source % |"
    )
    assert main_report.main([str(linear_run), "--out", str(linear_run.parent / "report")]) == 0
    assert names(linear_run.parent / "report") == {"report.html"} | {
        f"transfer-digits-shades-resnet20s-linear.{kind}" for kind in ("md", "csv", "png", "svg")
    }
    assert (linear_run.parent / "report" / "transfer-digits-shades-resnet20s-linear.md").read_text() == text


def test_the_same_command_again_does_nothing_and_another_only_what_is_new(linear_run, sparse, shades, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(linear_run, folder)
    inner = {path: path.stat().st_mtime_ns for count in (0, 1, 3) for path in (folder / f"removed_{count}").iterdir()}
    first = (folder / "transfer.csv").read_bytes()
    assert run(folder, sparse, shades, "--removed", "3,0,1", "--removal_order", "7,0,4") == 0
    assert "done already" in capsys.readouterr().out and (folder / "transfer.csv").read_bytes() == first
    assert (
        run(folder, sparse, shades, "--removed", "3,0,2", "--removal_order", "0,7,4,9") == 0
    )  # the first three are the same
    assert {path: path.stat().st_mtime_ns for path in inner} == inner
    assert names(folder) == RUN_FILES | OUTPUT | {"removed_0", "removed_1", "removed_2", "removed_3", "earlier"}
    [shelf] = (folder / "earlier").iterdir()
    assert (
        names(shelf) == {"result.json", "log.jsonl", "command.txt", "split.npz"} | OUTPUT
        and (shelf / "transfer.csv").read_bytes() == first
    )
    assert [point["removed"]["count"] for point in result(folder)["points"]] == [0, 2, 3]
    assert run(folder, sparse, shades, "--removed", "1", "--removal_order", "0,7,4") == 0  # but the first alone is not
    assert result(folder / "removed_1")["removed"]["classes"] == [0]


def test_another_target_takes_the_unlearned_models_and_another_method_setting_does_not(sparse, shades, tmp_path):
    assert run(tmp_path, sparse, shades, "--removed", "1") == 0
    model = tmp_path / "removed_1" / "FT_prunecheckpoint.pth.tar"
    made, before = model.stat().st_mtime_ns, result(tmp_path / "removed_1")
    shutil.copytree(shades / "train", tmp_path / "two" / "train", ignore=shutil.ignore_patterns("dark"))
    shutil.copytree(shades / "test", tmp_path / "two" / "val", ignore=shutil.ignore_patterns("dark"))
    assert run(tmp_path, sparse, tmp_path / "two", "--removed", "1") == 0
    after = result(tmp_path / "removed_1")
    assert model.stat().st_mtime_ns == made and after["seconds"]["unlearning"] == before["seconds"]["unlearning"]
    assert after["accuracy"]["source"] == before["accuracy"]["source"] and after["target"] == {
        "name": "two",
        "classes": 2,
        "train": 12,
        "test": 6,
    }
    [shelf] = (tmp_path / "removed_1" / "earlier").iterdir()
    assert json.loads((shelf / "result.json").read_text()) == before and (shelf / "FT_prunetarget.pth.tar").exists()
    content = model.read_bytes()
    assert run(tmp_path, sparse, shades, "--removed", "1", "--alpha", "0.01") == 0
    assert model.read_bytes() != content
    assert content in [path.read_bytes() for path in (tmp_path / "removed_1" / "earlier").rglob(model.name)]


FULL = ["--removed", "2", "--probe", "full", "--probe_epochs", "2", "--probe_lr", "0.02"]


def test_a_stored_model_that_has_a_class_more_is_probed_again(few, few_run, shades, tmp_path):
    told = [few_run / "1model_SA_best.pth.tar", shades, *few, "--removed", "1", "--compat", "reference"]
    told += ["--unlearn", "boundary_expanding"]
    assert run(tmp_path, *told) == 0
    first = result(tmp_path / "removed_1")
    assert run(tmp_path, *told, "--probe_l2", "2") == 0
    again = result(tmp_path / "removed_1")
    assert again["fingerprint"] != first["fingerprint"] and again["accuracy"]["source"] == first["accuracy"]["source"]
    assert again["seconds"]["unlearning"] == first["seconds"]["unlearning"]


def test_the_targets_model_does_not_say_the_sources_superclasses(monkeypatch, tmp_path):
    info = prepare.find("digits", None, 8)
    setup = SimpleNamespace(
        probe=LinearProbe(), method=SimpleNamespace(name="FT"), folder=tmp_path, fingerprint="0", dataset=info
    )
    setup.target, setup.data = info, Data("cifar100", superclasses="kinds.csv")
    setup.network, setup.run = SimpleNamespace(flags=Model("resnet20s")), Run()
    problem = SimpleNamespace(target=None, target_data=SimpleNamespace(classes=info.names))
    monkeypatch.setattr(probe, "linear", lambda *_: probe.Probed(nn.Linear(2, 2), {}, 1.0, 1.0))
    carry_over(setup, problem, Unlearned(nn.Linear(2, 2), {}, 1.0), SimpleNamespace(log=None))
    stored = torch.load(tmp_path / "FTtarget.pth.tar")["origin"]
    assert stored["superclasses"] is None and (stored["dataset"], stored["input_size"]) == ("digits", 8)
    assert stored["classes"] == list(info.names)


@pytest.fixture(scope="module")
def full_run(tmp_path_factory, sparse, shades):
    folder = tmp_path_factory.mktemp("full") / "run"
    assert run(folder, sparse, shades, *FULL) == 0
    return folder


def test_full_trains_everything_under_the_mask(full_run):
    folder = full_run / "removed_2"
    assert names(folder) == RUN_FILES | {"FT_prunecheckpoint.pth.tar", "FT_prunetarget.pth.tar"}
    before, after = (checkpoints.read(folder / f"FT_prune{what}.pth.tar", "") for what in ("checkpoint", "target"))
    assert after.mask.keys() == before.mask.keys() and len(after.mask) == 19
    for name, kept in after.mask.items():
        assert torch.equal(kept, before.mask[name]) and torch.count_nonzero(after.weights[name][~kept]) == 0
        assert not torch.equal(after.weights[name], before.weights[name])
    assert after.weights["fc.weight"].shape == (3, 64)
    epochs = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in epochs if line.get("phase") == "probe"] == pytest.approx([0.02, 0.01])  # cosine


def test_without_epochs_full_is_the_drawn_head(sparse):
    images, given = some_images(side=8), checkpoints.read(sparse, "")
    model = models.build("resnet20s", 10)
    model.load_state_dict(given.weights)
    flags = FullProbe(probe_epochs=0)
    mask = given.mask | {
        "fc.weight": torch.ones(10, 64, dtype=torch.bool)
    }  # a mask of the old head says nothing about the new one
    found = probe.full(model, mask, probe.Target(3, images, images), flags, 1, Log(None), Progress())
    expected = probe.new_head(model, 3, 1)
    assert torch.equal(found.model.fc.weight, expected.weight) and found.mask.keys() == given.mask.keys()
    with torch.no_grad():
        logits = expected(probe.features(model, images).logits.clone())
    assert found.accuracy == float((logits.argmax(1) == images.labels).double().mean())


# 1: progress of unlearning, 2: the unlearned model, 3 and 4: epochs of the probe, 5: the target's model
@pytest.mark.parametrize("write", [3, *(pytest.param(write, marks=pytest.mark.torture) for write in (2, 4, 5))])
def test_a_killed_run_ends_in_the_same_bytes(full_run, sparse, shades, tmp_path, write):
    with killed_at(write, (".tar",)):
        run(tmp_path, sparse, shades, *FULL)
    assert run(tmp_path, sparse, shades, *FULL) == 0
    folders = [folder / "removed_2" for folder in (tmp_path, full_run)]
    assert names(folders[0]) == names(folders[1])
    target = [(folder / "FT_prunetarget.pth.tar").read_bytes() for folder in folders]
    model = [
        checkpoints.read(folder / "FT_prunecheckpoint.pth.tar", "").weights for folder in folders
    ]  # beside them: seconds
    assert target[0] == target[1] and all(torch.equal(model[0][key], model[1][key]) for key in model[0])
    assert result(folders[0])["accuracy"] == result(folders[1])["accuracy"]
    lines = [json.loads(line) for line in (tmp_path / "removed_2" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line.get("phase") == "probe"] == {4: [1, 2, 2]}.get(
        write, [1, 1, 2] if write == 3 else [1, 2]
    )


def test_retrain_starts_from_new_weights_but_for_nothing_removed(sparse, shades, tmp_path):
    assert run(tmp_path / "a", sparse, shades, "--removed", "0,1", "--unlearn", "retrain", "--unlearn_epochs", "0") == 0
    given = checkpoints.read(sparse, "").weights["conv1.weight"]
    zero, one = (checkpoints.read(tmp_path / "a" / f"removed_{k}" / "retraincheckpoint.pth.tar", "") for k in (0, 1))
    assert torch.equal(zero.weights["conv1.weight"], given)
    torch.manual_seed(1)
    assert torch.equal(
        one.weights["conv1.weight"], models.build("resnet20s", 10).conv1.weight * one.mask["conv1.weight"]
    )
    masks = {key: value for key, value in torch.load(sparse)["state_dict"].items() if key.endswith("weight_mask")}
    torch.save(masks, tmp_path / "masks.pt")
    arguments = ["--unlearn", "retrain", "--unlearn_epochs", "0", "--removed"]
    assert run(tmp_path / "b", tmp_path / "masks.pt", shades, *arguments, "0,1") == 2
    assert run(tmp_path / "b", tmp_path / "masks.pt", shades, *arguments, "1") == 0


# ---- results by hand ------------------------------------------------------------------------------


def point(
    count, seed, source, forget, target, seconds=60.0, method="FT_prune", probe="linear", sparsity=0.95, compat="fixed"
):
    return {
        "method": method,
        "paper_name": {"FT_prune": "l1-sparse", "retrain": "Retrain"}[method],
        "compat": compat,
        "seed": seed,
        "removed": {"count": count},
        "accuracy": {"source": source, "forget": forget, "target": target},
        "seconds": {"unlearning": seconds, "probing": 6.0},
        "model": {"dataset": "digits", "arch": "resnet20s", "sparsity": sparsity},
        "target": {"name": "pets"},
        "config": {"hyper": {}, "probe": {"probe": probe}, "target": {"folder": "data/pets"}},
    }


def test_tables_by_hand():
    results = [
        point(1, 1, 0.9, 0.2, 0.5),
        point(1, 2, 0.7, 0.4, 0.6, 180.0),
        point(0, 1, 0.8, None, 0.4, 0.0),
        point(1, 1, 0.95, 0.0, 0.55, 600.0, method="retrain"),
        point(1, 1, 0.1, 0.1, 0.1, probe="full"),
        point(1, 1, 0.1, 0.1, 0.1, compat="reference"),
    ]
    found = {table.slug: table for table in transfer_table.tables([*results, {"points": results}])}
    assert set(found) == {f"transfer-digits-pets-resnet20s-{end}" for end in ("linear", "full", "linear-reference")}
    table = found["transfer-digits-pets-resnet20s-linear"]
    assert transfer_table.layout(table)[1] == [
        ["Retrain, 95 % sparse", "1", "95.00", "0.00", "55.00", "10.000", "0.100"],
        ["l1-sparse, 95 % sparse", "0", "80.00", "-", "40.00", "0.000", "0.100"],
        ["l1-sparse, 95 % sparse", "1", "80.00±10.00", "30.00±10.00", "55.00±5.00", "2.000", "0.100"],
    ]
    assert ("l1-sparse, 95 % sparse", 1, "unlearning_seconds", 120.0, 60.0, 2) in set(
        transfer_table.section(table).long.itertuples(index=False, name=None)
    )


# ---- wrong input ----------------------------------------------------------------------------------

DIGITS_TARGET = ["--target_dataset", "digits"]
BAD = [
    (["--mask", "M"], "--target DIR or --target_dataset NAME is needed: the data to transfer to"),
    (DIGITS_TARGET, "--mask FILE is needed: the checkpoint of the source model"),
    (["--mask", "nowhere.pt", *DIGITS_TARGET], "--mask nowhere.pt: no such file"),
    (["--mask", "M", "--target", "nowhere"], "--target nowhere: no folder tree there; expected train/<class>/*.jpg"),
    (
        ["--mask", "M", "--target_dataset", "digts"],
        "--target_dataset digts: unknown (did you mean digits?); known: cifar10",
    ),
    (
        ["--mask", "M", *DIGITS_TARGET, "--dataset", "digts"],
        "--dataset digts: unknown (did you mean digits?); known: cifar10",
    ),
    (["--mask", "M", *DIGITS_TARGET, "--unlearn", "l1-sprase"], "--unlearn l1-sprase: unknown"),
    (
        ["--mask", "M", *DIGITS_TARGET, "--removed", "1,10"],
        "--removed 10: the source has 10 classes, of which one must remain",
    ),
    (
        ["--mask", "M", *DIGITS_TARGET, "--removed", "1,1"],
        "--removed 1,1: must be different numbers of classes with commas between",
    ),
    (["--mask", "M", *DIGITS_TARGET, "--removed", ","], "--removed ,: must have at least one value"),
    (["--mask", "M", *DIGITS_TARGET, "--removed", "-1"], "--removed -1: must be at least 0"),
    (["--mask", "M", *DIGITS_TARGET, "--removed", "one"], "--removed one: must be whole numbers with commas between"),
    (["--mask", "M", *DIGITS_TARGET, "--removal_order", "3"], "--removal_order 3: names 1, too few for --removed 2"),
    (["--mask", "M", *DIGITS_TARGET, "--removal_order", "3,cat"], "--removal_order cat: unknown; known: 0, 1, 2"),
    (["--mask", "M", *DIGITS_TARGET, "--removal_order", "3,12"], "--removal_order 12: the classes are 0 to 9"),
    (["--mask", "M", *DIGITS_TARGET, "--removal_order", "3,1,3"], "--removal_order 3: class 3 (3) is there twice"),
    (["--mask", "M", *DIGITS_TARGET, "--removal_order", "0," * 200], "--removal_order 0: class 0 (0) is there twice"),
    (
        ["--mask", "M", *DIGITS_TARGET, "--probe", "liner"],
        "--probe liner: unknown (did you mean linear?); known: linear, full",
    ),
    (["--mask", "M", *DIGITS_TARGET, "--probe_l2", "0"], "--probe_l2 0: must be more than 0"),
    (
        ["--mask", "M", *DIGITS_TARGET, "--probe", "full", "--probe_epochs", "-1"],
        "--probe_epochs -1: must be at least 0",
    ),
    (["--mask", "M", *DIGITS_TARGET, "--probe", "full", "--probe_lr", "nan"], "--probe_lr nan: must be more than 0"),
]


@pytest.mark.parametrize(
    ("argv", "message"), BAD, ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else ""
)
def test_wrong_input_is_refused_before_work(argv, message, sparse, tmp_path, capsys):
    assert (
        main_transfer.main(
            [*DIGITS, *[str(sparse) if word == "M" else word for word in argv], "--save_dir", str(tmp_path / "run")]
        )
        == 2
    )
    captured = capsys.readouterr()
    assert (
        captured.out == ""
        and captured.err.count("\n") == 1
        and captured.err.startswith(f"main_transfer.py: error: {message}")
    )
    assert not (tmp_path / "run").exists()


def test_another_split_is_refused_and_a_damaged_target_image_is_the_targets(sparse, shades, tmp_path, capsys):
    assert run(tmp_path / "a", sparse, shades, "--split_seed", "3") == 2
    assert "give --split_seed 2, or --allow_split_mismatch" in capsys.readouterr().err
    for part in ("train", "test"):
        for name in ("x", "y"):
            (tmp_path / "bad" / part / name).mkdir(parents=True)
            (tmp_path / "bad" / part / name / "1.png").write_bytes(b"no image")
    assert run(tmp_path / "b", sparse, tmp_path / "bad") == 2
    assert capsys.readouterr().err.startswith(
        f"main_transfer.py: error: --target: {tmp_path / 'bad' / 'train' / 'x' / '1.png'} is not a readable image"
    )


def test_renamed_touches_only_the_flag_an_error_begins_with():
    for said, heard in (
        ("--data x: give --data", "--target x: give --data"),
        ("--dataset x", "--dataset x"),
        ("--data: y", "--target: y"),
        ("no --data", "no --data"),
    ):
        with pytest.raises(UsageError) as error, renamed({"--data": "--target"}):
            raise UsageError(said)
        assert str(error.value) == heard


def test_what_linear_probing_does_not_read_is_said(sparse, shades, tmp_path, capsys):
    assert run(tmp_path, sparse, shades, "--removed", "0", "--probe_lr", "0.1", "--num_workers", "4") == 0
    assert (
        "not read  --probe_lr, --num_workers: nothing that FT_prune, --probe linear or this script uses\n"
        in capsys.readouterr().out
    )
