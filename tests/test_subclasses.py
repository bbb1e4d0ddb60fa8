"""Superclasses that a model learns, and the forgetting of one of the classes in them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import DIGITS
from PIL import Image
from test_methods import Tiny, warmed_up
from torch import nn

import main_forget
import main_imp
import main_report
from dataset import catalog, prepare, superclasses
from dataset.data_flags import Forget, forgotten
from dataset.images import ImageSet
from dataset.scenario import Scenario
from dataset.split import BaseSplit, split_for_unlearning
from dataset.superclasses import Subclasses, Superclasses
from trainer import margins
from unlearn import noise_images, registry
from unlearn.context import Context, Fine
from utils.errors import UsageError
from utils.log import Log

PARITY = "even: [0, 2, 4, 6, 8]\nodd: [1, 3, 5, 7, 9]\n"
ANIMALS = ("cat", "dog", "owl", "wren")
KINDS = Superclasses(("bird", "mammal"), (1, 1, 0, 0))


def scenario(word: str) -> Scenario:
    return forgotten(Forget(forget=word), {"forget": word})


def paint(path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.RandomState(level).randint(0, 40, (8, 8, 3))
    Image.fromarray((noise + 20 * (level % 10)).astype(np.uint8)).save(path)


def tree(root, folders=ANIMALS, train: int = 12, test: int = 4):
    for number, folder in enumerate(folders):
        for part, count in (("train", train), ("test", test)):
            for image in range(count):
                paint(root / part / folder / f"{image:02}.png", 1000 * number + 10 * image + 2 * number)
    return root


# ---- who belongs to what ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "bird: [owl, wren]\nmammal: [dog, cat]\n",
        "cat: mammal\ndog: mammal\nowl: bird\nwren: bird\n",
        '{"mammal": ["cat", "dog"], "owl": "bird", "wren": "bird"}',
        "# made by hand\nwren,bird\nowl, bird\n\ndog,mammal\ncat\tmammal\n",
    ],
)
def test_every_form_of_a_file_says_the_same(text, tmp_path):
    (tmp_path / "map").write_text(text)
    assert superclasses.read(str(tmp_path / "map"), ANIMALS) == KINDS


def test_numbers_and_truth_values_are_names_too(tmp_path):
    (tmp_path / "map").write_text("0: no\n1: yes\n2: 1.0\n")
    found = superclasses.read(str(tmp_path / "map"), ("0", "1", "2"))
    assert found == Superclasses(("1.0", "no", "yes"), (1, 2, 0))


@pytest.mark.parametrize(
    "text, said",
    [
        ("bird: [owl, wren]\nmammal: [cat]\n", "has no superclass for dog; each class needs one"),
        ("bird: [owl, wren, cat]\nmammal: [dog, cat]\n", "class cat is there twice, in bird and mammal"),
        ("cat: mammal\ncat: bird\ndog: mammal\nowl: bird\nwren: bird\n", "class cat is there twice"),
        (
            "bird: [owl, wrens]\nmammal: [dog, cat]\n",
            r"names the class wrens, which is unknown \(did you mean wren\?\)",
        ),
        ("all: [owl, wren, dog, cat]\n", "all classes are in all; a classifier needs two"),
        ("bird: {owl: 1}\n", "bird must be followed by a superclass for a class, or a list of classes"),
        ("cat,mammal,big\n", "must have lines CLASS,SUPERCLASS, or a mapping in YAML or JSON, not cat,mammal,big"),
        ("cat: ''\ndog: mammal\n", "the superclass of cat must be a name"),
        ("# nothing\n", "must have lines CLASS,SUPERCLASS"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(text, said, tmp_path):
    (tmp_path / "map").write_text(text)
    with pytest.raises(UsageError, match=said):
        superclasses.read(str(tmp_path / "map"), ANIMALS)


def test_cifar_20_is_cifar_100_by_its_published_superclasses():
    """Fine classes by number of each superclass, as the data set's authors have them."""
    members = """4 30 55 72 95  1 32 67 73 91  54 62 70 82 92  9 10 16 28 61  0 51 53 57 83  22 39 40 86 87
    5 20 25 84 94  6 7 14 18 24  3 42 43 88 97  12 17 37 68 76  23 33 49 60 71  15 19 21 31 38  34 63 64 66 75
    26 45 77 79 99  2 11 35 46 98  27 29 44 78 93  36 50 65 74 80  47 52 56 59 96  8 13 48 58 90  41 69 81 85 89"""
    of = [0] * 100
    for place, fine in enumerate(map(int, members.split())):
        of[fine] = place // 5
    source = catalog.get("cifar20")
    assert source.superclasses.superclass_of == tuple(of) and source.superclasses.names == tuple(
        sorted(source.superclasses.names)
    )
    assert source.classes == catalog.get("cifar100").classes and source.superclasses.names[14] == "people"


@pytest.mark.parametrize("word, label", [("subclass:69", 69), ("subclass:rocket", 69), ("subclass:baby", 2)])
def test_a_subclass_of_cifar_20_is_named_by_name_or_number(word, label, tmp_path):
    info = prepare.find("cifar20", str(tmp_path), None)
    found = info.resolve(scenario(word))
    assert found.labels == (label,) and found.subclass and found.facts() == {"subclass": label, "count": None}
    assert info.classes == 20 and info.train_counts == [2250] * 20 and info.counts_for(found) == [450] * 100
    assert info.names_for(found)[69] == "rocket in vehicles_2"
    with pytest.raises(UsageError, match=r"--forget rocket: unknown; known: aquatic_mammals"):
        info.resolve(scenario("class:rocket"))


def test_folders_in_folders_are_subclasses(tmp_path):
    root = tree(tmp_path, ("bird/owl", "bird/wren", "mammal/cat", "mammal/dog"))
    plain = prepare.find("folder", str(root), None)
    info = prepare.find("folder", str(root), None, superclasses="folders")
    assert info.names == plain.names == ("bird", "mammal") and info.official == [12] * 4
    assert info.files.train[0].tolist() == plain.files.train[0].tolist(), "positions count as without superclasses"
    data = info.load()
    assert data.subclasses.names == ("bird/owl", "bird/wren", "mammal/cat", "mammal/dog")
    assert data.train_labels.tolist() == [0] * 24 + [1] * 24
    assert data.subclasses.train.tolist() == sorted(12 * [0, 1, 2, 3])
    assert info.resolve(scenario("subclass:mammal/cat")).labels == (2,)
    paint(root / "train" / "bird" / "lone.png", 3)
    with pytest.raises(UsageError, match=r"lone\.png lies beside the folders of subclasses"):
        prepare.find("folder", str(root), None, superclasses="folders")


def test_what_has_no_subclasses_says_how_to_get_them(tmp_path):
    with pytest.raises(UsageError, match="digits has no subclasses; --superclasses says which"):
        prepare.find("digits", None, 8).resolve(scenario("subclass:3"))
    with pytest.raises(UsageError, match="cifar20 has 20 superclasses of its own; leave --superclasses out"):
        prepare.find("cifar20", str(tmp_path), None, superclasses="folders")
    with pytest.raises(UsageError, match="for --dataset digits give a file"):
        prepare.find("digits", None, 8, superclasses="folders")


# ---- who is forgotten ------------------------------------------------------------------------------

FINE = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
FINE_TEST = np.array([0, 1, 1, 2, 3, 3])
OF = (1, 1, 0, 0)  # subclasses 0 and 1 are class 1, subclasses 2 and 3 class 0


def split_of(chosen: Scenario):
    of = np.array(OF)
    base = BaseSplit(np.array([0, 1, 3, 4, 5, 6, 8, 9]), np.array([2, 7]), 0)
    return split_for_unlearning(of[FINE], of[FINE_TEST], base, chosen, 2, Subclasses(ANIMALS, FINE, FINE_TEST, OF))


def test_a_subclass_leaves_training_and_test_set_and_its_siblings_stay():
    found = split_of(Scenario((1,), subclass=True))
    assert found.forget.tolist() == [3, 4] and found.retain.tolist() == [0, 1, 5, 6, 8, 9]
    assert found.test.tolist() == [0, 3, 4, 5] and found.forget_test.tolist() == [1, 2]
    assert found.whole_classes == () and found.whole_subclasses == (1,)


def test_all_siblings_together_are_the_class():
    found = split_of(Scenario((0, 1), subclass=True))
    assert found.whole_classes == (1,) and found.whole_subclasses == (0, 1)
    assert found.test.tolist() == [3, 4, 5] and found.forget_test.tolist() == [0, 1, 2]


def test_part_of_a_subclass_leaves_the_test_set_whole():
    found = split_of(Scenario((1,), 1, subclass=True))
    assert len(found.forget) == 1 and found.forget[0] in (3, 4)
    assert found.test.tolist() == [0, 1, 2, 3, 4, 5] and len(found.forget_test) == 0
    assert Scenario((1,), 1, subclass=True).kind(0) == "part of a subclass"


def test_a_class_forgotten_whole_has_test_images_too():
    found = split_of(Scenario((0,)))
    assert found.test.tolist() == [0, 1, 2] and found.forget_test.tolist() == [3, 4, 5] and not found.whole_subclasses


def test_superclasses_do_not_change_who_validates(tmp_path):
    """So that CIFAR-20 and CIFAR-100 have the same split, whose counts are known before a label is read."""
    (tmp_path / "map").write_text(PARITY)
    plain, above = (prepare.find("digits", None, 8, superclasses=s) for s in (None, str(tmp_path / "map")))
    one, other = (prepare.base_split(info.load(), 2, None, "fixed") for info in (plain, above))
    assert one.digest == other.digest
    data = above.load()
    assert np.bincount(data.train_labels[other.train]).tolist() == above.train_counts
    assert np.array_equal(data.train_labels, plain.load().train_labels % 2)
    assert plain.identity != above.identity and "superclasses" not in plain.identity


# ---- methods ---------------------------------------------------------------------------------------


def test_unsir_keeps_siblings_and_labels_noise_as_the_class(monkeypatch):
    """Baby is fine class 2 of CIFAR-100 and one of five people (14): the other four must be repaired with."""
    of = catalog.get("cifar20").superclasses.superclass_of
    fine = torch.arange(100).repeat(2)
    images = ImageSet(torch.zeros(200, 3, 6, 6, dtype=torch.uint8), torch.tensor(of)[fine])
    where = Context({}, torch.device("cpu"), 2, "fixed", "cifar20", 20, Scenario((2,), subclass=True), (), Log(None))
    where.subclasses = Fine(fine, of, (2,))
    assert where.whole == {2: 14}
    first = noise_images.first_of_others(images.at(torch.arange(200)[fine != 2]), 1, where, nn.Identity())
    assert len(first) == 99 and first.labels.bincount().tolist() == [5] * 14 + [4] + [5] * 5
    steps = []
    taken = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: steps.append(taken(self)))
    model = warmed_up(Tiny)
    model.fc = nn.Linear(4, 20)
    ((label, noise),) = noise_images.learn(model, images, registry.get("UNSIR").config(), where)[0]
    assert label == 14 and noise.shape == (32, 3, 6, 6) and len(steps) == 250, "SUPREME's number for subclasses"


def test_a_subclass_is_another_forget_set_than_the_class_of_its_number():
    class Setup:
        data, run = type("Data", (), {"split": None}), type("Run", (), {"seed": 7})

    base = BaseSplit(np.arange(3), None, 0)
    numbers = {margins.numbers(Setup, base, Scenario((3,), subclass=fine)) for fine in (False, True)}
    assert (0, 3) in numbers and len(numbers) == 2


# ---- end to end ------------------------------------------------------------------------------------


def test_a_subclass_is_forgotten_from_the_command_line(tmp_path, few, capsys):
    """A tree of four classes in two superclasses by a file; its model knows the file, the run its siblings."""
    root, file = tree(tmp_path / "animals"), tmp_path / "kinds.csv"
    file.write_text("cat,mammal\ndog,mammal\nowl,bird\nwren,bird\n")
    quick = ["--arch", "resnet20s", "--device", "cpu", "--batch_size", "16", "--save_dir"]
    given = ["--dataset", "folder", "--data", str(root), "--superclasses", str(file), "--epochs", "1"]
    assert main_imp.main([*given, *quick, str(tmp_path / "model")]) == 0
    forget = ["--mask", str(tmp_path / "model" / "0model_SA_best.pth.tar"), "--data", str(root), "--forget"]
    results = {}
    for method in ("FT", "retrain"):
        folder = tmp_path / "runs" / method
        words = ["subclass:dog", "--unlearn", method, "--unlearn_epochs", "1", *quick, str(folder)]
        assert main_forget.main([*forget, *words]) == 0
        results[method] = json.loads((folder / "result.json").read_text())
    assert "all 11 training images of subclass 1 (dog in mammal) (25.0 % of 44)" in capsys.readouterr().out
    found = results["FT"]
    assert found["scenario"] == {"kind": "subclass", "words": found["scenario"]["words"], "subclass": 1, "count": None}
    assert {name: found["split"][name] for name in ("retain", "forget", "val", "test", "forget_test")} == {
        "retain": 33,
        "forget": 11,
        "val": 4,
        "test": 12,
        "forget_test": 4,
    }
    assert found["config"]["official_counts"] == [24, 24] and found["accuracy"]["forget_test"] is not None
    assert found["config"]["superclasses"]["subclasses"]["wren"] == "bird"
    assert main_report.main([str(tmp_path / "runs"), "--no_plots"]) == 0
    assert "subclass 1 (dog in mammal)" in capsys.readouterr().out
    file.write_text("cat,pet\ndog,pet\nowl,wild\nwren,wild\n")
    assert main_forget.main([*forget, "subclass:dog", "--unlearn", "FT", *quick, str(tmp_path / "other")]) == 2
    assert "was trained with class 0 = bird, in this data set class 0 is pet" in capsys.readouterr().err


def test_classes_of_superclasses_are_forgotten_by_methods_for_whole_classes(tmp_path, few, capsys):
    (tmp_path / "map").write_text(PARITY)
    words = [*DIGITS, *few, "--superclasses", str(tmp_path / "map"), "--save_dir"]
    assert main_imp.main([*words, str(tmp_path / "model"), "--epochs", "1", "--decreasing_lr", "1"]) == 0
    unsir = ["--mask", str(tmp_path / "model" / "0model_SA_best.pth.tar"), "--unlearn", "UNSIR", "--noise_steps", "1"]
    unsir += ["--noise_copies", "1", "--forget"]
    assert main_forget.main([*words, str(tmp_path / "run"), *unsir, "subclass:3,4"]) == 0
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["scenario"]["kind"] == "subclasses" and found["scenario"]["subclass"] == [3, 4]
    capsys.readouterr()
    assert main_forget.main([*words, str(tmp_path / "no"), *unsir, "subclass:3:5"]) == 2
    assert "forgets whole classes alone; give --forget class:C or subclass:C" in capsys.readouterr().err
    assert main_forget.main([*words, str(tmp_path / "no"), *unsir, "subclass:10"]) == 2
    assert "--forget subclass:10: the subclasses are 0 to 9" in capsys.readouterr().err


def test_classes_of_a_data_set_that_names_none_are_called_by_their_numbers():
    info = prepare.find("digits", None, 8)
    bare = replace(info, source=replace(info.source, classes=None))
    assert bare.names == tuple("0123456789") and bare.names_for(Scenario((3,)))[3] == "3"
