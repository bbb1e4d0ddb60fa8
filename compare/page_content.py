"""The data that a page of ``main_compare.py`` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compare.packed import Packed


@dataclass(frozen=True, eq=False)
class Content:
    """The data of a page without the pictures.

    Attributes:
        kind: "classifiers" or "generators", which decides the page's views.
        plain: data that is written as JSON; its entry ``arrays`` is ``Packed.index``.
        arrays: values of every image (a row each), and positions on the map.
        pictured: rows of the images that are shown as pictures, int64 ascending.
        remarks: notes for the reader, a sentence each.
    """

    kind: str
    plain: dict[str, Any]
    arrays: Packed
    pictured: np.ndarray
    remarks: list[str]
