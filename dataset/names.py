"""What ``--dataset`` takes, and how names of image files end. Imports nothing, because ``--help`` needs it."""

from __future__ import annotations

NAMES = (
    "cifar10",
    "cifar100",
    "cifar10_no_val",
    "cifar100_no_val",
    "svhn",
    "TinyImagenet",
    "imagenet",
    "digits",
    "noisy_digits",
    "folder",
)
EMBEDDED = ("digits", "noisy_digits")  # made from what scikit-learn holds; they have no files and read no --data
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation by channel, on [0, 1]


SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".ppm",
    ".bmp",
    ".pgm",
    ".tif",
    ".tiff",
    ".webp",
)  # those that torchvision's ImageFolder reads
NO_VAL = "_no_val"  # ends the name of a data set that sets no training images apart; any may have it


def canonical(name: str) -> str:
    """The data set that ``name`` means, whatever its capitals, hyphens and underscores; an unknown name as it is."""
    known = {_bare(one): one for one in NAMES} | {
        _bare(one + NO_VAL): one + NO_VAL for one in NAMES if not one.endswith(NO_VAL)
    }
    return known.get(_bare(name), name)


def with_validation(name: str) -> str:
    """The data set without ``NO_VAL``."""
    return name.removesuffix(NO_VAL)


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
