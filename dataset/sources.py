"""Where images come from: named data sets, trees of image files, scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dataset import place, tiny, tree
from dataset.download import FILES, fetch
from dataset.names import IMAGENET, NAMES, NO_VAL, canonical, with_validation
from dataset.place import find_root  # noqa: F401  (where a source lies is asked for beside what it is)
from utils.errors import UsageError
from utils.names import lookup

Arrays = tuple[np.ndarray, np.ndarray]  # uint8 [N, H, W, C], int64 [N]
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
    shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)
NUMERALS = tuple("0123456789")
SVHN_TRAIN = [4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659]
DIGITS_TRAIN = [151, 161, 143, 131, 147, 154, 150, 136, 127, 138]


@dataclass(frozen=True)
class Source:
    """A data set by name.

    Attributes:
        layout: root -> its image files, or None if there are none and ``read`` must do.
        read: (root, image side or None) -> train arrays, test arrays, class names; None if there always are files.
        official: training images per class, validation part included; None if only the disk knows.
        classes: their names, unless a folder tree says otherwise; None if only the disk knows.
        mean, std: per-channel statistics on [0, 1]; None if they are taken from the training images.
        size: side of the images in pixels; None if only the disk knows.
        streamed: whether images are read from disk whenever they are needed.
        pad, flip: augmentation at that size; pad 0 means none. Streamed images are zoomed into instead of padded.
        with_validation: whether a tenth of the training images is set apart.
    """

    name: str
    layout: Callable[[Path], tree.Listing | None]
    read: Callable[[Path, int | None], tuple[Arrays, Arrays, tuple[str, ...]]] | None
    official: list[int] | None
    classes: tuple[str, ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    size: int | None = 32
    streamed: bool = False
    pad: int = 4
    flip: bool = True
    with_validation: bool = True


@dataclass(frozen=True)
class Dataset:
    """A data set that can be divided: its labels in memory, its images there or on disk.

    Attributes:
        train_images, test_images: uint8 [N, H, W, C]; of a streamed set paths, bytes [N].
        train_labels, test_labels: int64 [N].
        pad, flip: augmentation, at the size of these images.
        val: images and labels that the data set itself sets apart for validation; None if it has none.
        notes: what else a header says of the files, by keyword.
        streamed: side in pixels at which images are read from disk whenever they are needed; None for images in memory.
    """

    name: str
    classes: tuple[str, ...]
    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad: int
    flip: bool
    with_validation: bool
    val: Arrays | None = field(default=None, repr=False)
    streamed: int | None = None
    notes: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def words(self) -> str:
        """The images' size, and where they are, for the header."""
        if self.streamed is not None:
            return f"{self.streamed}x{self.streamed} pixels, read from disk as needed"
        return f"{self.train_images.shape[1]}x{self.train_images.shape[2]} pixels"


def _torchvision(dataset_class: str) -> Callable[[Path, int | None], tuple[Arrays, Arrays, tuple[str, ...]]]:
    """Reader of torchvision's layout, or of a fresh download."""

    def read(root: Path, size: int | None) -> tuple[Arrays, Arrays, tuple[str, ...]]:
        import torchvision.datasets

        make = getattr(torchvision.datasets, dataset_class)
        try:
            for remote in FILES[dataset_class]:
                fetch(remote, root)
            if dataset_class == "SVHN":
                parts = [make(str(root), split=part) for part in ("train", "test")]
                arrays = [(part.data.transpose(0, 2, 3, 1), np.asarray(part.labels, dtype=np.int64)) for part in parts]
                names = NUMERALS
            else:
                parts = [make(str(root), train=train) for train in (True, False)]
                arrays = [(part.data, np.asarray(part.targets, dtype=np.int64)) for part in parts]
                names = tuple(parts[0].classes)
        except (OSError, RuntimeError, UsageError) as error:
            raise UsageError(
                f"--data {root}: holds no {dataset_class} and it cannot be downloaded ({error}); "
                f"put torchvision's files or a tree train/<class>/*.png, test/<class>/*.png there"
            ) from error
        return (resize(arrays[0][0], size), arrays[0][1]), (resize(arrays[1][0], size), arrays[1][1]), names

    return read


def _digits(root: Path, size: int | None) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """scikit-learn's 1,797 handwritten digits, 8x8, enlarged; every fifth image is a test image."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.repeat((data.images * (255 / 16)).round().astype(np.uint8)[..., None], 3, axis=-1)
    images, labels = resize(images, size or 32), data.target.astype(np.int64)
    test = np.arange(len(labels)) % 5 == 4
    return (images[~test], labels[~test]), (images[test], labels[test]), NUMERALS


def _noisy_digits(root: Path, size: int | None) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """The digits at 8x8 with the difference of two random bytes added to each pixel, the same noise every time.

    Its standard deviation is 0.41 of white: a model can learn the training images by heart, yet reads only about four
    in five of the others. Whole numbers of a frozen generator, so that every machine has the same bytes.
    """
    (train, train_labels), (test, test_labels), names = _digits(root, 8)
    random = np.random.RandomState(0)

    def noisy(images: np.ndarray) -> np.ndarray:
        shape = (*images.shape[:3], 1)  # the three channels alike
        noise = random.randint(0, 256, shape) - random.randint(0, 256, shape)
        return resize((images + noise).clip(0, 255).astype(np.uint8), size)

    return (noisy(train), train_labels), (noisy(test), test_labels), names


def _tree_of(name: str, classes: tuple[str, ...]) -> Callable[[Path], tree.Listing | None]:
    """A class-folder tree where torchvision's files would be; another data set's tree is refused."""

    def layout(root: Path) -> tree.Listing | None:
        files = tree.listing(root) if tree.is_tree(root) else None
        if files is not None and not place.same_classes(files.classes, classes):
            found = f"{len(files.classes)} classes ({', '.join(files.classes[:3])}, ...)"
            raise UsageError(
                f"--data {root}: has {found}, {name} has {len(classes)} ({', '.join(classes[:3])}, ...), in this order; give --dataset folder"
            )
        return files

    return layout


def _no_files(root: Path) -> None:
    return None


def _imagenet(root: Path) -> tree.Listing:
    """ImageNet's folders, whose own ``test`` has no labels."""
    if (root / "val").is_dir() and not tree.subfolders(root / "val"):
        raise UsageError(f"--data {root}: val/ has no class folders; sort its images into val/<wnid>/ first")
    return tree.listing(root, ("val", "test"))


def resize(images: np.ndarray, size: int | None) -> np.ndarray:
    """Bilinear resize of uint8 [N, H, W, C] to ``size`` x ``size``; unchanged for None or that size."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    import torch
    import torch.nn.functional as F

    planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    small = F.interpolate(planes, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy())


_cifar10 = Source(
    "cifar10",
    _tree_of("cifar10", CIFAR10_CLASSES),
    _torchvision("CIFAR10"),
    [5000] * 10,
    CIFAR10_CLASSES,
    (0.4914, 0.4822, 0.4465),
    (0.2470, 0.2435, 0.2616),
)
_cifar100 = Source(
    "cifar100",
    _tree_of("cifar100", CIFAR100_CLASSES),
    _torchvision("CIFAR100"),
    [500] * 100,
    CIFAR100_CLASSES,
    (0.5071, 0.4866, 0.4409),
    (0.2673, 0.2564, 0.2762),
)
_svhn = Source(
    "svhn",
    _tree_of("svhn", NUMERALS),
    _torchvision("SVHN"),
    SVHN_TRAIN,
    NUMERALS,
    (0.4377, 0.4438, 0.4728),
    (0.1980, 0.2010, 0.1970),
    pad=0,
    flip=False,
)
_SOURCES = {
    source.name: source
    for source in (
        _cifar10,
        _cifar100,
        _svhn,
        Source("TinyImagenet", tiny.listing, None, None, None, *IMAGENET, size=64, with_validation=False),
        Source("imagenet", _imagenet, None, None, None, *IMAGENET, size=224, streamed=True, with_validation=False),
        Source("folder", tree.listing, None, None, None, None, None, size=None),
        Source("digits", _no_files, _digits, DIGITS_TRAIN, NUMERALS, (0.3061,) * 3, (0.3239,) * 3, flip=False),
        Source(
            "noisy_digits",
            _no_files,
            _noisy_digits,
            DIGITS_TRAIN,
            NUMERALS,
            (0.3703,) * 3,
            (0.3689,) * 3,
            size=8,
            pad=1,
            flip=False,
        ),
    )
}


def names() -> list[str]:
    """What ``--dataset`` takes; every name may end in ``_no_val``."""
    return list(NAMES)


def get(name: str, stream: bool = False) -> Source:
    """The source called ``name``, in any capitals.

    Args:
        stream: leave its images on disk; they are then normalised as ImageNet's, for want of a look at all of them.
    Raises:
        UsageError: for an unknown name, or one that cannot be streamed.
    """
    name = canonical(name)
    plain = with_validation(name)
    source = _SOURCES[plain if plain in _SOURCES else lookup(name, NAMES, "--dataset")]
    if name != plain and name == plain + NO_VAL:
        source = replace(
            source,
            name=name,
            with_validation=False,
            layout=lambda root, layout=source.layout: _without_val(layout(root)),
        )
    if not stream or source.streamed:
        return source
    if plain != "folder":
        raise UsageError(f"--stream: {source.name} is kept in memory; folder and imagenet can be streamed")
    return replace(source, streamed=True, size=224, mean=IMAGENET[0], std=IMAGENET[1])


def _without_val(files: tree.Listing | None) -> tree.Listing | None:
    return files and files.without_val()


def load(source: Source, root: Path, size: int | None = None, files: tree.Listing | None = None) -> Dataset:
    """A data set, read into memory unless it is streamed; downloaded if it is one that can be and is absent.

    Args:
        root: folder of the data set; not read for those in ``names.EMBEDDED``.
        size: side in pixels to resize to; None keeps the data set's own.
        files: what ``source.layout`` found, to save a second look.
    Raises:
        UsageError: missing, damaged or unequal images.
    """
    files = files or source.layout(root)
    if files is None:
        train, test, classes = source.read(root, size)
        val = None
    else:
        train, test, val = (files.train, files.test, files.val) if source.streamed else _decode(files, root, size)
        classes = files.classes
    side = (size or source.size) if source.streamed else train[0].shape[1]
    mean, std = (source.mean, source.std) if source.mean and source.std else statistics(train[0])
    return Dataset(
        source.name,
        classes,
        *train,
        *test,
        mean,
        std,
        pad=round(source.pad * side / (source.size or side)),
        flip=source.flip,
        with_validation=source.with_validation and val is None,
        val=val,
        streamed=side if source.streamed else None,
        notes={} if files is None else files.notes,
    )


def _decode(files: tree.Listing, root: Path, size: int | None) -> tuple[Arrays, Arrays, Arrays | None]:
    """Train, test and, where there are any, validation images in memory."""
    from dataset.reading import decode

    train, test, *val = (
        (decode(paths, size), labels) for paths, labels in filter(None, (files.train, files.test, files.val))
    )
    for images, _ in (test, *val):
        if images.shape[1] != train[0].shape[1]:
            raise UsageError(
                f"--data {root}: training images are {train[0].shape[1]} pixels wide, test images {images.shape[1]}; give --input_size"
            )
    return train, test, val[0] if val else None


def statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation on [0, 1] of uint8 [N, H, W, C], to four decimals."""
    levels = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
    share = levels / levels.sum(axis=1, keepdims=True)
    value = np.arange(256) / 255
    mean = share @ value
    std = np.sqrt(np.maximum(share @ value**2 - mean**2, 1e-8))
    return tuple(float(m) for m in mean.round(4)), tuple(float(s) for s in std.round(4))
