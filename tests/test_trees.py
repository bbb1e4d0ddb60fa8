"""Folders of images as people have them: what is read, in which order, where it is looked for, and what is said of
the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

import main_forget
import main_imp
from dataset import catalog, download, positions, prepare, split, tree
from dataset.named.cifar import CIFAR10_CLASSES
from utils.errors import UsageError

QUICK = ["--arch", "resnet20s", "--device", "cpu", "--epochs", "1", "--batch_size", "8", "--decreasing_lr", "1"]


def picture(path: Path, level: int = 0, size: int = 8, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (level, level, level)).save(path, **how)
    return path


def make(root: Path, *parts: str, classes: tuple[str, ...] = ("cat", "dog"), each: int = 3) -> Path:
    for part in parts:
        for label, name in enumerate(classes):
            for number in range(each):
                picture(root / part / name / f"{number}.png", 20 * label + number)
    return root


def choose(root: Path | str, name: str = "folder", **how) -> prepare.DatasetInfo:
    return prepare.find(name, str(root), None, **how)


# ---- order ----------------------------------------------------------------------------------------


def test_names_of_image_files_are_image_folders():
    assert set(positions.SUFFIXES) == set(IMG_EXTENSIONS)


def test_positions_are_those_of_torchvisions_image_folder(tmp_path):
    """Sub-folders, names that sort around a slash, capitals, links, and files of every suffix."""
    train = make(tmp_path, "train", "test") / "train"
    for number, name in enumerate(
        (
            "cat/a/0.png",
            "cat/a-b/1.png",
            "cat/a/b/c/2.PNG",
            "cat/Z.jpg",
            "cat/a.b/3.png",
            "cat/9/4.png",
            "dog/x/5.webp",
            "dog/éa/6.png",
        )
    ):
        picture(train / name, 100 + number)
    for suffix in IMG_EXTENSIONS:
        picture(train / "dog" / "kinds" / f"k{suffix}", 7)
    picture(tmp_path / "elsewhere" / "deep" / "7.png", 9)
    (train / "dog" / "linked").symlink_to(tmp_path / "elsewhere")
    (train / "owl").symlink_to(tmp_path / "elsewhere")
    (train / "cat" / "link.png").symlink_to(tmp_path / "elsewhere" / "deep" / "7.png")
    picture(tmp_path / "test" / "owl" / "0.png")
    expected = ImageFolder(str(train))
    found = tree.listing(tmp_path)
    assert [os.fsdecode(path) for path in found.train[0]] == [path for path, _ in expected.samples]
    assert found.train[1].tolist() == expected.targets and found.classes == tuple(expected.classes)
    assert len(expected.samples) == 6 + 8 + 9 + 1 + 1 + 1
    data = choose(tmp_path).load()  # the pixels too
    assert [image.tolist() for image in data.train_images] == [np.asarray(image).tolist() for image, _ in expected]
    streamed = choose(tmp_path, stream=True).load()
    assert streamed.train_images.tolist() == found.train[0].tolist()


def test_droppings_shift_no_position_and_are_named(tmp_path):
    root = make(tmp_path, "train", "test")
    before = tree.listing(root)
    for name in (
        "cat/._0.png",
        "cat/.DS_Store",
        "cat/Thumbs.db",
        "dog/@eaDir/0.png/SYNO.jpg",
        "dog/.ipynb_checkpoints/0.png",
        "__MACOSX/cat/._0.png",
        ".cache/x.png",
    ):
        path = root / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x00\x05\x16\x07")
    after = tree.listing(root)
    assert after.train[0].tolist() == before.train[0].tolist() and after.classes == before.classes == ("cat", "dog")
    assert before.notes == {} and after.notes["left out"].startswith("7 hidden or of the system (train/")
    assert len(choose(root).load().train_images) == 6


@pytest.mark.parametrize("target", [".", "..", "../..", "../other/back"])
def test_links_in_a_circle_are_refused(tmp_path, target):
    train = make(tmp_path, "train", "test") / "train"
    (train / "other").mkdir()
    (train / "other" / "back").symlink_to(train / "cat")
    (train / "cat" / "on").symlink_to(target if target != "../other/back" else train / "other")
    with pytest.raises(UsageError, match="is a link to a folder that holds it"):
        tree.listing(tmp_path)


# ---- what is not read -----------------------------------------------------------------------------


def test_what_is_not_read_is_named_with_number_and_example(tmp_path, capsys):
    root = make(tmp_path / "data", "train", "test", "extra")
    for name in ("cat/a.gif", "cat/b.gif", "cat/c.GIF", "dog/in/d.npy", "dog/noend", "cat/e.heic", "labels.csv"):
        path = root / "train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    picture(root / "train" / "stray.png")
    picture(root / "test" / "dog" / "deep" / "f.png")
    picture(root / "loose.jpg")
    assert (
        main_imp.main(
            ["--dataset", "folder", "--data", str(root), *QUICK, "--epochs", "0", "--save_dir", str(tmp_path / "run")]
        )
        == 0
    )
    assert (
        "  left out  3 .gif (train/cat/a.gif), 2 beside train/ (extra), 1 .csv (train/labels.csv), 1 .heic "
        "(train/cat/e.heic), "
        "1 .npy (train/dog/in/d.npy), 1 beside the class folders (train/stray.png), 1 without a suffix "
        "(train/dog/noend)\n"
    ) in capsys.readouterr().out
    assert len(choose(root).load().test_images) == 7


def test_a_class_of_unread_files_says_why(tmp_path):
    root = make(tmp_path, "train", "test")
    (root / "train" / "owl").mkdir()
    (root / "train" / "owl" / "a.gif").write_bytes(b"x")
    with pytest.raises(
        UsageError,
        match=r"no images in train/owl; files that end in \.jpg, .* are read, not these: 1 \.gif \(train/owl/a\.gif\)",
    ):
        tree.listing(root)


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    root, real = make(tmp_path, "train", "test"), os.scandir
    (root / "train" / "cat" / "shut").mkdir()

    def scandir(folder):  # root reads everything, whatever its mode
        if str(folder).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=r"train/cat/shut cannot be read \(Permission denied\)"):
        tree.listing(root)


@pytest.mark.parametrize(
    ("kind", "suffix"), [("PNG", "jpg"), ("GIF", "png"), ("TIFF", "jpeg"), ("JPEG", "pgm"), ("WEBP", "bmp")]
)
def test_content_decides_how_an_image_is_read(tmp_path, kind, suffix):
    root = make(tmp_path, "train", "test")
    picture(root / "train" / "cat" / f"9.{suffix}", 90, format=kind)
    assert abs(int(choose(root).load().train_images[3, 0, 0, 0]) - 90) <= 2


def test_pixels_that_are_no_brightness_are_refused(tmp_path):
    root = make(tmp_path, "train", "test")
    Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32)).save(root / "train" / "cat" / "9.tif")
    with pytest.raises(UsageError, match=r"9\.tif is not a readable image \(its pixels are floats"):
        choose(root).load()
    Image.fromarray(np.full((8, 8), 257 * 40, dtype=np.uint16)).save(root / "train" / "cat" / "9.tif")
    assert choose(root).load().train_images[3, 0, 0].tolist() == [40] * 3


# ---- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_own_val_validates_and_no_tenth_is_taken(tmp_path, val, stream):
    root = make(tmp_path, "train", "test", each=20)
    plain = choose(root, stream=stream)
    for label, name in enumerate(("cat", "dog")):
        picture(root / val / name / "0.png", 200 + label)
    own = choose(root, stream=stream)
    assert (plain.train_counts, own.train_counts, own.validates, own.notes) == (
        [18, 18],
        [20, 20],
        True,
        {"validation": f"{val}/, the data set's own"},
    )
    data, base = own.load(), prepare.base_split(own.load(), 2, None, "fixed")
    assert base.val is None and base.train.tolist() == list(range(40)) and base.digest == split.everything(40).digest
    assert data.val[1].tolist() == [0, 1] and data.notes == own.notes
    if not stream:
        assert data.val[0][:, 0, 0, 0].tolist() == [200, 201]
    assert (
        prepare.base_split(plain.load(), 2, None, "fixed").digest == split.split_base(data.train_labels, 2).digest
    )  # as ever


def test_the_header_says_who_validates_and_the_split_is_inherited(tmp_path, capsys):
    root = make(tmp_path / "data", "train", "test", "val", each=10)
    argv = ["--dataset", "folder", "--data", str(root), *QUICK]
    assert main_imp.main([*argv, "--save_dir", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "  validation  val/, the data set's own\n" in out and "train 20  val 20  test 20" in out
    mask = ["--mask", str(tmp_path / "run" / "0model_SA_best.pth.tar"), "--unlearn", "raw", "--forget", "class:dog"]
    assert main_forget.main([*argv[:8], *mask, "--save_dir", str(tmp_path / "forget")]) == 0
    assert "all 10 training images of class 1 (dog) (50.0 % of 20)" in capsys.readouterr().out
    assert (
        main_forget.main([*argv[:8], *mask, "--no_val", "--save_dir", str(tmp_path / "no_val")]) == 0
    )  # the same images train
    assert "the test images (--no_val); the data set's own are not read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folders", "test", "val", "notes"),
    [
        (("train", "val"), "val", None, {"test": "val/, there being no labelled test/"}),
        (("Training", "Testing"), "Testing", None, {}),
        (("TRAIN", "VALID", "TEST"), "TEST", "VALID", {"validation": "VALID/, the data set's own"}),
        (("train", "test", "Test"), "test", None, {"left out": "1 beside train/ (Test)"}),
        (
            ("train", "test", "valid", "val"),
            "test",
            "val",
            {"validation": "val/, the data set's own", "left out": "1 beside train/ (valid)"},
        ),
        (("train", "test", "other"), "test", None, {"left out": "1 beside train/ (other)"}),
    ],
)
def test_parts_by_other_names(tmp_path, folders, test, val, notes):
    found = tree.listing(make(tmp_path, *folders))
    assert found.notes == notes and (found.val is None) == (val is None)
    assert all(f"/{test}/" in os.fsdecode(path) for path in found.test[0])
    assert val is None or all(f"/{val}/" in os.fsdecode(path) for path in found.val[0])


def test_two_folders_that_could_be_the_same_part_are_refused(tmp_path):
    with pytest.raises(UsageError, match="both Valid/ and validation/ could be val/"):
        tree.listing(make(tmp_path, "train", "test", "Valid", "validation"))


def test_a_flat_test_part_has_no_labels_and_classes_without_test_images_are_named(tmp_path):
    root = make(tmp_path, "train", "val", classes=("cat", "dog", "owl"))
    picture(root / "test" / "1.png")
    for path in (root / "val" / "dog").iterdir():
        path.unlink()
    for name in ("folder", "imagenet"):
        assert choose(root, name).files.notes == {
            "test": "val/, there being no labelled test/",
            "lacking": "no val/ images of dog",
            "left out": "1 beside train/ (test)",
        }
    (root / "test" / "cat").mkdir()
    with pytest.raises(UsageError, match=r"no test images; expected test/<class>"):
        tree.listing(root)


# ---- known data sets as trees, and --no_val ---------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "fits"),
    [
        (CIFAR10_CLASSES, True),
        (tuple(name.upper() for name in CIFAR10_CLASSES), True),
        (catalog.NUMERALS, True),
        (CIFAR10_CLASSES[:3], False),
        (("ape", *CIFAR10_CLASSES[1:]), False),
        (tuple(str(i) for i in range(1, 11)), False),
    ],
)
def test_a_tree_of_other_classes_is_not_cifar10(tmp_path, classes, fits):
    make(tmp_path, "train", "test", classes=classes, each=1)
    if fits:
        assert choose(tmp_path, "cifar10").official == [1] * 10
    else:
        with pytest.raises(
            UsageError,
            match=(
                rf"has {len(classes)} classes \(.*\), cifar10 has 10 \(airplane, automobile, bird, ...\), in "
                r"this order; give --dataset folder"
            ),
        ):
            choose(tmp_path, "cifar10")


@pytest.mark.parametrize("name", ["digits", "folder", "svhn", "cifar100"])
def test_no_val_for_every_data_set(tmp_path, capsys, name):
    root = make(tmp_path, "train", "test", "val", each=20)
    where = ["--data", str(root)] if name == "folder" else []
    argv = ["--unlearn", "retrain", *where, "--save_dir", str(tmp_path / "run"), "--dry_run", "json"]
    configs = []
    for words in (
        ["--dataset", name, "--no_val"],
        ["--dataset", f"{name}_no_val"],
        ["--dataset", f"{name.upper()}-NO-VAL", "--no-val"],
        ["--dataset", name],
    ):
        assert main_forget.main([*words, *argv]) == 0
        configs.append(json.loads(capsys.readouterr().out))
    assert configs[0] == configs[1] == configs[2] != configs[3]
    assert configs[0]["data"]["dataset"] == f"{name}_no_val" and "no_val" not in configs[3]["data"]
    chosen = prepare.find(f"{name}_no_val", where[1] if where else None, None)
    assert chosen.train_counts == chosen.official and not chosen.validates


def test_positions_in_the_validation_part_and_a_model_of_another_split_name_no_val(tmp_path, capsys):
    digits = ["--dataset", "digits", "--input_size", "8", *QUICK[:4]]
    np.save(tmp_path / "all.npy", np.arange(100))
    assert (
        main_forget.main(
            [
                *digits,
                "--unlearn",
                "retrain",
                "--indexes_to_replace",
                str(tmp_path / "all.npy"),
                "--save_dir",
                str(tmp_path / "a"),
            ]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert (
        "of 100 are not training images (first: " in error
        and "with --no_val (for CIFAR also --dataset cifar10_no_val), where all images train" in error
    )
    assert main_imp.main([*digits, "--no_val", "--epochs", "0", "--save_dir", str(tmp_path / "model")]) == 0
    start = [
        *digits,
        "--mask",
        str(tmp_path / "model" / "0checkpoint.pth.tar"),
        "--unlearn",
        "raw",
        "--indexes_to_replace",
        str(tmp_path / "all.npy"),
    ]
    assert main_forget.main([*start, "--no_val", "--save_dir", str(tmp_path / "b")]) == 0
    assert json.loads((tmp_path / "b" / "result.json").read_text())["split"]["forget"] == 100
    capsys.readouterr()
    assert main_forget.main([*start[:-2], "--save_dir", str(tmp_path / "c")]) == 2
    assert "it was trained on all training images: give --no_val, or --allow_split_mismatch" in capsys.readouterr().err


# ---- where the data lie -----------------------------------------------------------------------------


def test_one_folder_too_deep_or_too_high_is_taken_and_said(tmp_path, monkeypatch, capsys):
    root = make(tmp_path / "outer" / "inner" / "set", "train", "test")
    for typed in (root / "train", root / "test", tmp_path / "outer" / "inner", tmp_path / "outer"):
        chosen = choose(typed)
        assert (
            chosen.root == root
            and chosen.notes == {"found": f"in {root}, for --data {typed}"}
            and chosen.load().notes == chosen.notes
        )
    monkeypatch.chdir(root / "train")
    assert choose(".").root == root and choose("../train").official == [3, 3]
    monkeypatch.setenv("HOME", str(root.parent))
    assert choose("~/set").root == root and choose("~/set").notes == {}
    assert (
        main_imp.main(
            [
                "--dataset",
                "folder",
                "--data",
                str(root / "train"),
                *QUICK,
                "--epochs",
                "0",
                "--save_dir",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )
    assert f"  found     in {root}, for --data {root / 'train'}\n" in capsys.readouterr().out


def test_what_could_be_meant_twice_is_refused_with_the_way_on(tmp_path):
    make(tmp_path / "both" / "a", "train", "test")
    make(tmp_path / "both" / "b", "train", "test")
    (tmp_path / "set.zip").write_bytes(b"PK")
    for typed, message in {
        tmp_path / "both": "several folders in it hold such a data set: .*; give one of them",
        tmp_path / "both" / "a" / "train" / "cat": rf"is the folder of one class; give {tmp_path}/both/a$",
        tmp_path
        / "both"
        / "a"
        / "train"
        / "cat"
        / "0.png": "is a file; give the folder that holds the images, unpacked",
        tmp_path / "set.zip": "is a file; give the folder that holds the images, unpacked",
    }.items():
        with pytest.raises(UsageError, match=message):
            choose(typed)
    make(tmp_path / "flat", ".")
    with pytest.raises(
        UsageError, match="expected train/<class>.*; its folders cat, dog hold images: put them below train/ and test/"
    ):
        choose(tmp_path / "flat")


def test_torchvisions_folder_and_archive(tmp_path, monkeypatch, capsys):
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert choose(tmp_path / "cifar-10-batches-py", "cifar10").root == tmp_path
    assert choose(tmp_path / "cifar-10-batches-py", "cifar10_no_val").root == tmp_path
    home = tmp_path / "packed"
    (home / "made" / "cifar-10-batches-py").mkdir(parents=True)
    (home / "made" / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"content")
    archive = home / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as members:
        members.add(home / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    assert choose(archive, "cifar10").root == home
    published = download.FILES["CIFAR10"][0]
    with pytest.raises(
        UsageError, match="is not the published file .*; unpack it to .*cifar-10-batches-py, or delete it"
    ):
        download.fetch(published, home)
    same = replace(published, size=archive.stat().st_size, sha256=hashlib.sha256(archive.read_bytes()).hexdigest())
    download.fetch(same, home)
    assert (home / "cifar-10-batches-py" / "data_batch_1").read_bytes() == b"content"
    assert capsys.readouterr().out == f"unpacking {archive}\n"
