"""Image sets that stay on disk, and TinyImageNet: same interface, same bytes whoever reads, and files in any layout."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RUN_FILES
from PIL import Image

import arg_parser
import main_forget
import main_imp
from dataset import catalog, locate, prepare, reading, stream, tree
from dataset.images import ImageSet
from dataset.named import tiny_imagenet
from dataset.scenario import Scenario
from dataset.split import split_for_unlearning
from dataset.stream import OnDisk, StreamedSet, Zoom
from evaluation.predict import predict
from utils.errors import UsageError
from utils.options import identity

CLASSES = ("n01", "n02", "n03")
SIZES = ((40, 48), (48, 40), (41, 67), (90, 40))  # width, height; the first is the most frequent
CPU = torch.device("cpu")


def picture(path: Path, size: tuple[int, int], seed: int, **options) -> None:
    """Smooth random colours, so that JPEG keeps and resizing tells images apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.RandomState(seed).randint(0, 256, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, **options)


def make_tree(root: Path, train: int = 8, test: int = 4, part: str = "val") -> Path:
    for label, name in enumerate(CLASSES):
        for number in range(train):
            picture(
                root / "train" / name / f"{number}.JPEG",
                SIZES[0 if number % 4 else number // 4 % 4],
                100 * label + number,
            )
        for number in range(test):
            picture(root / part / name / f"{number}.JPEG", SIZES[number % 4], 100 * label + number + 50)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_tree(tmp_path_factory.mktemp("images"), 10)


def streamed(root: Path, size: int = 32, workers: int = 0, compat: str = "fixed") -> prepare.Views:
    data = prepare.find("folder", str(root), size, stream=True).load()
    return prepare.Views(data, CPU, workers, compat)


def collected(batches) -> tuple[torch.Tensor, list[int]]:
    images, labels = zip(*batches)
    return torch.cat(images), torch.cat(labels).tolist()


def levels(images: torch.Tensor) -> np.ndarray:
    """Float [N, 3, H, W] back to uint8 [N, H, W, 3]."""
    return images.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


# ---- what comes out of a file ---------------------------------------------------------------------


def slow_centre(path: bytes, size: int, distort: bool) -> np.ndarray:
    """Shorter side to 256/224 of the size (or both sides), then the middle."""
    with Image.open(path) as image:
        picture, (width, height) = image.convert("RGB"), image.size
    side = round(size * 256 / 224)
    wide, high = (
        (side, side)
        if distort
        else (side, int(side * height / width))
        if width <= height
        else (int(side * width / height), side)
    )
    left, top = round((wide - size) / 2), round((high - size) / 2)
    return np.asarray(
        picture.resize((wide, high), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    )


@pytest.mark.parametrize("compat", ["fixed", "reference"])
@pytest.mark.parametrize("size", [32, 56])
def test_without_augmentation_an_image_is_the_middle_of_the_resized_file(root, size, compat):
    views = streamed(root, size, compat=compat)
    listing = tree.listing(root)
    for images, paths in ((views.test(), listing.test[0]), (views.train(np.arange(30)), listing.train[0])):
        pixels, labels = collected(images.batches(7))
        assert (
            pixels.dtype == torch.float32
            and pixels.shape == (len(paths), 3, size, size)
            and pixels.is_contiguous(memory_format=torch.channels_last)
        )
        assert labels == images.labels.tolist() == [label for label in range(3) for _ in range(len(paths) // 3)]
        expected = np.stack([slow_centre(path, size, compat == "reference") for path in paths])
        np.testing.assert_array_equal(levels(pixels), expected)


def test_at_224_the_shorter_side_becomes_256(tmp_path):
    # Red is the column, green the row: of 512 x 256 pixels columns 144 to 367 and rows 16 to 239 remain.
    rows, columns = np.mgrid[:256, :512]
    Image.fromarray(np.stack([columns // 2, rows, rows * 0], axis=-1).astype(np.uint8)).save(tmp_path / "ramp.png")
    files = OnDisk(np.array([os.fsencode(tmp_path / "ramp.png")]), 224)
    ((pixels, _),) = StreamedSet(files, torch.zeros(1, dtype=torch.int64)).batches(1)
    assert levels(pixels)[0, 0, :, 0].tolist() == [column // 2 for column in range(144, 368)]
    assert levels(pixels)[0, :, 0, 1].tolist() == list(range(16, 240))
    ((pixels, _),) = StreamedSet(replace(files, distort=True), torch.zeros(1, dtype=torch.int64)).batches(1)
    # 512 columns in 256: of every two the mean (antialiased), beginning with columns 32 and 33.
    assert levels(pixels)[0, 0, :, 0].tolist() == pytest.approx(list(range(16, 240)), abs=1)


@pytest.fixture(scope="module")
def ramps(tmp_path_factory) -> StreamedSet:
    """One picture, 240 x 180, 400 times over: red is the column, green the row."""
    path = tmp_path_factory.mktemp("ramp") / "ramp.png"
    rows, columns = np.mgrid[:180, :240]
    Image.fromarray(np.stack([columns, rows, rows * 0], axis=-1).astype(np.uint8)).save(path)
    return StreamedSet(
        OnDisk(np.array([os.fsencode(path)] * 400), 32), torch.zeros(400, dtype=torch.int64), None, Zoom()
    )


def test_training_images_are_random_parts_of_the_area_mirrored_half_of_the_time(ramps):
    pixels = levels(collected(ramps.batches(400, 1))[0]).astype(float)
    # From the centre of the first to that of the last pixel is 31/32 of the part.
    width = (pixels[:, 16, -1, 0] - pixels[:, 16, 0, 0]) * 32 / 31
    height = (pixels[:, -1, 16, 1] - pixels[:, 0, 16, 1]) * 32 / 31
    area, shape = np.abs(width) * height / (240 * 180), np.abs(width) / height
    assert (height > 0).all()  # never upside down
    assert 0.4 < (width < 0).mean() < 0.6  # 4 standard deviations
    assert 0.07 < area.min() < 0.12 and 0.9 < area.max() < 1.05
    assert 0.38 < area.mean() < 0.52  # below the 0.54 of a square picture: parts that do not fit are drawn again
    assert 0.70 < shape.min() < 0.8 and 1.25 < shape.max() < 1.42
    assert len(np.unique(pixels.reshape(400, -1), axis=0)) > 390  # each drew its own part
    left = np.minimum(pixels[:, 16, 0, 0], pixels[:, 16, -1, 0])
    assert left.min() < 10 and left.max() > 120  # from everywhere


def test_images_that_are_drawn_are_whole_and_flipped_alone(tmp_path):
    """The shorter side is as it was, the longer one is cut to it; union of two such sets needs one source."""
    pixels = np.random.RandomState(1).randint(0, 256, (32, 48, 3)).astype(np.uint8)
    for number in range(16):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    paths = np.array([os.fsencode(tmp_path / f"{number}.png") for number in range(16)])
    found = StreamedSet(OnDisk(paths, 32, distort=True), torch.zeros(16, dtype=torch.int64), None, Zoom())
    whole, middle = found.flips_alone(), torch.from_numpy(pixels[:, 8:40]).permute(2, 0, 1) / 255
    assert whole.source is found.flips_alone().source
    assert torch.equal(next(whole.batches(16))[0], middle.expand(16, -1, -1, -1))
    shuffled = next(whole.batches(16, 3))[0]
    mirrored = [bool(torch.equal(image, middle.flip(2))) for image in shuffled]
    assert 2 < sum(mirrored) < 14
    assert all(torch.equal(image, middle) for image, other in zip(shuffled, mirrored) if not other)
    assert StreamedSet(found.source, found.labels, None, Zoom(flip=False)).flips_alone().augment is None


def test_flip_can_be_left_out(ramps):
    upright = StreamedSet(ramps.source, torch.zeros(400, dtype=torch.int64), np.arange(60), Zoom(flip=False))
    pixels = levels(collected(upright.batches(60, 1))[0]).astype(float)
    assert (pixels[:, 16, -1, 0] > pixels[:, 16, 0, 0]).all()


def test_how_an_image_is_cut_depends_on_seed_and_place_alone(ramps):
    whole = collected(ramps.first(60).batches(60, 3))[0]
    torch.manual_seed(5)
    assert torch.equal(whole, collected(ramps.first(60).batches(7, 3))[0])
    assert not torch.equal(whole, collected(ramps.first(60).batches(60, 4))[0])
    # All images are one, so order has no say here: the same places are cut the same way.
    assert torch.equal(whole, collected(ramps.first(60).augmented_in_order(16, 3))[0])
    assert torch.equal(whole[:20], collected(ramps.first(20).augmented_in_order(16, 3))[0])


# ---- who reads ------------------------------------------------------------------------------------


def test_the_number_of_workers_changes_no_byte_and_no_random_number(root):
    def everything(workers):
        views = streamed(root, 32, workers)
        train = views.train(np.arange(23, -1, -1))
        before = torch.get_rng_state()
        found = [
            train.batches(5, 0),
            train.batches(5, 1),
            train.batches(40),
            train.augmented_in_order(3, 1),
            views.test().batches(4),
        ]
        found = [collected(batches) for batches in found]
        assert torch.equal(torch.get_rng_state(), before)
        return found

    alone = everything(0)
    assert not torch.equal(alone[0][0], alone[1][0]) and alone[0][1] != alone[1][1]
    for workers in (1, 2, 9):
        for (images, labels), (expected, expected_labels) in zip(everything(workers), alone):
            assert torch.equal(images, expected) and labels == expected_labels
    assert multiprocessing.active_children() == []


class WhoReads(reading.Reader):
    def pixels(self, position):
        return np.array([os.getpid(), position])


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_are_processes_of_their_own(workers):
    chunks = list(reading.in_chunks(WhoReads(np.zeros(24)), reading.spans(24, 2), workers))
    assert torch.cat(chunks)[:, 1].tolist() == list(range(24))
    readers = set(torch.cat(chunks)[:, 0].tolist())
    expected = min(workers, reading.cores())
    assert len(readers) == max(expected, 1) and (os.getpid() in readers) == (expected == 0)


def test_spans_cover_everything_once():
    assert reading.spans(7, 3) == [range(3), range(3, 6), range(6, 7)]
    assert reading.spans(6, 3) == [range(3), range(3, 6)] and reading.spans(0, 3) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_larger_than_what_one_worker_reads_at_a_time(root, workers, monkeypatch):
    train = streamed(root, 32, workers).train(np.arange(24))
    whole, labels = collected(train.batches(24, 2))
    monkeypatch.setattr(stream, "CHUNK", 3)
    batches = list(train.batches(10, 2))
    assert [len(y) for _, y in batches] == [10, 10, 4]
    images, again = collected(batches)
    assert torch.equal(images, whole) and again == labels


def test_a_pass_that_is_abandoned_leaves_no_process(root):
    train = streamed(root, 32, 2).train(np.arange(24))
    batches = train.batches(2, 0)
    next(batches)
    assert len(multiprocessing.active_children()) == min(2, reading.cores())
    del batches
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["half", "text", "empty"])
def test_an_unreadable_image_is_named(tmp_path, workers, damage):
    root = make_tree(tmp_path, 6)
    victim = root / "train" / "n02" / "3.JPEG"
    whole = victim.read_bytes()
    victim.write_bytes({"half": whole[: len(whole) // 2], "text": b"404 not found", "empty": b""}[damage])
    train = streamed(root, 32, workers).train(np.arange(18))
    with pytest.raises(
        UsageError, match=r"^--data: .*train/n02/3\.JPEG(: is empty| is not a readable image \([^\n]*\))$"
    ):
        list(train.batches(2, 0))
    assert multiprocessing.active_children() == []


# ---- the interface --------------------------------------------------------------------------------


def test_both_kinds_of_sets_answer_alike(root):
    views = streamed(root, 16)
    paths, labels = tree.listing(root).train
    pixels = torch.from_numpy(np.stack([slow_centre(path, 16, False) for path in paths])).permute(0, 3, 1, 2)
    chosen = np.array([20, 3, 3, 11, 0, 7])
    kept, read = ImageSet(pixels, torch.from_numpy(labels), chosen), views.train(chosen).plain()
    for one, other in (
        (kept, read),
        (kept.first(2), read.first(2)),
        (kept.first(99), read.first(99)),
        (kept.plain(), read.plain()),
        (kept.at(torch.tensor([5, 2])), read.at(torch.tensor([5, 2]))),
    ):
        assert len(one) == len(other) and one.device == other.device == CPU
        assert one.indices.tolist() == other.indices.tolist() and one.labels.tolist() == other.labels.tolist()
        for seed in (None, 0, 1):
            left, right = list(one.batches(4, seed)), list(other.batches(4, seed))
            assert [len(y) for _, y in left] == [len(y) for _, y in right]
            assert torch.equal(collected(left)[0], collected(right)[0]) and collected(left)[1] == collected(right)[1]
        assert torch.equal(collected(one.augmented_in_order(4, 1))[0], collected(other.augmented_in_order(4, 1))[0])
    for images in (kept, read):
        assert images.first(1).source is images.at(torch.tensor([1])).source is images.source
    train = views.train(chosen)
    assert (
        train.augment == train.first(2).augment == Zoom()
        and train.plain().augment is None is train.at(train.indices).augment
    )
    assert train.source is views.val(np.array([1])).source is not views.test().source


def test_predict_sees_each_streamed_image_once(root):
    views = streamed(root, 16, 1)
    sets = {
        "retain": views.train(np.arange(4, 24)),
        "forget": views.train(np.arange(6)),
        "val": views.val(np.array([23, 2])),
        "test": views.test(np.arange(4, 12)),
        "whole": views.val(None),
    }
    seen = []

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3 * 16 * 16, 3)

        def forward(self, images):
            seen.extend(float(image.sum()) for image in images)  # also keeps the model from being traced
            return self.head(images.flatten(1))

    model = Model()
    found = predict(model, sets)
    assert len(seen) == len(set(seen)) == 24 + 12
    for name, images in sets.items():
        expected = torch.cat([model(batch) for batch, _ in images.plain().batches(5)])
        assert (
            torch.allclose(found[name].logits, expected, atol=1e-5)
            and found[name].labels.tolist() == images.labels.tolist()
        )


def test_validation_images_are_augmented_only_if_they_are_training_images(root):
    views = streamed(root, 16)
    assert views.val(np.array([1, 5])).augment == Zoom() and views.val(None).augment is None
    assert views.val(None).source is views.test().source and len(views.val(None)) == 12


# ---- named data sets ------------------------------------------------------------------------------


def test_a_streamed_folder_sets_a_tenth_apart_and_imagenet_does_not(tmp_path):
    root = make_tree(tmp_path, 10)
    folder, imagenet = (prepare.find("folder", str(root), None, stream=True), prepare.find("ImageNet", str(root), None))
    assert folder.official == imagenet.official == [10] * 3
    assert (folder.train_counts, imagenet.train_counts) == ([9] * 3, [10] * 3)
    for chosen in (folder, imagenet):
        data = chosen.load()
        assert data.streamed == 224 and data.words == "224x224 pixels, read from disk as needed" and data.val is None
        assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        assert data.train_images.shape == (30,) and data.test_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    base = prepare.base_split(imagenet.load(), 2, None, "fixed")
    assert base.val is None and base.train.tolist() == list(range(30))
    assert prepare.find("imagenet", str(root), 64).load().streamed == 64
    # ImageNet's own test part has no labels.
    (root / "test").mkdir()
    picture(root / "test" / "ILSVRC2012_test_1.JPEG", (9, 9), 0)
    assert len(prepare.find("imagenet", str(root), None).load().test_labels) == 12


def tiny_files(root: Path, layout: str) -> Path:
    """Three classes of 4 training images and 6 validation images each, numbered across classes."""
    wnids = ("n03", "n01", "n02")
    for label, wnid in enumerate(wnids):
        for number in range(4):
            picture(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", (64, 64), 10 * label + number)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("n01_0.JPEG\t0\t0\t63\t63\n")
    rows = []
    for number in range(18):
        wnid = wnids[number % 3]
        name = f"val_{number}.JPEG"
        place = {
            "official": root / "val" / "images",
            "sorted": root / "val" / wnid / "images",
            "halves": root / ("val" if number % 2 else "test") / wnid / "images",
        }[layout]
        picture(place / name, (64, 64), 1000 + number)
        rows.append(f"{name}\t{wnid}\t0\t32\t44\t62\n")
    if layout == "official":
        (root / "val" / "val_annotations.txt").write_text("".join(rows))
        picture(root / "test" / "images" / "test_0.JPEG", (64, 64), 0)
    return root


@pytest.mark.parametrize("layout", ["official", "sorted", "halves"])
def test_tinyimagenet_halves_its_validation_images_by_file_name(tmp_path, layout):
    root = tiny_files(tmp_path, layout)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    listing = tiny_imagenet.listing(root)
    assert listing.classes == ("n01", "n02", "n03") and listing.counts == [4, 4, 4]
    names = {
        part: [os.path.basename(path).decode() for path in getattr(listing, part)[0]]
        for part in ("train", "val", "test")
    }
    assert names["train"] == [f"{wnid}_{number}.JPEG" for wnid in listing.classes for number in range(4)]
    # n01 has images 1, 4, 7, 10, 13, 16; as names 10 and 13 come before 4. Likewise n02 (2, 5, ...) and n03 (0, 3,
    # ...).
    assert names["val"] == [f"val_{n}.JPEG" for n in (1, 10, 13, 11, 14, 17, 0, 12, 15)]
    assert names["test"] == [f"val_{n}.JPEG" for n in (16, 4, 7, 2, 5, 8, 3, 6, 9)]
    assert listing.val[1].tolist() == listing.test[1].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]

    data = prepare.find("tiny_imagenet", str(root), None).load()
    for part, images, labels in (
        ("train", data.train_images, data.train_labels),
        ("val", *data.val),
        ("test", data.test_images, data.test_labels),
    ):
        assert images.shape == (len(names[part]), 64, 64, 3) and images.dtype == np.uint8
        assert labels.tolist() == getattr(listing, part)[1].tolist()
        expected = [np.asarray(Image.open(path).convert("RGB")) for path in getattr(listing, part)[0]]
        np.testing.assert_array_equal(images, np.stack(expected))
    assert (data.name, data.pad, data.flip, data.streamed, data.with_validation) == (
        "TinyImagenet",
        4,
        True,
        None,
        False,
    )
    assert data.mean == (0.485, 0.456, 0.406) and data.std == (0.229, 0.224, 0.225)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before  # nothing moved, nothing written


def test_tinyimagenet_validates_and_tests_on_different_images_and_forgets_in_the_test_set(tmp_path):
    chosen = prepare.find("TinyImagenet", str(tiny_files(tmp_path, "official")), 16)
    data = chosen.load()
    assert chosen.train_counts == [4, 4, 4] and data.pad == 1
    base = prepare.base_split(data, 2, None, "fixed")
    split = split_for_unlearning(
        data.train_labels, data.test_labels, base, Scenario((1,)).resolve(chosen.train_counts), 2
    )
    assert (len(split.retain), split.forget.tolist(), split.whole_classes) == (8, [4, 5, 6, 7], (1,))
    views = prepare.Views(data, CPU)
    assert views.test(split.test).labels.tolist() == [0, 0, 0, 2, 2, 2]
    val = views.val(split.val)
    assert (
        val.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        and val.source is not views.test().source
        and val.augment is None
    )


def test_where_tinyimagenet_is_looked_for(tmp_path, monkeypatch):
    source = catalog.get("TinyImageNet")
    monkeypatch.chdir(tmp_path)
    here, data = Path("tiny-imagenet-200"), Path("data/tiny-imagenet-200")
    assert locate.find_root(source, None) == here
    picture(data / "train" / "n01" / "images" / "0.JPEG", (4, 4), 0)
    assert locate.find_root(source, None) == locate.find_root(source, Path("data")) == data
    picture(here / "train" / "n01" / "images" / "0.JPEG", (4, 4), 0)
    assert locate.find_root(source, None) == here and locate.find_root(source, Path("data")) == data
    assert locate.find_root(source, data) == data and locate.find_root(source, Path("mine")) == Path("mine")


@pytest.mark.parametrize("name", ["TinyImagenet", "tinyimagenet", "TinyImageNet", "tiny_imagenet", "TINY-IMAGENET"])
def test_capitals_and_underscores_do_not_matter(name):
    assert (
        catalog.get(name).name
        == "TinyImagenet"
        == arg_parser.parse_imp(["--dataset", name, "--save_dir", "S"]).data.dataset
    )


def test_large_sets_are_decoded_by_several_processes_to_the_same_pixels(root, monkeypatch):
    paths = tree.listing(root).train[0].repeat(30)
    serial = reading.decode(paths, 12)
    monkeypatch.setattr(reading, "PARALLEL", 0)
    np.testing.assert_array_equal(reading.decode(paths, 12), serial)
    assert serial.shape == (900, 12, 12, 3) and len(np.unique(serial.reshape(900, -1), axis=0)) == 30


# ---- what a user types ----------------------------------------------------------------------------


def test_the_references_names_of_flags(tmp_path):
    def parsed(*words):
        return arg_parser.parse_imp([*words, "--save_dir", "S"])

    assert parsed("--dataset", "TinyImagenet", "--data", "a", "--data_dir", "b").data.data == "b"
    found = parsed("--dataset", "cifar10", "--data", "a", "--data_dir", "b", "--num_workers", "8")
    assert found.data.data == "a" and found.unread == ("--data_dir", "--num_workers")
    assert parsed("--dataset", "imagenet", "--num_workers", "8").data.workers == 8
    assert parsed("--dataset", "folder", "--stream", "--workers", "2", "--num_workers", "8").data.workers == 2
    assert parsed("--dataset", "imagenet").data.workers == 4
    assert parsed("--dataset", "imagenet", "--workers", "1").unread == () and parsed("--workers", "1").unread == (
        "--workers",
    )
    configs = [identity(parsed("--dataset", "imagenet", "--workers", str(workers))) for workers in (0, 7)]
    assert configs[0] == configs[1]


BAD = [
    (
        ["--dataset", "imagenet", "--data", "nowhere"],
        "--data nowhere: no folder tree there; expected train/<class>/*.jpg and val/<class>/*.jpg",
    ),
    (
        ["--dataset", "TinyImagenet", "--data_dir", "nowhere"],
        "--data nowhere: no tiny-imagenet-200 there; expected train/<wnid>/images/*.JPEG",
    ),
    (["--dataset", "cifar10", "--stream"], "--stream: cifar10 is kept in memory; folder and imagenet can be streamed"),
    (["--dataset", "imagenet", "--workers", "-1"], "--workers -1: must be at least 0"),
    (["--dataset", "imagenet", "--num_workers", "x"], "--workers x: must be a whole number"),
    (["--dataset", "imagnet"], "--dataset imagnet: unknown (did you mean imagenet?)"),
]


def refused(argv, tmp_path, capsys) -> str:
    target = tmp_path / "run"
    assert main_imp.main(["--save_dir", str(target), "--arch", "resnet20s", "--device", "cpu", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and not target.exists()
    return captured.err.removeprefix("main_imp.py: error: ")


@pytest.mark.parametrize(
    ("argv", "message"), BAD, ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else ""
)
def test_bad_flags(argv, message, tmp_path, capsys):
    assert refused(argv, tmp_path, capsys).startswith(message)


def without_annotations(root):
    (root / "val" / "val_annotations.txt").unlink()


def unknown_class(root):
    (root / "val" / "val_annotations.txt").open("a").write("val_0.JPEG\tn99\t0\t0\t1\t1\n")


def twice(root):
    (root / "val" / "val_annotations.txt").open("a").write("val_0.JPEG\tn01\t0\t0\t1\t1\n")


TINY = {
    "no annotations": (without_annotations, "val/images is there, val/val_annotations.txt is not"),
    "an unknown class": (unknown_class, "val/val_annotations.txt, line 19: expected a file name and a class of train/"),
    "an image listed twice": (
        twice,
        "val/val_annotations.txt lists val_0.JPEG, which is not in val/images, or lists it twice",
    ),
    "a missing image": (
        lambda root: (root / "val/images/val_4.JPEG").unlink(),
        "val/val_annotations.txt lists val_4.JPEG, which is not in val/images",
    ),
    "an image too many": (
        lambda root: picture(root / "val/images/new.JPEG", (64, 64), 0),
        "val/images/new.JPEG is not listed in val/val_annotations.txt",
    ),
    "an empty class": (lambda root: (root / "train" / "n04").mkdir(), "no images in train/n04"),
    "no val": (
        lambda root: (root / "val").rename(root / "elsewhere"),
        "no two validation images of any class; expected val/images",
    ),
}


@pytest.mark.parametrize("kind", TINY)
def test_bad_tinyimagenet_folders(kind, tmp_path, capsys):
    root = tiny_files(tmp_path / "tiny", "official")
    TINY[kind][0](root)
    error = refused(["--dataset", "TinyImagenet", "--data", str(root)], tmp_path, capsys)
    assert error.startswith(f"--data {root}: {TINY[kind][1]}")


def test_bad_imagenet_folders(tmp_path, capsys):
    root = make_tree(tmp_path / "images", 1, 1)
    argv = ["--dataset", "imagenet", "--data", str(root)]
    (root / "val").rename(root / "elsewhere")
    assert "has train/ but neither val/ nor test/" in refused(argv, tmp_path, capsys)
    picture(root / "val" / "ILSVRC2012_val_1.JPEG", (9, 9), 0)
    assert "val/ has no class folders; sort its images into val/<wnid>/ first" in refused(argv, tmp_path, capsys)
    (root / "val" / "n99").mkdir()
    assert "class n99 is in val/ but not in train/" in refused(argv, tmp_path, capsys)


# ---- the scripts, end to end ----------------------------------------------------------------------

ROUND_FILES = {
    f"{round_}{name}" for round_ in (0, 1) for name in ("checkpoint.pth.tar", "model_SA_best.pth.tar", "net_train.png")
}


def imp(root: Path, folder: Path, *more: str) -> int:
    shape = ["--data", str(root), "--input_size", "32", "--device", "cpu", "--batch_size", "9", "--epochs", "1"]
    return main_imp.main([*shape, "--save_dir", str(folder), *more])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.p*t*")) if path.suffix != ".png"}


def test_the_scripts_on_imagenet_whatever_the_number_of_workers(root, tmp_path, capsys):
    kind = ["--dataset", "imagenet", "--arch", "resnet20s"]
    for workers in ("0", "2"):
        assert imp(root, tmp_path / workers, *kind, "--workers", workers, "--pruning_times", "2", "--rate", "0.9") == 0
        mask = tmp_path / workers / "1model_SA_best.pth.tar"
        shape = ["--data", str(root), "--input_size", "32", "--device", "cpu", "--workers", workers]
        hyper = ["--unlearn", "FT", "--unlearn_epochs", "1", "--batch_size", "9", "--class_to_replace", "2"]
        start = ["--mask", str(mask), "--save_dir", str(tmp_path / workers / "FT")]
        assert main_forget.main([*kind, *shape, *hyper, *start]) == 0
    assert {path.name for path in (tmp_path / "2").iterdir()} == RUN_FILES | ROUND_FILES | {"FT"}
    assert {path.name for path in (tmp_path / "2" / "FT").iterdir()} == RUN_FILES | {
        "FTcheckpoint.pth.tar",
        "FTeval_result.pth.tar",
    }
    for folder in (Path(), Path("FT")):
        assert contents(tmp_path / "0" / folder) == contents(tmp_path / "2" / folder)
    results = [json.loads((tmp_path / workers / "FT" / "result.json").read_text()) for workers in ("0", "2")]
    assert results[0]["fingerprint"] == results[1]["fingerprint"] and results[0]["accuracy"] == results[1]["accuracy"]
    sizes = {name: results[0]["split"][name] for name in ("retain", "forget", "val", "test")}
    assert sizes == {"retain": 20, "forget": 10, "val": 12, "test": 8}
    assert "32x32 pixels, read from disk as needed; train 30  val 12  test 12" in capsys.readouterr().out


def test_methods_that_look_at_single_images_on_a_streamed_folder(root, tmp_path):
    kind = ["--dataset", "folder", "--stream", "--arch", "resnet20s", "--workers", "2"]
    assert imp(root, tmp_path, *kind) == 0
    mask = str(tmp_path / "0checkpoint.pth.tar")
    start = ["--data", str(root), "--input_size", "32", "--device", "cpu", "--mask", mask]
    for method, more in (
        ("wfisher", ["--alpha", "0.1"]),
        ("fisher_new", ["--compat", "reference", "--allow_split_mismatch"]),
    ):
        assert (
            main_forget.main(
                [
                    *kind,
                    *start,
                    "--unlearn",
                    method,
                    *more,
                    "--forget",
                    "random:5",
                    "--save_dir",
                    str(tmp_path / method),
                ]
            )
            == 0
        )
        result = json.loads((tmp_path / method / "result.json").read_text())
        assert result["split"]["forget"] == 5 and all(math.isfinite(score) for score in result["scores"].values())
    assert multiprocessing.active_children() == []


def test_the_scripts_on_tinyimagenet(tmp_path):
    root = tiny_files(tmp_path / "tiny", "halves")
    kind = ["--dataset", "TinyImagenet", "--arch", "resnet20s"]
    assert imp(root, tmp_path / "run", *kind) == 0
    start = [
        "--data_dir",
        str(root),
        "--input_size",
        "32",
        "--device",
        "cpu",
        "--mask",
        str(tmp_path / "run" / "0checkpoint.pth.tar"),
    ]
    assert (
        main_forget.main(
            [*kind, *start, "--unlearn", "GA", "--unlearn_epochs", "1", "--save_dir", str(tmp_path / "GA")]
        )
        == 0
    )
    split = json.loads((tmp_path / "GA" / "result.json").read_text())["split"]
    assert [split[name] for name in ("retain", "forget", "val", "test")] == [8, 4, 9, 6]


def test_an_unreadable_image_ends_a_run_in_one_line(tmp_path, capsys):
    root = make_tree(tmp_path / "images", 6)
    (root / "train" / "n03" / "5.JPEG").write_bytes(b"")
    assert imp(root, tmp_path / "run", "--dataset", "imagenet", "--arch", "resnet20s", "--workers", "2") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{root}/train/n03/5.JPEG: is empty" in error


@pytest.mark.skipif(sys.platform != "linux", reason="only a forked worker inherits the patch")
def test_a_worker_that_dies_ends_a_run_in_one_line(root, tmp_path, capsys, monkeypatch):
    def dies(path):
        if torch.utils.data.get_worker_info() is not None and b"n03/5" in path:
            os.kill(os.getpid(), signal.SIGKILL)
        return reading.open_image(path)

    monkeypatch.setattr(stream, "open_image", dies)
    assert imp(root, tmp_path / "run", "--dataset", "imagenet", "--arch", "resnet20s", "--workers", "2") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(
        "main_imp.py: error: a process that reads images died; try fewer --workers, or 0 ("
    )


def test_processes_share_a_streamed_batch(root):
    images = streamed(root).train(np.arange(27))
    whole = [batch for batch, _ in images.batches(10, 3)]
    halves = [
        [batch for batch, _ in images.batches(10, 3, part)]
        for part in (lambda n: slice(0, n // 2), lambda n: slice(n // 2, n))
    ]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert torch.equal(batch, torch.cat([first, second]))


def test_a_tree_too_small_to_validate_is_scored_without_it(tmp_path):
    make_tree(tmp_path / "data", 9, 6, "test")
    argv = "--dataset folder --input_size 16 --arch resnet20s --device cpu --data".split() + [str(tmp_path / "data")]
    more = ["--unlearn", "retrain", "--unlearn_epochs", "1", "--save_dir", str(tmp_path / "run")]
    assert main_forget.main([*argv, *more]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["accuracy"]["val"] is None and 0 <= result["accuracy"]["test"] <= 1
    assert torch.load(tmp_path / "run" / "retraineval_result.pth.tar")["accuracy"]["val"] is None
