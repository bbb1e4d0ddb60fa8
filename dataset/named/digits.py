"""scikit-learn's 1,797 handwritten digits, plain and with noise; every fifth image is a test image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.catalog import NUMERALS, Source, register

if TYPE_CHECKING:
    import numpy as np

    from dataset.catalog import Arrays

TRAIN = (151, 161, 143, 131, 147, 154, 150, 136, 127, 138)


def read(root: Path, size: int | None) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """Training and test digits of ``size`` x ``size`` pixels, 32 x 32 for None; see ``catalog.Source.read``."""
    import numpy as np
    from sklearn.datasets import load_digits

    from dataset.reading import resize

    data = load_digits()
    images = np.repeat((data.images * (255 / 16)).round().astype(np.uint8)[..., None], 3, axis=-1)
    images, labels = resize(images, size or 32), data.target.astype(np.int64)
    test = np.arange(len(labels)) % 5 == 4
    return (images[~test], labels[~test]), (images[test], labels[test]), NUMERALS


def read_noisy(root: Path, size: int | None) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    """The digits at 8x8 with the difference of two random bytes added to each pixel, the same noise every time.

    The noise has a standard deviation of 0.41, where 1 is white. A model can memorise the training images, yet
    recognises only about four in five of the test images. Whole numbers from a frozen generator give the same bytes on
    every machine.
    """
    import numpy as np

    from dataset.reading import resize

    (train, train_labels), (test, test_labels), names = read(root, 8)
    random = np.random.RandomState(0)

    def noisy(images: np.ndarray) -> np.ndarray:
        shape = (*images.shape[:3], 1)  # the three channels alike
        noise = random.randint(0, 256, shape) - random.randint(0, 256, shape)
        return resize((images + noise).clip(0, 255).astype(np.uint8), size)

    return (noisy(train), train_labels), (noisy(test), test_labels), names


MEAN, STD, NOISY_MEAN, NOISY_STD = ((level,) * 3 for level in (0.3061, 0.3239, 0.3703, 0.3689))
DIGITS = Source("digits", read, None, TRAIN, NUMERALS, mean=MEAN, std=STD, flip=False, embedded=True)
register(DIGITS)
register(replace(DIGITS, name="noisy_digits", read=read_noisy, mean=NOISY_MEAN, std=NOISY_STD, size=8, pad=1))
