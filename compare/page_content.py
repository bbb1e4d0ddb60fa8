"""What a page of comparison shows, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.packed import Packed


@dataclass(frozen=True, eq=False)
class Content:
    """Everything but the pictures.

    Attributes:
        kind: of the models, which decides on the views: "classifiers" or "generators".
        plain: for JSON; ``arrays`` in it is the index of ``arrays``.
        arrays: of every image, and positions on the map.
        pictured: rows of the images to show, int64 ascending.
        remarks: what a reader must know, a sentence each.
    """

    kind: str
    plain: dict[str, Any]
    arrays: Packed
    pictured: np.ndarray
    remarks: list[str]
