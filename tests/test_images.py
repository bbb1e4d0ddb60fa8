"""Images in memory: where they come from, and the batches that a device makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset import catalog, locate, prepare, reading, sources, tree
from dataset.data_flags import Data
from dataset.images import Augment, ImageSet, crop_and_flip, scale
from dataset.named.cifar import CIFAR10_CLASSES
from dataset.named.digits import TRAIN
from utils.errors import UsageError

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def slow_crop_and_flip(image, top, left, flip, pad):
    """One uint8 image [C, H, W]: zeros around it, a slice, mirrored if asked."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * pad, width + 2 * pad), dtype=image.dtype)
    padded[:, pad : pad + height, pad : pad + width] = image
    cropped = padded[:, top : top + height, left : left + width]
    return cropped[:, :, ::-1] if flip else cropped


def noise(count, height=5, width=5, channels=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, height, width), generator=random, dtype=torch.uint8)


def numbered(count, augment=None, indices=None, side=6):
    """Images whose pixels all are the image's number, so that a batch tells who is in it; label = number mod 7."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 3, side, side).contiguous()
    return ImageSet(images, torch.arange(count) % 7, indices, augment)


def repeated(image, count, augment):
    """One image many times over."""
    return ImageSet(image.expand(count, -1, -1, -1).contiguous(), torch.zeros(count, dtype=torch.int64), None, augment)


def numbers(batches):
    """Which numbered images the batches hold (a crop may be black at the border, never in the middle)."""
    return [round(float(image[0].max()) * 255) for images, _ in batches for image in images]


# ---- crop and flip --------------------------------------------------------------------------------


@PROPERTY
@given(st.integers(1, 4), st.tuples(*[st.integers(1, 6)] * 2), st.integers(0, 3), st.integers(1, 3), st.integers(0, 99))
def test_crop_and_flip_equals_a_slow_twin(count, shape, pad, channels, seed):
    height, width = shape
    random = torch.Generator().manual_seed(seed)
    images = noise(count, height, width, channels, seed)
    shifts = torch.randint(0, 2 * pad + 1, (count, 2), generator=random)
    flips = torch.rand(count, generator=random) < 0.5
    expected = [
        slow_crop_and_flip(image.numpy(), top, left, flip, pad)
        for image, (top, left), flip in zip(images, shifts.tolist(), flips.tolist())
    ]
    for layout in (torch.contiguous_format, torch.channels_last):
        found = crop_and_flip(images.to(memory_format=layout), shifts, flips, pad)
        assert found.dtype == torch.uint8 and found.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_array_equal(found.numpy(), np.stack(expected))


def test_crop_and_flip_by_hand():
    # Offset (pad, pad) is the image itself; (0, 0) moves it down and right by the pad; then the mirror.
    image = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    shifts = torch.tensor([[1, 1], [0, 0], [2, 1], [1, 1], [0, 0]])
    flips = torch.tensor([False, False, False, True, True])
    found = crop_and_flip(image.expand(5, 1, 2, 2), shifts, flips, 1)[:, 0].tolist()
    assert found == [[[1, 2], [3, 4]], [[0, 0], [0, 1]], [[3, 4], [0, 0]], [[2, 1], [4, 3]], [[0, 0], [1, 0]]]


@pytest.mark.parametrize("flipped", [True, False])
def test_batches_where_all_or_none_are_mirrored(flipped):
    images, shifts = noise(4), torch.full((4, 2), 2)
    expected = images.flip(3) if flipped else images
    assert torch.equal(crop_and_flip(images, shifts, torch.full((4,), flipped), 2), expected)


def test_no_images_stay_none():
    assert crop_and_flip(noise(0), torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.bool), 2).shape == (
        0,
        3,
        5,
        5,
    )


def test_each_image_of_a_batch_is_moved_on_its_own():
    # Every batch must be an arrangement of all crops that a slow search can find; of one image repeated, all
    # 5 x 5 offsets times 2 mirrors turn up, about equally often.
    image = noise(1, 6, 6)
    images = repeated(image, 2000, Augment(pad=2))
    possible = {
        slow_crop_and_flip(image[0].numpy(), top, left, flip, 2).tobytes(): (top, left, flip)
        for top in range(5)
        for left in range(5)
        for flip in (False, True)
    }
    assert len(possible) == 50
    ((batch, _),) = images.batches(2000, seed=1)
    found = [possible[crop.round().to(torch.uint8).numpy().tobytes()] for crop in batch.mul(255)]
    assert set(found) == set(possible.values())
    for axis, share in ((0, 1 / 5), (1, 1 / 5), (2, 1 / 2)):
        shares = np.unique([choice[axis] for choice in found], return_counts=True)[1] / 2000
        assert shares == pytest.approx(share, abs=0.05)  # over 4 standard deviations


def test_flip_false_never_mirrors():
    image = noise(1, 4, 4)
    images = repeated(image, 64, Augment(1, flip=False))
    corners = [(top, left) for top in range(3) for left in range(3)]
    possible = {slow_crop_and_flip(image[0].numpy(), *corner, False, 1).tobytes() for corner in corners}
    ((batch, _),) = images.batches(64, 0)
    assert {crop.numpy().tobytes() for crop in batch.mul(255).round().to(torch.uint8)} == possible


# ---- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [None, Augment(pad=1)])
@pytest.mark.parametrize("size, sizes", [(8, [8, 8, 4]), (20, [20]), (64, [20]), (1, [1] * 20)])
def test_batches_cover_each_image_once_with_its_label(augment, size, sizes):
    wanted = list(range(10, 50, 2))
    images = numbered(60, augment, np.array(wanted))
    for seed in (None, 0, 1):
        batches = list(images.batches(size, seed))
        assert [len(labels) for _, labels in batches] == sizes
        found = numbers(batches)
        assert sorted(found) == wanted
        assert [int(y) for _, labels in batches for y in labels] == [number % 7 for number in found]


def test_same_seed_same_bytes_and_another_seed_another_order():
    images = ImageSet(noise(50), torch.arange(50), None, Augment(pad=2))

    def drawn(seed):
        batches = list(images.batches(16, seed))
        return torch.cat([b for b, _ in batches]), torch.cat([y for _, y in batches])

    first, again, other = drawn(3), drawn(3), drawn(4)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(first[1], torch.arange(50))  # a seed does shuffle
    assert torch.equal(drawn(0)[1], drawn(0)[1]) and not torch.equal(drawn(0)[1], torch.arange(50))  # 0 is a seed
    torch.manual_seed(8)  # the global generator has no say
    assert torch.equal(drawn(3)[0], first[0])


def test_the_order_depends_neither_on_augmentation_nor_on_the_batch_size():
    plain, augmented = numbered(40), numbered(40, Augment(pad=1))
    order = numbers(plain.batches(40, 5))
    assert order == numbers(augmented.batches(40, 5)) == numbers(augmented.batches(7, 5))
    whole = torch.cat([b for b, _ in augmented.batches(40, 5)])
    assert torch.equal(whole, torch.cat([b for b, _ in augmented.batches(7, 5)]))


def test_without_a_seed_order_and_pixels_are_the_set_s_own():
    wanted = torch.tensor([9, 2, 2, 30])
    source = noise(40)
    images = ImageSet(source, torch.arange(40), wanted, Augment(pad=2))
    ((batch, labels),) = images.batches(10)
    assert labels.tolist() == [9, 2, 2, 30] == images.labels.tolist()
    assert torch.equal(batch, source[wanted].float() / 255)


def test_augmented_in_order_keeps_the_order_and_moves_the_pixels():
    images = ImageSet(noise(30, 6, 6), torch.arange(30), np.arange(29, -1, -1), Augment(pad=2))
    batches = list(images.augmented_in_order(8, 2))
    assert [len(y) for _, y in batches] == [8, 8, 8, 6]
    assert torch.cat([y for _, y in batches]).tolist() == list(range(29, -1, -1))
    moved = torch.cat([b for b, _ in batches])
    assert not torch.equal(moved, torch.cat([b for b, _ in images.batches(8)]))
    assert torch.equal(moved, torch.cat([b for b, _ in images.augmented_in_order(30, 2)]))
    assert not torch.equal(moved, torch.cat([b for b, _ in images.augmented_in_order(30, 3)]))
    # Each is a crop of the image that its label names.
    for crop, label in zip(moved.mul(255).round().to(torch.uint8).numpy(), range(29, -1, -1)):
        source = images.images[label].numpy()
        assert any(
            np.array_equal(crop, slow_crop_and_flip(source, top, left, flip, 2))
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
        )


def test_pixels_become_floats_from_zero_to_one():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16).contiguous()
    ((batch, labels),) = ImageSet(levels, torch.tensor([4])).batches(1)
    assert batch.dtype == torch.float32 and labels.dtype == torch.int64
    assert batch.shape == (1, 3, 16, 16) and batch.is_contiguous()
    assert batch[0, 1].flatten().tolist() == pytest.approx([level / 255 for level in range(256)], abs=1e-7)
    assert (float(batch.min()), float(batch.max())) == (0.0, 1.0)
    last = scale(levels.to(memory_format=torch.channels_last))
    assert torch.equal(last, batch) and last.is_contiguous(memory_format=torch.channels_last)


def test_first_and_plain_are_views_on_the_same_images():
    images = numbered(20, Augment(pad=1), np.arange(19, -1, -1))
    assert numbers(images.first(3).batches(9)) == [19, 18, 17]
    assert len(images.first(99)) == 20 and len(images.first(3)) == 3
    assert images.first(3).augment == Augment(pad=1) and images.plain().augment is None
    assert images.first(3).images is images.images is images.plain().images
    plain = torch.cat([b for b, _ in images.plain().batches(20, 1)])
    assert bool((plain == plain[:, :, :1, :1]).all())  # no black border: nothing was moved
    moved = torch.cat([b for b, _ in images.batches(20, 1)])
    assert not bool((moved == moved[:, :, :1, :1]).all())


def test_views_augment_training_images_alone():
    pixels = noise(12, seed=1).permute(0, 2, 3, 1).numpy()
    data = sources.Dataset(
        "folder",
        ("a", "b"),
        pixels[:8],
        np.arange(8) % 2,
        pixels[8:],
        np.array([1, 0, 1, 0]),
        (0.5,) * 3,
        (0.5,) * 3,
        2,
        False,
        True,
    )
    views = prepare.Views(data, torch.device("cpu"))
    train, test = views.train(np.array([5, 0])), views.test()
    assert train.augment == Augment(2, False) and test.augment is None
    ((batch, labels),) = train.batches(4)
    assert labels.tolist() == [1, 0]
    assert torch.equal(batch, torch.from_numpy(pixels[[5, 0]]).permute(0, 3, 1, 2).float() / 255)
    ((batch, labels),) = test.batches(4)
    assert labels.tolist() == [1, 0, 1, 0]
    assert torch.equal(batch, torch.from_numpy(pixels[8:]).permute(0, 3, 1, 2).float() / 255)
    assert views.test(np.array([3])).labels.tolist() == [0]
    # Validation images are training images, or all test images for data sets without a validation part.
    assert views.val(np.array([7, 1])).indices.tolist() == [7, 1]
    assert views.val(np.array([7, 1])).images is train.images
    assert views.val(None).images is test.images and len(views.val(None)) == 4


def test_no_padding_means_no_augmentation():
    pixels = noise(4).permute(0, 2, 3, 1).numpy()
    data = sources.Dataset(
        "svhn", ("a", "b"), pixels, np.arange(4) % 2, pixels, np.arange(4) % 2, (0.5,) * 3, (0.5,) * 3, 0, False, True
    )
    assert prepare.Views(data, torch.device("cpu")).train(np.arange(4)).augment is None


# ---- class-folder trees ---------------------------------------------------------------------------


def write(path, colour, size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def make_tree(root, train, test, test_name="test", size=(4, 4)):
    """``train`` and ``test``: class -> number of images. Red = place in ``train``, green = image, blue = part."""
    for blue, (part, classes) in enumerate((("train", train), (test_name, test))):
        for name, count in classes.items():
            for image in range(count):
                write(root / part / name / f"{image:03d}.png", (list(train).index(name), image, blue), size)
    return root


def read(root, size):
    """Train and test arrays, and the class names."""
    data = sources.load(catalog.get("folder"), root, size)
    return (data.train_images, data.train_labels), (data.test_images, data.test_labels), data.classes


def pixels(arrays):
    """First pixel and label of each image."""
    images, labels = arrays
    return [(*image[0, 0].tolist(), int(label)) for image, label in zip(images, labels)]


def test_a_tree_is_read_class_by_class_in_the_order_of_names(tmp_path):
    # "dog" was made first, but "cat" comes first by name and is class 0; "bird" has no test images.
    make_tree(tmp_path, {"dog": 2, "cat": 3, "bird": 1}, {"dog": 1, "cat": 2})
    train, test, classes = read(tmp_path, None)
    assert classes == ("bird", "cat", "dog")
    assert pixels(train) == [(2, 0, 0, 0), (1, 0, 0, 1), (1, 1, 0, 1), (1, 2, 0, 1), (0, 0, 0, 2), (0, 1, 0, 2)]
    assert pixels(test) == [(1, 0, 1, 1), (1, 1, 1, 1), (0, 0, 1, 2)]
    assert train[0].shape == (6, 4, 4, 3) and train[0].dtype == np.uint8 and train[1].dtype == np.int64
    assert tree.listing(tmp_path).counts == [1, 3, 2]


def test_val_serves_for_test_unless_there_is_a_test(tmp_path):
    make_tree(tmp_path, {"a": 1, "b": 1}, {"a": 2, "b": 1}, test_name="val")
    assert pixels(read(tmp_path, None)[1]) == [(0, 0, 1, 0), (0, 1, 1, 0), (1, 0, 1, 1)]
    write(tmp_path / "test" / "b" / "0.png", (9, 9, 9))
    assert pixels(read(tmp_path, None)[1]) == [(9, 9, 9, 1)]


def test_only_images_in_visible_folders_count(tmp_path):
    make_tree(tmp_path, {"a": 1, "b": 1}, {"a": 1, "b": 1})
    (tmp_path / "train" / "a" / "notes.txt").write_text("not an image")
    write(tmp_path / "train" / ".cache" / "0.png", (1, 1, 1))
    write(tmp_path / "train" / "0.png", (1, 1, 1))
    Image.new("L", (4, 4), 77).save(tmp_path / "train" / "b" / "grey.PNG")  # capitals too, and grey becomes RGB
    train, _, classes = read(tmp_path, None)
    assert classes == ("a", "b")
    assert pixels(train) == [(0, 0, 0, 0), (1, 0, 0, 1), (77, 77, 77, 1)]
    assert tree.listing(tmp_path).counts == [1, 2]


def test_many_images_arrive_in_order(tmp_path):
    # More than the 256 that one thread takes at a time.
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(300):
            colour = (number % 256, number // 256, 0)
            Image.new("RGB", (1, 1), colour).save(tmp_path / "train" / name / f"{number:03d}.bmp")
    write(tmp_path / "test" / "a" / "0.bmp", (0, 0, 0), (1, 1))
    images, labels = read(tmp_path, None)[0]
    expected = [number for _ in "ab" for number in range(300)]
    assert [int(r) + 256 * int(g) for r, g, _ in images[:, 0, 0]] == expected
    assert labels.tolist() == [0] * 300 + [1] * 300


def test_input_size_resizes_whatever_the_shape(tmp_path):
    make_tree(tmp_path, {"a": 1, "b": 1}, {"a": 1}, size=(10, 6))
    write(tmp_path / "train" / "b" / "big.png", (50, 60, 70), (31, 17))
    train, test, _ = read(tmp_path, 8)
    assert train[0].shape == (3, 8, 8, 3) and test[0].shape == (1, 8, 8, 3)
    # Images of one colour stay so.
    assert pixels(train) == [(0, 0, 0, 0), (1, 0, 0, 1), (50, 60, 70, 1)]
    assert bool((train[0] == train[0][:, :1, :1]).all())


def test_resizing_halves_by_averaging():
    # Left half 0, right half 200: at half the side the left stays dark and the right light.
    image = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    image[:, :, 4:] = 200
    found = reading.resize(image, 4)
    assert found.shape == (1, 4, 4, 3) and found.dtype == np.uint8
    assert bool((found[:, :, 0] == 0).all()) and bool((found[:, :, 3] == 200).all())
    assert bool((found[:, :, 1] <= found[:, :, 2]).all())
    assert reading.resize(image, None) is image and reading.resize(image, 8) is image


def test_images_of_unequal_sizes_are_refused(tmp_path):
    make_tree(tmp_path, {"a": 2, "b": 1}, {"a": 1})
    write(tmp_path / "train" / "b" / "other.png", (0, 0, 0), (5, 5))
    with pytest.raises(UsageError, match=r"other\.png differs in size from .*000\.png; give --input_size"):
        read(tmp_path, None)


def test_test_images_of_another_size_than_the_training_images_are_refused(tmp_path):
    # A network with a global pool would take them without a word and score nonsense.
    make_tree(tmp_path, {"a": 1, "b": 1}, {})
    write(tmp_path / "test" / "a" / "0.png", (0, 0, 0), (6, 6))
    with pytest.raises(UsageError, match="--input_size"):
        read(tmp_path, None)


def test_images_that_are_not_square_are_refused(tmp_path):
    make_tree(tmp_path, {"a": 1, "b": 1}, {"a": 1}, size=(6, 4))
    with pytest.raises(UsageError, match="is 6x4 pixels; give --input_size"):  # width x height
        read(tmp_path, None)


@pytest.mark.parametrize("damage", ["half", "text", "empty"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_damaged_file_is_refused_by_name(tmp_path, damage, part):
    make_tree(tmp_path, {"a": 2, "b": 1}, {"a": 2})
    victim = tmp_path / part / "a" / "001.png"
    Image.fromarray(noise(1, 32, 32)[0].permute(1, 2, 0).numpy()).resize((4, 4)).save(victim)
    whole = victim.read_bytes()
    victim.write_bytes({"half": whole[: len(whole) // 2], "text": b"404 not found", "empty": b""}[damage])
    with pytest.raises(
        UsageError, match=rf"{part}/a/001\.png{': is empty' if damage == 'empty' else ' is not a readable image'}"
    ):
        read(tmp_path, None)


def test_a_class_without_images_is_refused(tmp_path):
    make_tree(tmp_path, {"a": 1, "b": 1}, {"a": 1})
    (tmp_path / "train" / "c").mkdir()
    (tmp_path / "train" / "c" / "readme.txt").write_text("soon")
    for look in (lambda: read(tmp_path, None), lambda: tree.listing(tmp_path).counts):
        with pytest.raises(UsageError, match="no images in train/c"):
            look()


def test_a_test_class_that_is_never_trained_is_refused(tmp_path):
    make_tree(tmp_path, {"a": 1, "b": 1}, {"a": 1})
    write(tmp_path / "test" / "zebra" / "0.png", (0, 0, 0))
    with pytest.raises(UsageError, match="class zebra is in test/ but not in train/"):
        read(tmp_path, None)


def test_incomplete_trees_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no folder tree there; expected train/<class>"):
        _ = tree.listing(tmp_path).counts
    assert not tree.is_tree(tmp_path)
    write(tmp_path / "train" / "a" / "0.png", (0, 0, 0))
    assert tree.is_tree(tmp_path)
    with pytest.raises(UsageError, match="one class only"):
        read(tmp_path, None)
    write(tmp_path / "train" / "b" / "0.png", (0, 0, 0))
    with pytest.raises(UsageError, match=r"has train/ but neither test/ nor val/"):
        read(tmp_path, None)
    (tmp_path / "test").mkdir()
    with pytest.raises(UsageError, match="no test images"):
        read(tmp_path, None)


# ---- named data sets ------------------------------------------------------------------------------


def test_cifar10_from_a_tree_equals_the_same_tree_read_as_a_folder(tmp_path):
    for part, each in (("train", 3), ("test", 2)):
        for number, name in enumerate(reversed(CIFAR10_CLASSES)):
            for image in range(each):
                (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
                picture = noise(1, 8, 8, seed=100 * number + 10 * image + (part == "test"))
                Image.fromarray(picture[0].permute(1, 2, 0).numpy()).save(tmp_path / part / name / f"{image}.png")
    cifar, folder = (sources.load(catalog.get(name), tmp_path) for name in ("cifar10", "folder"))
    assert cifar.classes == folder.classes == CIFAR10_CLASSES
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(cifar, field), getattr(folder, field))
    assert cifar.train_labels.tolist() == [label for label in range(10) for _ in range(3)]
    assert cifar.test_labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert len(np.unique(cifar.train_images.reshape(30, -1), axis=0)) == 30
    # The statistics are the published ones here, and measured there.
    assert (cifar.mean, cifar.std) == ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    assert (folder.mean, folder.std) == sources.statistics(folder.train_images) != (cifar.mean, cifar.std)
    # Tree or not decides the counts, before anything is decoded.
    assert prepare.find("cifar10", str(tmp_path / "elsewhere"), None).official == [5000] * 10
    chosen = prepare.find("cifar10", str(tmp_path), None)
    assert (chosen.classes, chosen.official, chosen.train_counts) == (10, [3] * 10, [3] * 10)


def test_statistics_are_those_of_the_pixels():
    images = noise(20, 7, 9, seed=2).permute(0, 2, 3, 1).numpy().copy()
    images[..., 1] //= 2
    mean, std = sources.statistics(images)
    flat = images.reshape(-1, 3).astype(np.float64) / 255
    assert mean == pytest.approx(flat.mean(0), abs=6e-5) and std == pytest.approx(flat.std(0), abs=6e-5)
    flat_black = sources.statistics(np.zeros((2, 4, 4, 3), dtype=np.uint8))
    assert flat_black == ((0.0,) * 3, (0.0001,) * 3)  # never divides by zero


@pytest.fixture(scope="module")
def digits():
    return sources.load(catalog.get("digits"), Path("/nowhere"))


def test_digits_are_all_there(digits):
    from sklearn.datasets import load_digits

    raw = load_digits()
    assert digits.train_images.shape == (1438, 32, 32, 3) and digits.test_images.shape == (359, 32, 32, 3)
    assert digits.test_labels.tolist() == raw.target[4::5].tolist()
    kept = [i for i in range(1797) if i % 5 != 4]
    assert digits.train_labels.tolist() == raw.target[kept].tolist()
    assert digits.classes == tuple("0123456789")
    # At its own 8 x 8 nothing is resized: level v of 16 becomes 255 v / 16, in all three channels.
    small = sources.load(catalog.get("digits"), Path("/nowhere"), 8)
    expected = np.round(raw.images * 255 / 16).astype(np.uint8)
    for channel in range(3):
        np.testing.assert_array_equal(small.train_images[..., channel], expected[kept])
        np.testing.assert_array_equal(small.test_images[..., channel], expected[4::5])


def test_the_constants_of_digits_are_those_of_the_data(digits):
    # Counts and statistics are written down so that --dry_run need not read a data set.
    assert np.bincount(digits.train_labels).tolist() == list(TRAIN)
    assert prepare.find("digits", "/nowhere", None).official == list(TRAIN)
    values = digits.train_images.reshape(-1, 3) / 255
    assert digits.mean == pytest.approx(values.mean(0), abs=1e-3)
    assert digits.std == pytest.approx(values.std(0), abs=1e-3)


def test_noisy_digits_are_the_digits_and_the_same_noise_every_time():
    plain, noisy = (
        sources.load(catalog.get(name), Path("/nowhere"), size)
        for name, size in (("digits", 8), ("noisy_digits", None))
    )
    assert (
        noisy.train_images.shape == (1438, 8, 8, 3)
        and noisy.test_images.shape == (359, 8, 8, 3)
        and (noisy.pad, noisy.flip) == (1, False)
    )
    assert np.array_equal(noisy.train_labels, plain.train_labels) and np.array_equal(
        noisy.test_labels, plain.test_labels
    )
    assert noisy.train_images[0, 0, :, 1].tolist() == [79, 0, 0, 255, 87, 197, 0, 0]  # by hand below, from plain
    random = np.random.RandomState(0)
    first, second = (random.randint(0, 256, (1438, 8, 8, 1))[0, 0, :, 0].tolist() for _ in range(2))
    row = plain.train_images[0, 0, :, 0].tolist()
    assert [min(255, max(0, value + one - two)) for value, one, two in zip(row, first, second)] == [
        79,
        0,
        0,
        255,
        87,
        197,
        0,
        0,
    ]
    added = noisy.test_images.astype(int) - plain.test_images
    assert 0.28 < added.std() / 255 < 0.41 and (added[..., 0] == added[..., 2]).all()  # clipped at black and white
    values = noisy.train_images.reshape(-1, 3) / 255
    assert noisy.mean == pytest.approx(values.mean(0), abs=1e-3) and noisy.std == pytest.approx(values.std(0), abs=1e-3)
    assert prepare.find("noisy_digits", None, None).official == np.bincount(noisy.train_labels).tolist()
    larger = sources.load(catalog.get("noisy-digits"), Path("/nowhere"), 16)
    assert np.array_equal(larger.train_images, reading.resize(noisy.train_images, 16)) and larger.pad == 2


def test_augmentation_scales_with_the_image(digits):
    # 4 pixels at side 32; a mirrored digit is not a digit.
    assert (digits.pad, digits.flip) == (4, False)
    assert sources.load(catalog.get("digits"), Path("/nowhere"), 16).pad == 2


def test_what_the_names_stand_for():
    plain = {"cifar10", "cifar100", "svhn", "TinyImagenet", "imagenet", "folder", "digits", "noisy_digits"}
    plain |= {"mnist", "fashion_mnist", "utkface", "cifar20", "latents"}
    assert set(catalog.names()) == plain
    known = {name: catalog.get(name) for name in (*plain, "cifar10_no_val", "cifar100_no_val")}
    assert {name for name, source in known.items() if source.embedded} == {"digits", "noisy_digits"}
    shown = Data.__dataclass_fields__["dataset"].metadata["help"]
    assert all(name in shown for name in plain)
    assert sum(known["cifar10"].official) == sum(known["cifar100"].official) == 50_000
    assert (len(known["cifar10"].official), len(known["cifar100"].official)) == (10, 100)
    assert sum(known["svhn"].official) == 73_257
    everything_trains = {name for name, source in known.items() if not source.with_validation}
    assert everything_trains == {"cifar10_no_val", "cifar100_no_val", "TinyImagenet", "imagenet"}
    assert {name for name, source in known.items() if source.streamed} == {"imagenet"}
    assert (known["svhn"].pad, known["svhn"].flip) == (0, False)  # the reference never augments it
    for name in ("cifar10", "cifar100"):
        one, other = known[name], known[f"{name}_no_val"]
        assert (one.official, one.mean, one.std, one.pad) == (other.official, other.mean, other.std, other.pad)
    assert known["cifar100"].mean == (0.5071, 0.4866, 0.4409) and known["cifar100"].std == (0.2673, 0.2564, 0.2762)
    assert known["svhn"].mean == (0.4377, 0.4438, 0.4728) and known["svhn"].std == (0.1980, 0.2010, 0.1970)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"--dataset cifer10: unknown \(did you mean cifar10\?\); known: cifar10, "):
        catalog.get("cifer10")


def test_the_data_are_found_where_users_put_them(tmp_path, monkeypatch):
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    cifar, no_val = catalog.get("cifar10"), catalog.get("cifar10_no_val")
    assert locate.find_root(cifar, Path("mine")) == Path("mine")
    assert locate.find_root(cifar, None) == Path("data")  # where a download would go
    (tmp_path / "data" / "cifar-10-batches-py").mkdir(parents=True)
    assert locate.find_root(cifar, None) == locate.find_root(no_val, None) == Path("../data")
    assert locate.find_root(catalog.get("cifar100"), None) == Path("data")
    write(here / "data" / "cifar10" / "train" / "cat" / "0.png", (0, 0, 0))
    assert locate.find_root(cifar, None) == locate.find_root(no_val, None) == Path("data/cifar10")


def test_a_broken_download_is_refused_in_words(tmp_path):
    # The folder is there, so nothing is downloaded; its files are not.
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(UsageError, match=r"holds no CIFAR10 and it cannot be downloaded .*put torchvision's files"):
        sources.load(catalog.get("cifar10"), tmp_path)
