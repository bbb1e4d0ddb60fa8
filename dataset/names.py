"""What ``--dataset`` takes. Imports nothing, because ``--help`` needs it."""
from __future__ import annotations

NAMES = ("cifar10", "cifar100", "cifar10_no_val", "cifar100_no_val", "svhn", "TinyImagenet", "imagenet", "digits", "noisy_digits", "folder")


def canonical(name: str) -> str:
    """The data set that ``name`` means, whatever its capitals, hyphens and underscores; an unknown name as it is."""
    return {_bare(known): known for known in NAMES}.get(_bare(name), name)


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
