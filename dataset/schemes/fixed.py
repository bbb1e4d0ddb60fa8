"""The fixed split of Deep Unlearn (Cadet et al. 2025): 15 % for validation, a tenth of the rest is forgotten."""

from __future__ import annotations

import numpy as np

from dataset.split import scheme_by_count
from utils.errors import UsageError

SEED, VALIDATION, FORGOTTEN = 123, 0.15, 0.1


@scheme_by_count("deepunlearn")
def deepunlearn(argument: str, total: int) -> dict[str, np.ndarray]:
    """Positions of retain, forget and validation images among ``total`` training images, int64, in the order drawn.

    scikit-learn draws them without balancing classes, so only the number of images matters.

    Raises UsageError: an argument, or too few images.
    """
    from sklearn.model_selection import train_test_split

    if argument:
        raise UsageError(f"--split deepunlearn:{argument}: deepunlearn takes no argument; it is one fixed split")
    if total < 3:
        raise UsageError(f"--split deepunlearn: {total} training images are too few to divide")
    train, val = train_test_split(np.arange(total, dtype=np.int64), test_size=VALIDATION, random_state=SEED)
    retain, forget = train_test_split(train, test_size=FORGOTTEN, random_state=SEED)
    return {"retain": retain, "forget": forget, "val": val}
