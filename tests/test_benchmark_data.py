"""MNIST, Fashion-MNIST and UTKFace: their files under every name, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import main_imp
from dataset import catalog, prepare
from dataset.images import Augment
from dataset.named.mnist import CLOTHES
from utils.errors import UsageError

LABELS = {"train": np.arange(30) % 10, "t10k": np.arange(10)}
IMAGES = {
    part: np.random.RandomState(n).randint(0, 256, (n, 28, 28), np.uint8) for part, n in (("train", 30), ("t10k", 10))
}


def idx(array: np.ndarray) -> bytes:
    """An array of unsigned bytes in the format of MNIST's files."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()


def write(place, dot: str = "-", packed: bool = False) -> None:
    """The four files of a small set."""
    place.mkdir(parents=True, exist_ok=True)
    for part in IMAGES:
        for name, array in ((f"images{dot}idx3", IMAGES[part]), (f"labels{dot}idx1", LABELS[part])):
            content = idx(array)
            end, content = (".gz", gzip.compress(content)) if packed else ("", content)
            (place / f"{part}-{name}-ubyte{end}").write_bytes(content)


@pytest.fixture
def small(monkeypatch):
    """The catalogue's two sets with the class counts of the small files, as the reader takes them."""
    from dataset.idx import read_idx

    for name, folder in (("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")):
        source = catalog.get(name)
        read = read_idx(folder, source.classes, (3,) * 10)
        monkeypatch.setitem(catalog._sources._items, name, replace(source, read=read, official=(3,) * 10))


@pytest.mark.parametrize(
    ("below", "dot", "packed"),
    [
        ("MNIST/raw", "-", False),
        ("MNIST/raw", "-", True),
        ("", "-", True),
        ("", ".", False),
        ("deep/MNIST/raw", "-", True),
    ],
)
def test_grey_images_become_three_channels_of_32_pixels(small, below, dot, packed, tmp_path):
    write(tmp_path / below, dot, packed)
    data = prepare.find("mnist", str(tmp_path), None).load()
    assert data.train_images.shape == (30, 32, 32, 3) and data.train_labels.tolist() == LABELS["train"].tolist()
    assert data.test_labels.tolist() == list(range(10)) and data.classes == tuple("0123456789")
    for found, grey in ((data.train_images[7], IMAGES["train"][7]), (data.test_images[9], IMAGES["t10k"][9])):
        expected = np.asarray(Image.fromarray(grey).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
        assert np.abs(found.astype(int) - expected).max() <= 1, "the interpolation is that of the benchmark"
        assert (found[..., 0] == found[..., 2]).all()
    assert data.mean == (0.1307,) * 3 and data.std == (0.3081,) * 3


def test_digits_are_mirrored_under_reference_alone_and_clothes_always(small, tmp_path):
    write(tmp_path / "MNIST" / "raw")
    write(tmp_path / "FashionMNIST" / "raw")
    for name, fixed, reference in (("mnist", None, Augment(0, True)), ("fashion_mnist", *[Augment(0, True)] * 2)):
        data = prepare.find(name, str(tmp_path), None).load()
        for compat, expected in (("fixed", fixed), ("reference", reference)):
            views = prepare.Views(data, torch.device("cpu"), compat=compat)
            assert views.train(np.arange(30)).augment == expected, (name, compat)
    shown, _ = next(iter(views.train(np.arange(30)).batches(30, seed=3)))
    still, _ = next(iter(views.train(np.arange(30)).plain().batches(30, seed=3)))
    mirrored = [bool((one == other.flip(2)).all()) for one, other in zip(shown, still)]
    assert 5 < sum(mirrored) < 25
    assert all(flip or bool((one == other).all()) for flip, one, other in zip(mirrored, shown, still))


def test_a_tree_of_images_serves_too(tmp_path):
    for part, number in (("train", 2), ("test", 1)):
        for label in range(10):
            for image in range(number):
                path = tmp_path / part / str(label) / f"{image}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(IMAGES["train"][label]).save(path)
    info = prepare.find("mnist", str(tmp_path), None)
    assert info.load().train_images.shape == (20, 32, 32, 3) and info.side == 32


def run(capsys, *words) -> str:
    """The one line with which ``main_imp.py`` refuses."""
    assert main_imp.main([*words, "--arch", "resnet20s", "--epochs", "0", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("main_imp.py: error: ")
    return said


def test_damaged_files_are_named(small, tmp_path, capsys):
    def refused() -> str:
        return run(capsys, "--dataset", "mnist", "--data", str(tmp_path), "--save_dir", str(tmp_path / "run"))

    for name, content, said in (
        ("train-images-idx3-ubyte", idx(IMAGES["train"])[:-1], "is damaged or no IDX file"),
        ("train-images-idx3-ubyte", idx(LABELS["train"]), "does not begin as unsigned bytes of 3 dimensions do"),
        ("train-images-idx3-ubyte", b"", "is empty"),
        ("train-labels-idx1-ubyte", idx(LABELS["train"][:-1]), "has 30 train images and 29 labels"),
        ("t10k-labels-idx1-ubyte", idx(LABELS["t10k"] + 1), "holds another data set by the same file names"),
        ("t10k-labels-idx1-ubyte", None, "lacks t10k-labels-idx1-ubyte (or .gz)"),
    ):
        write(tmp_path)
        if content is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(content)
        assert said in refused(), name
    write(tmp_path / "packed", packed=True)
    place = tmp_path / "packed" / "train-images-idx3-ubyte.gz"
    place.write_bytes(place.read_bytes()[:-20])
    assert "is damaged or no IDX file" in run(
        capsys, "--dataset", "mnist", "--data", str(place.parent), "--save_dir", str(tmp_path / "run")
    )


def test_one_data_set_is_not_taken_for_the_other(small, tmp_path, capsys, monkeypatch):
    from dataset.idx import read_idx

    write(tmp_path)
    other = replace(
        catalog.get("mnist"), read=read_idx("MNIST", CLOTHES, (2, 4) + (3,) * 8), official=(2, 4) + (3,) * 8
    )
    monkeypatch.setitem(catalog._sources._items, "mnist", other)
    said = run(capsys, "--dataset", "mnist", "--data", str(tmp_path), "--save_dir", str(tmp_path / "run"))
    assert "holds another data set by the same file names, with 3 of class 0 and 10 classes; MNIST has 2 and 10" in said


def test_where_there_are_no_files_it_says_which_belong_there(tmp_path, capsys):
    said = run(capsys, "--dataset", "fashion-mnist", "--data", str(tmp_path), "--save_dir", str(tmp_path / "run"))
    assert "holds no FashionMNIST and it cannot be downloaded" in said and "train-images-idx3-ubyte (or .gz)" in said


def test_the_published_counts_are_those_of_the_published_files():
    assert [sum(catalog.get(name).official) for name in ("mnist", "fashion_mnist")] == [60_000, 60_000]
    assert catalog.get("FashionMNIST").name == "fashion_mnist"


# UTKFace

AGES = [0, 19, 20, 39, 40, 59, 60, 79, 80, 116] * 3


def faces(folder, ages=AGES) -> list[str]:
    """Images of 20 x 20 pixels by the names of UTKFace's, written in a random order."""
    folder.mkdir(parents=True)
    names = [f"{age}_{place % 2}_0_201701{place:02}.jpg.chip.jpg" for place, age in enumerate(ages)]
    for name in random.Random(0).sample(names, len(names)):
        level = min(int(name.split("_")[0]) * 2, 255)
        Image.new("RGB", (20, 20), (level, level, level)).save(folder / name)
    return sorted(names)


def test_ages_become_five_classes_and_a_fifth_tests(tmp_path, monkeypatch):
    names = faces(tmp_path / "UTKFace")
    order = np.random.default_rng(123).permutation(len(names)).tolist()
    shuffled, listdir = random.Random(1), os.scandir

    class Scrambled:
        """The entries of a folder in an order of its own each time."""

        def __init__(self, path):
            with listdir(path) as entries:
                self.entries = list(entries)
            shuffled.shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, "scandir", Scrambled)
    seen = set()
    for _ in range(3):
        info = prepare.find("utkface", str(tmp_path), None)
        seen.add((tuple(info.files.train[0]), tuple(info.files.test[0]), info.notes["files"]))
    assert len(seen) == 1
    train, test = (
        [os.path.basename(os.fsdecode(path)) for path in part[0]] for part in (info.files.train, info.files.test)
    )
    assert test == [names[i] for i in order[:6]] and train == [names[i] for i in order[6:]]
    classes = [min(int(name.split("_")[0]) // 20, 4) for name in train]
    assert info.files.train[1].tolist() == classes and info.official == [classes.count(label) for label in range(5)]
    assert info.names == ("0-19", "20-39", "40-59", "60-79", "80+")
    assert info.notes["files"].startswith("30 images, 23,708 as published; names' digest ") and info.side == 224


def test_faces_are_resized_and_never_augmented(tmp_path):
    faces(tmp_path / "UTKface_Aligned_cropped" / "UTKFace")
    data = prepare.find("utkface", str(tmp_path), None).load()
    assert data.train_images.shape == (24, 224, 224, 3) and (data.mean, data.std) == catalog.IMAGENET
    assert prepare.Views(data, torch.device("cpu")).train(np.arange(3)).augment is None
    assert prepare.find("utkface", str(tmp_path), 16).load().train_images.shape == (24, 16, 16, 3)


def test_files_without_an_age_are_counted_and_named(tmp_path, capsys):
    place = tmp_path / "UTKFace"
    faces(place)
    for name in ("notes.txt", "face.jpg", "x_1_0.jpg"):
        (place / name).write_bytes((place / os.listdir(place)[0]).read_bytes())
    words = [
        "--dataset",
        "utkface",
        "--data",
        str(tmp_path),
        "--input_size",
        "8",
        "--arch",
        "resnet20s",
        "--epochs",
        "0",
    ]
    assert (
        main_imp.main([*words, "--split", "deepunlearn", "--device", "cpu", "--save_dir", str(tmp_path / "run")]) == 0
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "2 whose name does not begin with an age (UTKFace/face.jpg), 1 .txt (UTKFace/notes.txt)" in said
    split = json.loads((tmp_path / "run" / "result.json").read_text())["split"]
    assert (split["train"], split["val"], split["test"]) == (20, 4, 6)


def test_where_there_are_no_faces_it_says_what_belongs_there(tmp_path, capsys):
    words = ["--dataset", "utkface", "--data", str(tmp_path), "--save_dir", str(tmp_path / "run")]
    assert "holds no UTKFace, which has to be fetched by hand; expected UTKFace/AGE_GENDER_RACE" in run(capsys, *words)
    faces(tmp_path / "UTKFace", AGES[:3])
    assert "has 3 images with an age in their name; too few to divide" in run(capsys, *words)
    with pytest.raises(UsageError, match="--stream: utkface is kept in memory"):
        catalog.get("utkface", stream=True)
